import type { Deadline, Millis } from "@adit/core";

/** Left between the packets of one path and those of the other, beside what the paths differ by, ms: queues come and go. */
const MARGIN_MS = 20;
/** A pause is no longer, ms; between paths that differ by more than this a packet may still be overtaken. */
const MAX_PAUSE_MS = 300;
/** Shorter packets are acknowledgements and the like: nobody counts them as lost, bytes. */
const MIN_COUNTED_BYTES = 1000;

type State =
  | { readonly name: "none" }
  /** Nothing leaves until what is under way on the active path is ahead of what is to be said on the other one. */
  | { readonly name: "before"; readonly endsAt: Millis; readonly afterMs: Millis }
  /** The next packet may be that of the other path. */
  | { readonly name: "open"; readonly afterMs: Millis }
  /** It has left, and nothing follows until it is ahead of what comes next on the active path. */
  | { readonly name: "after"; readonly endsAt: Millis };

const NONE: State = { name: "none" };

/**
 * A pause in what a connection sends, so that a packet on another path than the active one neither overtakes nor is overtaken.
 *
 * quiche 0.18 has one sequence of packet numbers for all paths, and takes for lost, on whichever path, what is three numbers behind the newest one that was
 * acknowledged; and it drops what comes 128 numbers late. So a challenge (RFC 9000 §8.2) that is a few milliseconds quicker than the transfer beside it ends
 * the transfer's slow start, at whatever window it has by then: 200 MB took 20 s instead of 8. One that is slower ends that of its own path, or is
 * not heard at all.
 */
export class Lull {
  #state: State = NONE;
  #sentAt: Millis = Number.NEGATIVE_INFINITY;

  /**
   * Something is to be said on a path with the one round trip while the active one has the other (0: not known). True: later, when {@link isClosed} has
   * become false by {@link handleTimeout}; false: now.
   */
  begin(now: Millis, activeRttMs: Millis, otherRttMs: Millis): boolean {
    if (this.#state.name === "before") return true;
    if (this.#state.name === "open") return false;
    const afterMs = pause(otherRttMs - activeRttMs);
    const endsAt = this.#sentAt + pause(activeRttMs - otherRttMs);
    this.#state = endsAt > now ? { name: "before", endsAt, afterMs } : { name: "open", afterMs };
    return endsAt > now;
  }

  /** The active path is another one, or is no more to be relied on. */
  stop(): void {
    this.#state = NONE;
  }

  handleSent(now: Millis, isActive: boolean, bytes: number): void {
    if (isActive && bytes >= MIN_COUNTED_BYTES) this.#sentAt = now;
    if (this.#state.name !== "open") return;
    this.#state = isActive ? NONE : { name: "after", endsAt: now + this.#state.afterMs };
  }

  handleTimeout(now: Millis): void {
    const state = this.#state;
    if ((state.name !== "before" && state.name !== "after") || now < state.endsAt) return;
    this.#state = state.name === "before" ? { name: "open", afterMs: state.afterMs } : NONE;
  }

  /** Nothing is to leave now. */
  get isClosed(): boolean {
    return this.#state.name === "before" || this.#state.name === "after";
  }

  pollTimeout(): Deadline | null {
    const state = this.#state;
    return state.name === "before" || state.name === "after" ? { at: state.endsAt, reason: "lull" } : null;
  }
}

/** All that the round trips differ by may be on the way there. */
const pause = (differenceMs: Millis): Millis => Math.min(MAX_PAUSE_MS, Math.max(0, differenceMs) + MARGIN_MS);
