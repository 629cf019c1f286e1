import { type Deadline, earliest, type Millis, type Random, SmoothedRtt } from "@adit/core";

export interface LivenessOptions {
  readonly random: Random;
  /** After this long without a byte received a Ping goes out, ms. Drawn from [0.8, 1] of it, so that a crowd does not ping in step. */
  readonly idleMs: Millis;
  /** After this long without a sign of life since that Ping the other side is dead, ms; {@link TRIES} retransmission timeouts if those take longer. */
  readonly timeoutMs: Millis;
}

/** So many Pings before nobody is there, evenly spaced: on a network that loses packets some of them, or of their answers, get lost. */
const TRIES = 4;
/** However long round trips are, no more patience than this, or than was asked for, ms. */
const MAX_PATIENCE_MS = 6_000;

interface Ping {
  readonly id: bigint;
  readonly sentAt: Millis;
}

interface Asked {
  readonly at: "asked";
  /** The newest, {@link TRIES} at most. */
  readonly pings: Ping[];
  readonly patienceMs: Millis;
  /** When the next Ping leaves, unless a Pong comes: what else is heard says nothing of what got lost. */
  againAt: Millis;
  deadAt: Millis;
}

type State = { readonly at: "stopped" } | { readonly at: "quiet"; readonly pingAt: Millis } | Asked;

/** When to send a Ping, what its Pong says of the round trip, and when nobody is there any more. */
export class Liveness {
  readonly #options: LivenessOptions;
  #state: State = { at: "stopped" };
  #lastId = 0n;
  #rtt = new SmoothedRtt();

  constructor(options: LivenessOptions) {
    this.#options = options;
  }

  /** Smoothed as TCP does it (RFC 6298 §2); null before the first measurement. */
  get rttMs(): Millis | null {
    return this.#rtt.rttMs;
  }

  /** A round trip to the other side took so long, ms. */
  measured(sampleMs: Millis): void {
    this.#rtt.add(sampleMs);
  }

  /** The id of a Ping to be sent now, or null when one is under way that will tell as soon. */
  ask(now: Millis, timeoutMs: Millis = this.#options.timeoutMs): bigint | null {
    const patienceMs = this.#patience(timeoutMs);
    if (this.#state.at === "asked" && this.#state.deadAt <= now + patienceMs) return null;
    const state = { at: "asked" as const, pings: [], patienceMs, againAt: now, deadAt: now + patienceMs };
    this.#state = state;
    return this.#ping(now, state);
  }

  /** Something came, of whatever kind: the other side lives. */
  received(now: Millis): void {
    if (this.#state.at === "asked") this.#state.deadAt = now + this.#state.patienceMs;
    else if (this.#state.at === "quiet") this.#state = this.#quiet(now);
  }

  /** The round trip that this Pong measured, ms; null when it answers no Ping that is under way. */
  pong(now: Millis, id: bigint): Millis | null {
    if (this.#state.at !== "asked") return null;
    const ping = this.#state.pings.find((one) => one.id === id);
    if (!ping) return null;
    const sampleMs = now - ping.sentAt;
    this.measured(sampleMs);
    this.#state = this.#quiet(now);
    return sampleMs;
  }

  stop(): void {
    this.#state = { at: "stopped" };
    this.#rtt = new SmoothedRtt();
  }

  pollTimeout(): Deadline | null {
    switch (this.#state.at) {
      case "stopped":
        return null;
      case "quiet":
        return { at: this.#state.pingAt, reason: "ping" };
      case "asked":
        return earliest(
          { at: this.#state.deadAt, reason: "pong-timeout" },
          { at: this.#state.againAt, reason: "ping" },
        );
    }
  }

  /** The id of a Ping to be sent now; `dead`: nothing came for as long as there is patience. */
  handleTimeout(now: Millis): bigint | "dead" | null {
    if (this.#state.at === "quiet") return now >= this.#state.pingAt ? this.ask(now) : null;
    if (this.#state.at === "stopped") return null;
    if (now >= this.#state.deadAt) return "dead";
    return now >= this.#state.againAt ? this.#ping(now, this.#state) : null;
  }

  #ping(now: Millis, state: Asked): bigint {
    this.#lastId++;
    if (state.pings.length === TRIES) state.pings.shift();
    state.pings.push({ id: this.#lastId, sentAt: now });
    state.againAt = now + state.patienceMs / TRIES;
    return this.#lastId;
  }

  #patience(timeoutMs: Millis): Millis {
    return Math.max(timeoutMs, Math.min(TRIES * (this.#rtt.timeoutMs ?? 0), MAX_PATIENCE_MS));
  }

  #quiet(now: Millis): State {
    return { at: "quiet", pingAt: now + this.#options.idleMs * (0.8 + 0.2 * this.#options.random.float()) };
  }
}
