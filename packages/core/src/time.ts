/** Milliseconds on a monotonic clock whose zero is arbitrary. State machines get it as their first argument. */
export type Millis = number;

/** When something wants to be called again, and why: what `pollTimeout()` returns. */
export interface Deadline {
  readonly at: Millis;
  readonly reason: string;
}

/** A source of monotonic milliseconds. */
export interface Clock {
  now(): Millis;
}

export const monotonicClock: Clock = { now: () => performance.now() };

/** Null is never. */
export const deadlineAt = (at: Millis | null, reason: string): Deadline | null => (at === null ? null : { at, reason });

/** The earlier of two deadlines; null is never. */
export function earliest(a: Deadline | null, b: Deadline | null): Deadline | null {
  if (!a) return b;
  if (!b) return a;
  return b.at < a.at ? b : a;
}

export interface BackoffOptions {
  /** First delay, ms. */
  readonly initialMs: Millis;
  /** No delay is longer, ms. */
  readonly maxMs: Millis;
  /** Each delay is this many times the last one. */
  readonly factor?: number;
  /** A delay is drawn from [1 - jitter, 1] of the nominal one, so that a crowd does not return in step. */
  readonly jitter?: number;
}

/** Growing, jittered delays between tries. */
export class Backoff {
  #attempt = 0;
  readonly #options: Required<BackoffOptions>;

  constructor(options: BackoffOptions) {
    this.#options = { factor: 2, jitter: 0.5, ...options };
  }

  /** How many delays were drawn since the last {@link reset}. */
  get attempt(): number {
    return this.#attempt;
  }

  /** The next delay in ms; `random` is uniform in [0, 1). */
  next(random: number): Millis {
    const { initialMs, maxMs, factor, jitter } = this.#options;
    const nominal = Math.min(maxMs, initialMs * factor ** Math.min(this.#attempt, 64));
    this.#attempt++;
    return nominal * (1 - jitter * random);
  }

  reset(): void {
    this.#attempt = 0;
  }
}
