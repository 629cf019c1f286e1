import type { Deadline, Millis } from "@adit/core";
import type { PairId } from "@adit/ice";

/** "Where the handshake over the relay is silent for 300 ms and a direct pair is valid, a second connection races." */
export const RACE_AFTER_MS = 300;

type State =
  /** No relay to be had so far: the first valid pair starts. */
  | { readonly name: "waiting"; direct: PairId | null }
  | { readonly name: "relay"; readonly pair: PairId; heardAt: Millis; direct: PairId | null }
  | { readonly name: "single"; readonly pair: PairId }
  | { readonly name: "racing"; readonly relay: PairId; readonly direct: PairId }
  | { readonly name: "done" };

/**
 * Decides over which pairs the agent starts QUIC handshakes: over the relay at once, before anything was checked; over a direct
 * pair where there is no relay, or where the relay stays silent. At most two; the first complete one wins.
 */
export class HandshakeRace {
  #state: State = { name: "waiting", direct: null };
  readonly #starts: PairId[] = [];

  /** The peer offered a relayed candidate: `pair` leads there. Not checked yet. */
  handleRelayPair(now: Millis, pair: PairId): void {
    if (this.#state.name !== "waiting") return;
    this.#state = { name: "relay", pair, heardAt: now, direct: this.#state.direct };
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

  /** Something came back from the handshake over `pair`: the silence begins anew. */
  handleHeard(now: Millis, pair: PairId): void {
    if (this.#state.name === "relay" && this.#state.pair === pair) this.#state.heardAt = now;
  }

  /** A handshake completed: no more are started. */
  handleEstablished(): void {
    this.#state = { name: "done" };
  }

  handleTimeout(now: Millis): void {
    const state = this.#state;
    if (state.name !== "relay" || state.direct === null || now < state.heardAt + RACE_AFTER_MS) return;
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
    return { at: state.heardAt + RACE_AFTER_MS, reason: "silent handshake" };
  }
}
