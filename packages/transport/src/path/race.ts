import type { Deadline, Millis } from "@adit/core";
import type { PairId } from "@adit/ice";

/** "Where the handshake over the relay is silent for 300 ms and a direct pair is valid, a second connection races." */
export const RACE_AFTER_MS = 300;
/** A timer that fires this late says that we did not run, not that the relay was silent. */
const STALL_MS = 50;

/** Why a handshake was started over a pair, for people. */
const REASONS = {
  relay: "connected over the relay, direct is being tried",
  single: "connected directly: no relay was offered before a direct pair answered",
  racing: "connected directly: the handshake over the relay was silent for too long",
} as const;

type State =
  /** No relay to be had so far: the first valid pair starts. */
  | { readonly name: "waiting" }
  | { readonly name: "relay"; readonly pair: PairId; silentSince: Millis; direct: PairId | null }
  | { readonly name: "single"; readonly pair: PairId }
  | { readonly name: "racing"; readonly relay: PairId; readonly direct: PairId }
  | { readonly name: "done" };

/**
 * Decides over which pairs the agent starts QUIC handshakes: over the relay at once, before anything was checked; over a direct
 * pair where there is no relay, or where the relay stays silent. At most two; the first complete one wins.
 */
export class HandshakeRace {
  #state: State = { name: "waiting" };
  readonly #patienceMs: Millis;
  readonly #starts: PairId[] = [];

  /** `relayRttMs`: the least time in which an answer over the relay can come. */
  constructor(relayRttMs: Millis) {
    this.#patienceMs = RACE_AFTER_MS + relayRttMs;
  }

  /** The peer offered a relayed candidate: `pair` leads there. Not checked yet. */
  handleRelayPair(now: Millis, pair: PairId): void {
    if (this.#state.name !== "waiting") return;
    this.#state = { name: "relay", pair, silentSince: now, direct: null };
    this.#starts.push(pair);
  }

  handleValidPair(now: Millis, pair: PairId, kind: "relay" | "direct"): void {
    const state = this.#state;
    if (state.name === "waiting") {
      this.#state = { name: "single", pair };
      this.#starts.push(pair);
    } else if (state.name === "relay" && kind === "direct") {
      state.direct ??= pair;
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
    if (state.name === "single") return REASONS.single;
    return state.name === "racing" && pair === state.direct ? REASONS.racing : REASONS.relay;
  }

  handleTimeout(now: Millis): void {
    const state = this.#state;
    const due = this.pollTimeout();
    if (state.name !== "relay" || state.direct === null || due === null || now < due.at) return;
    if (now - due.at > STALL_MS) {
      // What came over the relay meanwhile has not been read yet.
      state.silentSince = now - this.#patienceMs + STALL_MS;
      return;
    }
    this.#state = { name: "racing", relay: state.pair, direct: state.direct };
    this.#starts.push(state.direct);
  }

  /** The next pair to start a handshake over, or null. */
  pollStart(): PairId | null {
    return this.#starts.shift() ?? null;
  }

  pollTimeout(): Deadline | null {
    const state = this.#state;
    if (state.name !== "relay" || state.direct === null) return null;
    return { at: state.silentSince + this.#patienceMs, reason: "silent handshake" };
  }
}
