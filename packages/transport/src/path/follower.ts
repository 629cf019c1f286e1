import { type Deadline, earliest, type Millis } from "@adit/core";
import type { PairId } from "@adit/ice";
import type { SessionPath } from "../status.ts";
import { goneAfterMs, SUSPEND_AFTER_MS, SUSPEND_LIMIT_MS } from "./actions.ts";
import { type KnownPair, KnownPairs, type PathPair } from "./known-pairs.ts";
import type { PolicyView } from "./view.ts";
import { Watch } from "./watch.ts";

/** While the active path is silent the report is repeated this often: it may be lost too. */
const REPORT_INTERVAL_MS = 500;

export type FollowerAction =
  | { readonly type: "check"; readonly pair: PairId }
  /** Tell the agent that its active path is silent here. */
  | { readonly type: "report"; readonly path: "relay" | "direct"; readonly silentMs: Millis }
  | { readonly type: "ping" }
  | { readonly type: "retry" }
  | {
      readonly type: "changed";
      readonly from: SessionPath;
      readonly to: SessionPath;
      readonly pair: PairId | null;
      readonly reason: string;
    }
  | { readonly type: "end"; readonly code: string; readonly reason: string };

type State =
  | { readonly name: "connecting" }
  | { readonly name: "steady"; active: KnownPair; readonly watch: Watch }
  /** The active path is silent: complain until something is heard. */
  | {
      readonly name: "complaining";
      active: KnownPair;
      readonly since: Millis;
      reportAt: Millis;
      suspended: boolean;
    }
  | { readonly name: "ended" };

/**
 * The path policy of the side that cannot migrate (the connector, RFC 9000 §9): it follows the peer, runs the same clock, and
 * says so when it hears nothing.
 *
 * | state         | event                          | next        | actions              |
 * |---------------|--------------------------------|-------------|----------------------|
 * | connecting    | first connection on P          | steady P    | changed              |
 * | steady P      | the peer migrated to Q         | steady Q    | changed              |
 * | steady P      | silence                        | steady P    | check all            |
 * | steady P      | P dead                         | complaining | report, check, retry |
 * | complaining   | a packet, an answer, migration | steady      | ping                 |
 * | complaining   | 500 ms                         | complaining | report, check        |
 * | complaining   | 30 s                           | (suspended) | changed              |
 * | complaining   | 10 min more                    | ended       | end                  |
 */
export class FollowerPolicy implements PolicyView {
  #state: State = { name: "connecting" };
  #reason = "the handshake is under way";
  #migrations = 0;
  #relayedSince: Millis | null = null;
  #goneSince: Millis | null = null;
  #activeAt: Millis = Number.NEGATIVE_INFINITY;
  readonly #pairs = new KnownPairs();
  readonly #actions: FollowerAction[] = [];

  get path(): SessionPath {
    const state = this.#state;
    if (state.name === "connecting") return "connecting";
    if (state.name === "ended" || (state.name === "complaining" && state.suspended)) return "suspended";
    return state.active.pair.kind;
  }

  get activePair(): PairId | null {
    return this.#state.name === "steady" || this.#state.name === "complaining" ? this.#state.active.pair.id : null;
  }

  get reason(): string {
    return this.#reason;
  }

  /** Since when the session is on the relay; null when it is not. */
  get relayedSince(): Millis | null {
    return this.#relayedSince;
  }

  get migrations(): number {
    return this.#migrations;
  }

  get rttMs(): Millis | null {
    const state = this.#state;
    return state.name === "steady" || state.name === "complaining" ? state.active.rtt.smoothedMs : null;
  }

  get relayRttMs(): Millis | null {
    for (const known of this.#pairs.all()) if (known.pair.kind === "relay") return known.rtt.smoothedMs;
    return null;
  }

  get isSuspect(): boolean {
    const state = this.#state;
    return state.name === "complaining" || (state.name === "steady" && state.watch.liveness.isSuspect);
  }

  sparePair(now: Millis): PairId | null {
    const state = this.#state;
    if (state.name === "complaining") return this.#pairs.standing(state.since, state.active.pair.id)?.pair.id ?? null;
    return state.name === "steady" ? state.watch.spare(now, state.active) : null;
  }

  get keepPairs(): readonly (PairId | null)[] {
    return [this.activePair];
  }

  // ---- handle

  /** QUIC's active path is on `pair` now: the handshake completed there, or the peer migrated. */
  handleActive(now: Millis, pair: PathPair): void {
    if (this.#state.name === "ended" || this.activePair === pair.id) return;
    const from = this.path;
    const active = this.#pairs.add(now, pair);
    this.#state = { name: "steady", active, watch: this.#watch(now, active) };
    if (from !== pair.kind) this.#relayedSince = pair.kind === "relay" ? now : null;
    if (from !== "connecting") this.#migrations++;
    this.#reason =
      from === "connecting"
        ? `the peer connected over the ${word(pair.kind)}`
        : `the peer moved to ${from === pair.kind ? `another ${word(pair.kind)}` : `the ${word(pair.kind)}`}`;
    this.#actions.push({ type: "changed", from, to: pair.kind, pair: pair.id, reason: this.#reason });
  }

  /** As that of the agent's policy. */
  handleAnswer(now: Millis, pair: PathPair, rttMs: Millis, repeated = false): void {
    const known = this.#know(now, pair);
    known.handleAnswer(now, rttMs, repeated);
    this.#goneSince = null;
    const state = this.#state;
    if (state.name === "steady" && state.active === known) {
      const wasSuspect = state.watch.liveness.isSuspect;
      state.watch.liveness.handleAnswer(now, known.rtt.smoothedMs ?? rttMs);
      if (wasSuspect) this.#actions.push({ type: "ping" });
    } else if (state.name === "steady") state.watch.liveness.handleAlternative(now - rttMs);
    if (state.name === "complaining" && state.active === known) this.#recover(now, state);
  }

  /** ICE gave the pair up. The active one stays until the peer moves: it has to prove itself, or is complained about. */
  handlePairLost(now: Millis, pair: PairId): void {
    if (this.activePair !== pair) this.#pairs.delete(pair);
    else if (this.#state.name === "steady") this.#state.watch.liveness.demandProof(now);
  }

  #know(now: Millis, pair: PathPair): KnownPair {
    const known = this.#pairs.add(now, pair);
    const state = this.#state;
    if ((state.name === "steady" || state.name === "complaining") && state.active.pair.id === pair.id)
      state.active = known;
    return known;
  }

  /** A QUIC packet came in on `pair`. */
  handleHeard(now: Millis, pair: PairId): void {
    this.#goneSince = null;
    const state = this.#state;
    if (state.name === "steady" && state.active.pair.id === pair) {
      const wasSilent = state.watch.liveness.state === "silent";
      state.watch.liveness.handleHeard(now);
      if (wasSilent) this.#actions.push({ type: "ping" });
    }
    if (state.name === "complaining" && state.active.pair.id === pair) this.#recover(now, state);
  }

  handleActivity(now: Millis): void {
    this.#activeAt = now;
    if (this.#state.name === "steady") this.#state.watch.liveness.handleActivity(now);
  }

  /** Signaling says that the agent is gone: a hint, verified by checks; then the session ends at once. */
  handlePeerGone(now: Millis): void {
    this.#goneSince ??= now;
    if (this.#state.name === "steady") this.#state.watch.liveness.demandProof(now);
  }

  /** The agent has named the session itself, through an intermediate: it knows it, and is not gone. */
  handlePeerKnows(): void {
    this.#goneSince = null;
  }

  /** The machine slept, or has other addresses. */
  handleWake(now: Millis): void {
    const state = this.#state;
    if (state.name === "steady") state.watch.liveness.demandProof(now);
    if (state.name === "complaining") state.reportAt = now;
  }

  handleTimeout(now: Millis): void {
    const state = this.#state;
    if (state.name === "steady") this.#handleSteadyTimeout(now, state);
    else if (state.name === "complaining") this.#handleComplaint(now, state);
  }

  // ---- poll

  pollAction(): FollowerAction | null {
    return this.#actions.shift() ?? null;
  }

  pollTimeout(): Deadline | null {
    const state = this.#state;
    if (state.name === "steady") return state.watch.pollTimeout();
    if (state.name !== "complaining") return null;
    const limitAt = state.since + SUSPEND_AFTER_MS + (state.suspended ? SUSPEND_LIMIT_MS : 0);
    const gone =
      this.#goneSince === null ? null : { at: this.#goneAt(this.#goneSince, state.active), reason: "peer gone" };
    return earliest(
      gone,
      earliest({ at: state.reportAt, reason: "path report" }, { at: limitAt, reason: "suspension" }),
    );
  }

  // ---- inside

  #handleSteadyTimeout(now: Millis, state: Extract<State, { name: "steady" }>): void {
    const silentSince = state.watch.liveness.suspectSince(now);
    const verdict = state.watch.handleTimeout(now, state.active);
    for (const known of verdict.check) this.#check(now, known);
    // The agent finds out by itself whether that is so, and is told early: it needs time for that.
    if (verdict.state === "overdue") this.#report(now, state.active, silentSince);
    if (verdict.state !== "dead") return;
    this.#actions.push({ type: "retry" });
    const complaining: State = {
      name: "complaining",
      active: state.active,
      since: now,
      reportAt: now,
      suspended: false,
    };
    this.#state = complaining;
    this.#handleComplaint(now, complaining);
  }

  #handleComplaint(now: Millis, state: Extract<State, { name: "complaining" }>): void {
    if (this.#goneSince !== null && now >= this.#goneAt(this.#goneSince, state.active)) {
      this.#state = { name: "ended" };
      this.#actions.push({ type: "end", code: "peer-gone", reason: "the peer was restarted or has gone" });
      return;
    }
    if (!state.suspended && now >= state.since + SUSPEND_AFTER_MS) {
      state.suspended = true;
      this.#migrations++;
      this.#reason = "nothing is heard from the peer";
      this.#actions.push({
        type: "changed",
        from: state.active.pair.kind,
        to: "suspended",
        pair: null,
        reason: this.#reason,
      });
    }
    if (state.suspended && now >= state.since + SUSPEND_AFTER_MS + SUSPEND_LIMIT_MS) {
      this.#state = { name: "ended" };
      this.#actions.push({ type: "end", code: "timeout", reason: "nothing was heard from the peer in 10 minutes" });
      return;
    }
    if (now < state.reportAt) return;
    state.reportAt = now + (state.suspended ? REPORT_INTERVAL_MS * 10 : REPORT_INTERVAL_MS);
    this.#report(now, state.active, state.since);
    for (const known of this.#pairs.all()) this.#check(now, known);
  }

  #goneAt(since: Millis, active: KnownPair): Millis {
    return since + goneAfterMs(Math.max(active.rtt.smoothedMs ?? 0, this.relayRttMs ?? 0));
  }

  #report(now: Millis, active: KnownPair, since: Millis): void {
    this.#actions.push({ type: "report", path: active.pair.kind, silentMs: now - since });
  }

  #recover(now: Millis, state: Extract<State, { name: "complaining" }>): void {
    if (state.suspended) {
      this.#migrations++;
      this.#reason = `the ${word(state.active.pair.kind)} is heard again`;
      const { id, kind } = state.active.pair;
      this.#actions.push({ type: "changed", from: "suspended", to: kind, pair: id, reason: this.#reason });
    }
    this.#state = { name: "steady", active: state.active, watch: this.#watch(now, state.active) };
    this.#actions.push({ type: "ping" });
  }

  #check(now: Millis, known: KnownPair): void {
    known.handleSent(now);
    this.#actions.push({ type: "check", pair: known.pair.id });
  }

  #watch(now: Millis, active: KnownPair): Watch {
    return new Watch(now, active, this.#activeAt, this.#pairs);
  }
}

const word = (kind: "relay" | "direct"): string => (kind === "direct" ? "direct path" : "relay");
