import type { Deadline, Millis } from "@adit/core";
import { type StunMessage, transactionKey } from "./message.ts";

/** When a request is sent again, and when it is given up (RFC 8489 §6.2.1). */
export interface RetransmissionTiming {
  /** Retransmission timeout, ms. "The initial value for RTO SHOULD be greater than or equal to 500 ms." */
  readonly rtoMs: Millis;
  /** Rc: "Retransmissions continue until a response is received, or until a total of Rc requests have been sent." 7. */
  readonly maxRequests: number;
  /** Rm: "If, after the last request, a duration equal to Rm times the RTO has passed without a response", it failed. 16. */
  readonly lastWaitFactor: number;
}

/** RFC 8489 §6.2.1: RTO 500 ms, Rc 7, Rm 16. */
export const DEFAULT_TIMING: RetransmissionTiming = { rtoMs: 500, maxRequests: 7, lastWaitFactor: 16 };

/** One request's retransmission timer over UDP: with the defaults it is sent after 0, 500, 1500, 3500, 7500, 15500 and 31500 ms, and fails at 39500. */
export class StunTransaction {
  /** When the request was first sent. */
  readonly startedAt: Millis;
  readonly #timing: RetransmissionTiming;
  #requestsSent = 1;
  #isRepeated = false;
  #lastSentAt: Millis;
  #deadline: Millis;

  /** The request is sent at `now`. */
  constructor(now: Millis, timing: Partial<RetransmissionTiming> = {}) {
    this.startedAt = now;
    this.#lastSentAt = now;
    this.#timing = { ...DEFAULT_TIMING, ...timing };
    this.#deadline = now + this.#wait();
  }

  /** When the request was last sent. */
  get lastSentAt(): Millis {
    return this.#lastSentAt;
  }

  /** How often the request was sent. */
  get requestsSent(): number {
    return this.#requestsSent;
  }

  /** The request was sent more than once, so that it is not known which copy an answer is to. */
  get isRepeated(): boolean {
    return this.#isRepeated;
  }

  /** When {@link handleTimeout} has something to say. */
  get deadline(): Millis {
    return this.#deadline;
  }

  /** What is to be done now. A late call does not make up for what was missed: the next wait counts from `now`. */
  handleTimeout(now: Millis): "wait" | "retransmit" | "timed-out" {
    if (now < this.#deadline) return "wait";
    if (this.#requestsSent >= this.#timing.maxRequests) return "timed-out";
    this.#requestsSent++;
    this.#isRepeated = true;
    this.#lastSentAt = now;
    this.#deadline = now + this.#wait();
    return "retransmit";
  }

  /** The request is sent once more at `now`, and the schedule begins anew. */
  restart(now: Millis): void {
    this.#requestsSent = 1;
    this.#isRepeated = true;
    this.#lastSentAt = now;
    this.#deadline = now + this.#wait();
  }

  #wait(): Millis {
    const { rtoMs, maxRequests, lastWaitFactor } = this.#timing;
    return this.#requestsSent >= maxRequests ? lastWaitFactor * rtoMs : rtoMs * 2 ** (this.#requestsSent - 1);
  }
}

/** A request that waits for its answer. */
export interface PendingRequest<Context> {
  /** The whole message, to be sent again as it is. */
  readonly request: Uint8Array;
  /** What the owner wanted to remember. */
  readonly context: Context;
  /** Its retransmission timer. */
  readonly transaction: StunTransaction;
  /** Answers thrown away because their integrity was missing or wrong: tells an attack from silence (RFC 8489 §9.2.5). */
  discarded: number;
}

/**
 * The requests under way to one server, over UDP: retransmits them, and finds the one that a response answers. Sans-IO.
 * A response does not end a request by itself, because it may be forged: the owner checks it, then calls {@link finish}.
 */
export class StunTransactions<Context> {
  readonly #pending = new Map<string, PendingRequest<Context>>();
  readonly #limit: number;
  /** Keys of requests to be sent now; at most one entry per request. */
  #outbox: string[] = [];

  /** @param limit No more requests than this at once; {@link start} then refuses. */
  constructor(limit = 256) {
    this.#limit = limit;
  }

  /** How many requests are under way. */
  get size(): number {
    return this.#pending.size;
  }

  /** Sends a request from now on. Returns null when the limit is reached: nothing is sent. */
  start(
    now: Millis,
    request: Uint8Array,
    context: Context,
    timing?: Partial<RetransmissionTiming>,
  ): PendingRequest<Context> | null {
    if (this.#pending.size >= this.#limit) return null;
    const pending = { request, context, transaction: new StunTransaction(now, timing), discarded: 0 };
    const key = keyOf(pending);
    this.#pending.set(key, pending);
    this.#outbox.push(key);
    return pending;
  }

  /** The request that a message with this transaction ID answers; null when there is none. */
  get(transactionId: Uint8Array): PendingRequest<Context> | null {
    return this.#pending.get(transactionKey(transactionId)) ?? null;
  }

  /** The request that a success or error response answers, of the same method too. */
  match(response: StunMessage): PendingRequest<Context> | null {
    if (response.class !== "success" && response.class !== "error") return null;
    const pending = this.get(response.transactionId);
    // A request has the class bits 00, so these are the method bits alone.
    if (!pending || methodBits(pending.request) !== methodBits(response.raw)) return null;
    return pending;
  }

  /** Sends a request again now, with its schedule from the start: the answer to any of its copies counts. */
  resend(now: Millis, pending: PendingRequest<Context>): void {
    const key = keyOf(pending);
    if (this.#pending.get(key) !== pending) return;
    pending.transaction.restart(now);
    if (!this.#outbox.includes(key)) this.#outbox.push(key);
  }

  /** The request is answered, or no longer wanted. */
  finish(pending: PendingRequest<Context>): void {
    const key = keyOf(pending);
    if (this.#pending.get(key) === pending) this.#pending.delete(key);
  }

  /** Forgets all of them, and what is queued. */
  clear(): void {
    this.#pending.clear();
    this.#outbox = [];
  }

  /** Queues what is to be sent again; returns what has failed, already forgotten. */
  handleTimeout(now: Millis): PendingRequest<Context>[] {
    const failed: PendingRequest<Context>[] = [];
    for (const [key, pending] of this.#pending) {
      const verdict = pending.transaction.handleTimeout(now);
      if (verdict === "retransmit" && !this.#outbox.includes(key)) this.#outbox.push(key);
      if (verdict === "timed-out") {
        this.#pending.delete(key);
        failed.push(pending);
      }
    }
    return failed;
  }

  /** When {@link handleTimeout} is to be called, and why; null when no request is under way. */
  pollTimeout(): Deadline | null {
    let at = Number.POSITIVE_INFINITY;
    for (const { transaction } of this.#pending.values()) at = Math.min(at, transaction.deadline);
    return at === Number.POSITIVE_INFINITY ? null : { at, reason: "stun-retransmission" };
  }

  /** The next request to be put on the wire. */
  pollTransmit(): PendingRequest<Context> | null {
    for (let key = this.#outbox.shift(); key !== undefined; key = this.#outbox.shift()) {
      const pending = this.#pending.get(key);
      if (pending) return pending;
    }
    return null;
  }

  /** The requests under way, the oldest first. */
  [Symbol.iterator](): IterableIterator<PendingRequest<Context>> {
    return this.#pending.values();
  }
}

const keyOf = (pending: PendingRequest<unknown>): string => transactionKey(pending.request.subarray(8, 20));

const methodBits = (raw: Uint8Array): number => ((((raw[0] as number) << 8) | (raw[1] as number)) & 0x3eef) >>> 0;
