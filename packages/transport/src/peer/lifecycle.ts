import type { Deadline, Millis } from "@adit/core";

type Phase =
  | { readonly name: "starting" }
  | { readonly name: "up" }
  /** The close is on its way out; gone at `until`. */
  | { readonly name: "closing"; readonly until: Millis }
  | { readonly name: "closed" };

/** How long a closed session stays at least, to send its CONNECTION_CLOSE again to a peer that missed it, ms. */
const LINGER_MS = 500;
/** And at most, while QUIC drains: three probe timeouts (RFC 9000 §10.2), which are long on a long path. */
const MAX_LINGER_MS = 10_000;

/** Where a session is between its first packet and its last. */
export class Lifecycle {
  #phase: Phase = { name: "starting" };

  get isUp(): boolean {
    return this.#phase.name === "up";
  }

  get isOver(): boolean {
    return this.#phase.name === "closing" || this.#phase.name === "closed";
  }

  get isGone(): boolean {
    return this.#phase.name === "closed";
  }

  handleUp(): void {
    this.#phase = { name: "up" };
  }

  handleEnd(now: Millis): void {
    this.#phase = { name: "closing", until: now + LINGER_MS };
  }

  /** `draining`: QUIC connections of the session still have something to send. */
  handleTimeout(now: Millis, draining: boolean): void {
    if (this.#phase.name !== "closing" || now < this.#phase.until) return;
    if (!draining || now >= this.#phase.until + MAX_LINGER_MS) this.#phase = { name: "closed" };
  }

  pollTimeout(now: Millis, draining: boolean): Deadline | null {
    if (this.#phase.name !== "closing") return null;
    const { until } = this.#phase;
    return { at: until + (now >= until && draining ? MAX_LINGER_MS : 0), reason: "linger" };
  }
}
