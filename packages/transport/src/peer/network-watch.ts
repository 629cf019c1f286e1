import type { Deadline, Millis } from "@adit/core";

/** How often the machine's addresses and clocks are looked at, ms. */
export const LOOK_EVERY_MS = 1_000;
/** While something is amiss, so often, */
export const HURRIED_LOOK_MS = 100;
/** for so long: one network goes a moment before the next one is there. */
const HURRY_FOR_MS = 3_000;
/** A look that comes so much too late, or a wall clock that is so much ahead of ours, says that the machine or the program slept, ms. */
export const SLEPT_MS = 2_000;

/** `addresses`: they are others than before. `slept`: nothing ran for `sleptMs`. */
export type NetworkNews =
  | { readonly type: "addresses" }
  /** Peers may have given us up meanwhile, NATs may have forgotten us. */
  | { readonly type: "slept"; readonly sleptMs: Millis };

export interface NetworkWatchOptions {
  /** The machine's addresses, as text that is the same for the same addresses. */
  readonly addresses: () => string;
  /** Milliseconds since 1970. The monotonic clock stands still while Linux sleeps; this one does not. */
  readonly wallNow: () => number;
}

/** Notices what no packet tells: that the machine was asleep, or has other addresses now. */
export class NetworkWatch {
  readonly #options: NetworkWatchOptions;
  #addresses: string;
  #lookedAt: Millis;
  #wallAt: number;
  #hurryUntil: Millis = Number.NEGATIVE_INFINITY;

  constructor(now: Millis, options: NetworkWatchOptions) {
    this.#options = options;
    this.#addresses = options.addresses();
    this.#lookedAt = now;
    this.#wallAt = options.wallNow();
  }

  /** A path is silent, or the addresses have just changed: what is to come may come soon. */
  hurry(now: Millis): void {
    this.#hurryUntil = now + HURRY_FOR_MS;
  }

  handleTimeout(now: Millis): NetworkNews | null {
    const lookAt = this.#lookAt;
    if (now < lookAt) return null;
    const wallNow = this.#options.wallNow();
    const addresses = this.#options.addresses();
    const sleptMs = Math.max(now - this.#lookedAt, wallNow - this.#wallAt) - (lookAt - this.#lookedAt);
    const moved = addresses !== this.#addresses;
    this.#addresses = addresses;
    this.#lookedAt = now;
    this.#wallAt = wallNow;
    if (moved) this.hurry(now);
    if (sleptMs >= SLEPT_MS) return { type: "slept", sleptMs };
    return moved ? { type: "addresses" } : null;
  }

  pollTimeout(): Deadline {
    return { at: this.#lookAt, reason: "network watch" };
  }

  get #lookAt(): Millis {
    return this.#lookedAt + (this.#lookedAt < this.#hurryUntil ? HURRIED_LOOK_MS : LOOK_EVERY_MS);
  }
}
