import type { Deadline, Millis } from "@adit/core";
import { MAX_DATAGRAM_BYTES } from "./datagram-size.ts";

/** RFC 9002 §7.2: "Endpoints SHOULD use an initial congestion window of ten times the maximum datagram size". */
const INITIAL_BYTES = 10 * MAX_DATAGRAM_BYTES;
/** After so many doublings, 3.7 MB in a round trip, whatever QUIC's own window says goes. */
const MAX_DOUBLINGS = 8;
const MIN_ROUND_MS = 1;

interface Round {
  readonly number: number;
  readonly lengthMs: Millis;
  readonly endsAt: Millis;
  readonly budgetBytes: number;
  usedBytes: number;
}

/**
 * Slow start for a path that is gone back to. RFC 9000 §9.4: an endpoint that moves "MUST immediately reset the congestion controller and round-trip time
 * estimator for the new path to initial values". quiche 0.18 goes on with the window that the slot's former path had, which may have been another one, or
 * a better one: its first flight would be a burst. So no more leaves in each round trip than a new connection's window would let out by then.
 */
export class Ramp {
  #round: Round | null = null;

  /** A path is gone back to whose round trip is that, as checks measure it. */
  start(now: Millis, rttMs: Millis): void {
    this.#round = round(now, 0, Math.max(rttMs, MIN_ROUND_MS));
  }

  /** A path that QUIC has never used has its initial window anyway. */
  stop(): void {
    this.#round = null;
  }

  handleSent(bytes: number): void {
    if (this.#round) this.#round.usedBytes += bytes;
  }

  /** Only what was made use of grows: a path that had little to carry has proved little. */
  handleTimeout(now: Millis): void {
    const last = this.#round;
    if (!last || now < last.endsAt) return;
    const number = last.usedBytes >= last.budgetBytes / 2 ? last.number + 1 : last.number;
    this.#round = number > MAX_DOUBLINGS ? null : round(now, number, last.lengthMs);
  }

  /** Nothing more is to leave in this round trip. */
  isSpent(now: Millis): boolean {
    this.handleTimeout(now);
    return this.#round !== null && this.#round.usedBytes >= this.#round.budgetBytes;
  }

  pollTimeout(): Deadline | null {
    const current = this.#round;
    if (!current || current.usedBytes < current.budgetBytes) return null;
    return { at: current.endsAt, reason: "slow start of a path" };
  }
}

const round = (now: Millis, number: number, lengthMs: Millis): Round => ({
  number,
  lengthMs,
  endsAt: now + lengthMs,
  budgetBytes: INITIAL_BYTES * 2 ** number,
  usedBytes: 0,
});
