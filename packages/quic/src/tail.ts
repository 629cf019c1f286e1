import { AnswerWait } from "./answer-wait.ts";
import type { NativeConnection } from "./native.ts";
import { SparseCopies } from "./sparse-copies.ts";
import { TailProbe } from "./tail-probe.ts";
import type { SentPacket } from "./types.ts";

/**
 * What is done at the end of what is sent, where QUIC itself would wait, or would not: copies of it, and PINGs that show what is missing; and an
 * acknowledgement that has nothing beside it waits for an answer.
 */
export class Tail {
  readonly #probe = new TailProbe();
  readonly #copies: SparseCopies;
  /** Null: acknowledgements leave at once. */
  readonly #wait: AnswerWait | null;

  constructor(native: NativeConnection, waitsForAnswers: boolean) {
    this.#copies = new SparseCopies(native);
    this.#wait = waitsForAnswers ? new AnswerWait() : null;
  }

  /** See {@link TailProbe.rttMs}. */
  set rttMs(rttMs: number | null) {
    this.#probe.rttMs = rttMs;
    this.#copies.rttMs = rttMs;
  }

  handleSent(now: number, out: Uint8Array, packet: SentPacket): void {
    this.#probe.handleSent(now, packet.length);
    this.#copies.handleSent(now, out, packet);
    this.#wait?.handleSent(now, packet.length);
  }

  handleReceived(now: number, bytes: number): void {
    this.#probe.handleReceived(now);
    this.#wait?.handleReceived(now, bytes);
  }

  /** See {@link AnswerWait.handleFlushed}. */
  handleFlushed(readBytes: number): void {
    this.#wait?.handleFlushed(readBytes);
  }

  /** See {@link AnswerWait.waits}. */
  waits(now: number, readBytes: number): boolean {
    return this.#wait?.waits(now, readBytes) ?? false;
  }

  /** There is something to be sent. */
  endWait(): void {
    this.#wait?.stop();
  }

  get deadline(): number | null {
    let next: number | null = null;
    for (const at of [this.#probe.deadline, this.#copies.deadline, this.#wait?.deadline ?? null]) {
      if (at !== null && (next === null || at < next)) next = at;
    }
    return next;
  }

  /** Whether a PING should leave now; it counts as sent. */
  isDue(now: number): boolean {
    this.#wait?.handleTimeout(now);
    return this.#probe.isDue(now);
  }

  /** A copy of an earlier packet that should leave now, written into `out`. */
  takeCopy(now: number, out: Uint8Array): SentPacket | null {
    return this.#copies.take(now, out);
  }
}
