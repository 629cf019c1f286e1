import type { Deadline, Millis } from "@adit/core";
import type { PairId } from "@adit/ice";

/** "Where the handshake over the relay is silent for 300 ms and a direct pair is valid, a second connection races." */
const RACE_AFTER_MS = 300;
/**
 * An answer over a long relay takes longer than that by itself, and is waited for; but not for more than this on top: the direct way is half as long there, and
 * whatever gets lost on either costs seconds.
 */
const MAX_RELAY_RTT_MS = 300;
/** A timer that fires this late says that we did not run, not that the relay was silent. */
const STALL_MS = 50;

/** Why a handshake was started over a pair, for people. */
const REASONS = {
  relay: "connected over the relay, direct is being tried",
  single: "connected directly: no relay was offered before a direct pair answered",
  racing: "connected directly: the handshake over the relay was silent for too long",
  rerouted: "connected over another relay: the handshake over the first one was silent for too long",
} as const;

/** A pair that has answered a check, should the relay stay silent: a direct one, or one over another relay. */
interface Rival {
  readonly pair: PairId;
  readonly kind: "relay" | "direct";
}

type State =
  /** No relay to be had so far: the first valid pair starts. */
  | { readonly name: "waiting" }
  | { readonly name: "relay"; readonly pair: PairId; silentSince: Millis; other: Rival | null }
  | { readonly name: "single"; readonly kind: "relay" | "direct" }
  | { readonly name: "racing"; readonly relay: PairId; readonly other: Rival }
  | { readonly name: "done" };

/**
 * Decides over which pairs the agent starts QUIC handshakes: over the relay at once, before anything was checked; over a direct
 * pair, or another relay, where there is no relay, or where it stays silent. At most two; the first complete one wins.
 */
export class HandshakeRace {
  #state: State = { name: "waiting" };
  readonly #patienceMs: Millis;
  readonly #starts: PairId[] = [];

  /** `relayRttMs`: the least time in which an answer over the relay can come. */
  constructor(relayRttMs: Millis) {
    this.#patienceMs = RACE_AFTER_MS + Math.min(relayRttMs, MAX_RELAY_RTT_MS);
  }

  /** The peer offered a relayed candidate: `pair` leads there. Not checked yet. */
  handleRelayPair(now: Millis, pair: PairId): void {
    if (this.#state.name !== "waiting") return;
    this.#state = { name: "relay", pair, silentSince: now, other: null };
    this.#starts.push(pair);
  }

  handleValidPair(now: Millis, pair: PairId, kind: "relay" | "direct"): void {
    const state = this.#state;
    if (state.name === "waiting") {
      this.#state = { name: "single", kind };
      this.#starts.push(pair);
    } else if (state.name === "relay" && pair !== state.pair) {
      if (!state.other || (state.other.kind === "relay" && kind === "direct")) state.other = { pair, kind };
      this.handleTimeout(now);
    }
  }

  /** The first packet leaves over `pair`, or something came back there: the silence begins anew. */
  handleSign(now: Millis, pair: PairId): void {
    if (this.#state.name === "relay" && this.#state.pair === pair) this.#state.silentSince = now;
  }

  /** A handshake completed over `pair`: no more are started. Why it was, for people. */
  handleEstablished(pair: PairId): string {
    const state = this.#state;
    this.#state = { name: "done" };
    if (state.name === "single" && state.kind === "direct") return REASONS.single;
    if (state.name !== "racing" || pair !== state.other.pair) return REASONS.relay;
    return state.other.kind === "direct" ? REASONS.racing : REASONS.rerouted;
  }

  handleTimeout(now: Millis): void {
    const state = this.#state;
    const due = this.pollTimeout();
    if (state.name !== "relay" || state.other === null || due === null || now < due.at) return;
    if (now - due.at > STALL_MS) {
      // What came over the relay meanwhile has not been read yet.
      state.silentSince = now - this.#patienceMs + STALL_MS;
      return;
    }
    this.#state = { name: "racing", relay: state.pair, other: state.other };
    this.#starts.push(state.other.pair);
  }

  /** The next pair to start a handshake over, or null. */
  pollStart(): PairId | null {
    return this.#starts.shift() ?? null;
  }

  pollTimeout(): Deadline | null {
    const state = this.#state;
    if (state.name !== "relay" || state.other === null) return null;
    return { at: state.silentSince + this.#patienceMs, reason: "silent handshake" };
  }
}
