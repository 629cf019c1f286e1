import type { Deadline, Millis, Random } from "@adit/core";

export interface LivenessOptions {
  readonly random: Random;
  /** After this long without a byte received a Ping goes out, ms. Drawn from [0.8, 1] of it, so that a crowd does not ping in step. */
  readonly idleMs: Millis;
  /** After this long without a byte since that Ping the other side is dead, ms. */
  readonly timeoutMs: Millis;
}

type State =
  | { readonly at: "stopped" }
  | { readonly at: "quiet"; readonly pingAt: Millis }
  | { readonly at: "asked"; readonly id: bigint; readonly sentAt: Millis; readonly timeoutMs: Millis; deadAt: Millis };

/** When to send a Ping, what its Pong says of the round trip, and when nobody is there any more. */
export class Liveness {
  readonly #options: LivenessOptions;
  #state: State = { at: "stopped" };
  #lastId = 0n;
  #rttMs: Millis | null = null;

  constructor(options: LivenessOptions) {
    this.#options = options;
  }

  /** Smoothed as TCP does it (RFC 6298 §2); null before the first Pong. */
  get rttMs(): Millis | null {
    return this.#rttMs;
  }

  /** The id of a Ping to be sent now, or null when one is under way that will tell as soon. */
  ask(now: Millis, timeoutMs: Millis = this.#options.timeoutMs): bigint | null {
    if (this.#state.at === "asked" && this.#state.deadAt <= now + timeoutMs) return null;
    this.#lastId++;
    this.#state = { at: "asked", id: this.#lastId, sentAt: now, timeoutMs, deadAt: now + timeoutMs };
    return this.#lastId;
  }

  /** Bytes came, of whatever kind: the other side lives. */
  received(now: Millis): void {
    if (this.#state.at === "asked") this.#state.deadAt = now + this.#state.timeoutMs;
    else if (this.#state.at === "quiet") this.#state = this.#quiet(now);
  }

  /** The round trip that this Pong measured, ms; null when it answers no Ping that is under way. */
  pong(now: Millis, id: bigint): Millis | null {
    if (this.#state.at !== "asked" || this.#state.id !== id) return null;
    const sample = now - this.#state.sentAt;
    this.#rttMs = this.#rttMs === null ? sample : this.#rttMs * 0.875 + sample * 0.125;
    this.#state = this.#quiet(now);
    return sample;
  }

  stop(): void {
    this.#state = { at: "stopped" };
    this.#rttMs = null;
  }

  pollTimeout(): Deadline | null {
    switch (this.#state.at) {
      case "stopped":
        return null;
      case "quiet":
        return { at: this.#state.pingAt, reason: "ping" };
      case "asked":
        return { at: this.#state.deadAt, reason: "pong-timeout" };
    }
  }

  /** `ping`: call {@link ask} and send it. `dead`: nothing came since the last one. */
  handleTimeout(now: Millis): "ping" | "dead" | null {
    if (this.#state.at === "quiet" && now >= this.#state.pingAt) return "ping";
    if (this.#state.at === "asked" && now >= this.#state.deadAt) return "dead";
    return null;
  }

  #quiet(now: Millis): State {
    return { at: "quiet", pingAt: now + this.#options.idleMs * (0.8 + 0.2 * this.#options.random.float()) };
  }
}
