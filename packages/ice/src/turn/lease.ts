import type { Millis } from "@adit/core";

type LeasePhase =
  | { readonly is: "wanted"; readonly since: Millis }
  | { readonly is: "asked" }
  | { readonly is: "held"; readonly refreshAt: Millis }
  | { readonly is: "refused" };

/**
 * Something that the relay grants for a while and that is kept: a permission or a channel binding. It stays valid while a
 * refresh is under way, and until it runs out when that is not answered.
 */
export class Lease {
  readonly #lifetimeMs: Millis;
  readonly #refreshAfterMs: Millis;
  #phase: LeasePhase;
  /** When the relay forgets it; null when it does not hold. */
  #expiresAt: Millis | null = null;

  constructor(now: Millis, lifetimeMs: Millis, refreshAfterMs: Millis) {
    this.#lifetimeMs = lifetimeMs;
    this.#refreshAfterMs = refreshAfterMs;
    this.#phase = { is: "wanted", since: now };
  }

  /** The relay granted it, and it has not run out. */
  get valid(): boolean {
    return this.#expiresAt !== null;
  }

  get refused(): boolean {
    return this.#phase.is === "refused";
  }

  /** When {@link expire} or a request is due; infinite when nothing is. */
  get dueAt(): Millis {
    return Math.min(this.#requestAt, this.#expiresAt ?? Number.POSITIVE_INFINITY);
  }

  /** Whether the relay should be asked now. */
  isDue(now: Millis): boolean {
    return now >= this.#requestAt;
  }

  asked(): void {
    this.#phase = { is: "asked" };
  }

  granted(now: Millis): void {
    this.#phase = { is: "held", refreshAt: now + this.#refreshAfterMs };
    this.#expiresAt = now + this.#lifetimeMs;
  }

  /** It is not asked for again until {@link want}. */
  refuse(): void {
    this.#phase = { is: "refused" };
    this.#expiresAt = null;
  }

  /** It is to be asked for at `at`; what holds goes on holding. */
  want(at: Millis): void {
    this.#phase = { is: "wanted", since: at };
  }

  /** What waits to be asked for again does not wait any longer. */
  hurry(now: Millis): void {
    if (this.#phase.is === "wanted" && this.#phase.since > now) this.want(now);
  }

  /** The allocation it belonged to is gone; the next one may grant what this one refused. */
  reset(now: Millis): void {
    this.#expiresAt = null;
    this.want(now);
  }

  /** Notes that it ran out. */
  expire(now: Millis): void {
    if (this.#expiresAt !== null && now >= this.#expiresAt) this.#expiresAt = null;
  }

  get #requestAt(): Millis {
    switch (this.#phase.is) {
      case "wanted":
        return this.#phase.since;
      case "held":
        return this.#phase.refreshAt;
      default:
        return Number.POSITIVE_INFINITY;
    }
  }
}
