import { type Deadline, earliest, type Millis, type Random, randomU64 } from "@adit/core";
import { SessionError } from "../errors.ts";

const TIMEOUT_MS = 5_000;
/** Pings that wait for their answer; more are refused. */
const MAX_WAITING = 64;

interface Waiting {
  readonly at: Millis;
  readonly resolve: (rttMs: Millis) => void;
  readonly reject: (error: SessionError) => void;
}

/** Pings of the control stream that wait for their Pong. */
export class Pings {
  readonly #waiting = new Map<bigint, Waiting>();
  readonly #random: Random;
  readonly #send: (id: bigint) => boolean;

  constructor(random: Random, send: (id: bigint) => boolean) {
    this.#random = random;
    this.#send = send;
  }

  /** The round trip in ms. Rejects with SessionError `timeout` after 5 s, or `closed`. */
  ask(now: Millis): Promise<Millis> {
    const id = randomU64(this.#random);
    return new Promise((resolve, reject) => {
      if (this.#waiting.size >= MAX_WAITING || !this.#send(id)) {
        return reject(new SessionError("closed", "the session takes no ping now"));
      }
      this.#waiting.set(id, { at: now, resolve, reject });
    });
  }

  handlePong(now: Millis, id: bigint): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.resolve(now - waiting.at);
  }

  handleTimeout(now: Millis): void {
    for (const [id, { at, reject }] of this.#waiting) {
      if (now < at + TIMEOUT_MS) continue;
      this.#waiting.delete(id);
      reject(new SessionError("timeout", "the peer did not answer a ping in 5 s"));
    }
  }

  pollTimeout(): Deadline | null {
    let next: Deadline | null = null;
    for (const { at } of this.#waiting.values()) next = earliest(next, { at: at + TIMEOUT_MS, reason: "ping" });
    return next;
  }

  close(reason: string): void {
    for (const { reject } of this.#waiting.values()) reject(new SessionError("closed", reason));
    this.#waiting.clear();
  }
}
