import { type Deadline, earliest, type Millis, type Random } from "@adit/core";
import type { PairId } from "@adit/ice";
import type { SessionPath } from "../status.ts";
import { FIRST_BYTES_MS, KEEPALIVE_MS, type PathAction, STRANDED_CHECK_MS, VALIDATION_TIMEOUT_MS } from "./actions.ts";
import { type Choice, Chooser } from "./chooser.ts";
import { Journal } from "./journal.ts";
import { type KnownPair, KnownPairs, type PathPair } from "./known-pairs.ts";
import { Outage } from "./outage.ts";
import type { PolicyState } from "./policy-state.ts";
import { wantsAnotherAnswer } from "./preference.ts";
import { PunchClock } from "./punch-clock.ts";
import type { SlotIndex, SlotTable } from "./slots.ts";
import type { PolicyView } from "./view.ts";
import { Watch } from "./watch.ts";

export interface PathPolicyOptions {
  readonly slots: SlotTable;
  readonly random: Random;
  /** Says why no direct pair works, in a sentence, from what ICE knows. */
  readonly explainNoDirect: () => string;
}

/**
 * Decides, on the side that may migrate (the agent), which ICE pair the one QUIC connection uses.
 *
 * | state      | event                                   | next      | actions                              |
 * |------------|-----------------------------------------|-----------|--------------------------------------|
 * | connecting | handshake complete on P                 | steady P  | changed                              |
 * | steady P   | better pair Q answers, shouldUseDirect  | steady P  | validate Q                           |
 * | steady P   | Q validated                             | steady Q  | migrate Q, changed                   |
 * | steady P   | Q not validated in 2 s, or lost         | steady P  | (Q waits with backoff)               |
 * | steady P   | silence, peer's report                  | steady P  | check P and the standing pairs       |
 * | steady P   | P dead, Q answered meanwhile            | steady Q  | migrate Q, changed, retry            |
 * | steady P   | P dead, nothing answered                | stranded  | check all, retry                     |
 * | stranded   | Q answers                               | steady Q  | migrate Q, changed                   |
 * | stranded   | 1 s                                     | stranded  | restart (again with backoff)         |
 * | stranded   | 30 s                                    | suspended | changed                              |
 * | suspended  | Q answers                               | steady Q  | migrate Q, changed                   |
 * | suspended  | 10 min                                  | ended     | end                                  |
 *
 * Sans-IO: `now` is an argument; call {@link pollAction} after every input until it returns null.
 */
export class PathPolicy implements PolicyView {
  #state: PolicyState = { name: "connecting" };
  #activeAt: Millis = Number.NEGATIVE_INFINITY;
  #pingAt: Millis = Number.POSITIVE_INFINITY;
  readonly #punch: PunchClock;
  /** Since when signaling says that the peer is gone; a sign of life takes it back. */
  #goneSince: Millis | null = null;
  /** When there was reason last to look for new paths as soon as none is left: other addresses, or signaling that reaches the peer again. */
  #newsAt: Millis = Number.NEGATIVE_INFINITY;
  /** Until then the relay is kept, for the first bytes. */
  #holdUntil: Millis | null = null;
  readonly #pairs = new KnownPairs();
  readonly #actions: PathAction[] = [];
  readonly #journal = new Journal(this.#actions);
  readonly #options: PathPolicyOptions;

  constructor(now: Millis, options: PathPolicyOptions) {
    this.#options = options;
    this.#punch = new PunchClock(now, options.random);
  }

  get path(): SessionPath {
    switch (this.#state.name) {
      case "connecting":
        return "connecting";
      case "steady":
        return this.#state.active.pair.kind;
      case "outage":
        return this.#state.outage.isSuspended ? "suspended" : this.#state.outage.was;
      case "ended":
        return "suspended";
    }
  }

  /** The pair that carries the session; null when none does. */
  get activePair(): PairId | null {
    return this.#state.name === "steady" ? this.#state.active.pair.id : null;
  }

  /** Why the session is where it is, for people. */
  get reason(): string {
    return this.#journal.reason;
  }

  /** Path changes after `connecting`. */
  get migrations(): number {
    return this.#journal.migrations;
  }

  /** Smoothed round trip of the active pair, ms; null when none carries the session. */
  get rttMs(): Millis | null {
    return this.#state.name === "steady" ? this.#state.active.rtt.smoothedMs : null;
  }

  get relayRttMs(): Millis | null {
    return this.#pairs.lastAnswered("relay")?.rtt.smoothedMs ?? null;
  }

  get isSuspect(): boolean {
    return this.#state.name === "steady" && this.#state.watch.liveness.isSuspect;
  }

  sparePair(now: Millis): PairId | null {
    return this.#state.name === "steady" ? this.#state.watch.spare(now, this.#state.active) : null;
  }

  /** The pairs whose slots must not be taken away. */
  get keepPairs(): readonly (PairId | null)[] {
    return this.#keep();
  }

  // ---- handle

  /** The QUIC handshake completed over `pair`, whose slot it is on; `reason`: why there, for people. */
  handleEstablished(now: Millis, pair: PathPair, reason: string): void {
    if (this.#state.name !== "connecting") return;
    const active = this.#pairs.add(now, pair);
    this.#pingAt = now + KEEPALIVE_MS;
    this.#state = this.#steady(now, active);
    if (pair.kind === "relay") this.#holdUntil = now + FIRST_BYTES_MS;
    this.#journal.start(pair, reason);
    this.#evaluate(now);
    this.#askAgain(now, active);
  }

  /** A check on the pair succeeded; `rttMs` is its round trip, an upper bound when it was `repeated`. */
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
    if (state.name === "outage") {
      this.#move(now, known, state.outage.isSuspended ? "resumed: a path answers again" : "a path answers again");
      return;
    }
    this.#evaluate(now);
    this.#askAgain(now, known);
  }

  /** With the relay's first answer all direct pairs compare otherwise, and with one of theirs that one. */
  #askAgain(now: Millis, answered: KnownPair): void {
    if (this.#state.name !== "steady" || this.#state.active.pair.kind === "direct") return;
    const { active } = this.#state;
    for (const known of this.#pairs.all()) {
      const isNews = known === answered || (answered === active && active.answers <= 1);
      if (isNews && known.pair.kind === "direct" && wantsAnotherAnswer(known, active)) this.#check(now, known);
    }
  }

  /** The active pair stays the object that carries it, also when ICE comes to see it as of another kind. */
  #know(now: Millis, pair: PathPair): KnownPair {
    const known = this.#pairs.add(now, pair);
    if (this.#state.name === "steady" && this.#state.active.pair.id === pair.id && this.#state.active !== known) {
      this.#state = { ...this.#state, active: known };
    }
    return known;
  }

  /** ICE gave the pair up: consent expired, its socket or allocation is gone. */
  handlePairLost(now: Millis, pair: PairId, reason: string): void {
    this.#pairs.delete(pair);
    if (this.#state.name === "outage" && !this.#state.outage.isSuspended && this.#pairs.size === 0)
      this.#state.outage.hasten(now);
    if (this.#state.name !== "steady") return;
    if (this.#state.trial?.pair === pair) this.#state.trial = null;
    if (this.#state.active.pair.id === pair) this.#leave(now, reason, now - STRANDED_CHECK_MS);
    else this.#evaluate(now);
  }

  /** A QUIC packet of this session came in on the pair. */
  handleHeard(now: Millis, pair: PairId): void {
    this.#goneSince = null;
    if (this.#state.name === "steady" && this.#state.active.pair.id === pair) {
      const { liveness } = this.#state.watch;
      const wasSilent = liveness.state === "silent";
      liveness.handleHeard(now);
      if (wasSilent) this.#actions.push({ type: "ping" });
    }
    this.#journal.handleHeard(now, pair);
  }

  /** Application bytes were read or written, or somebody waits for the peer; `received`: some came in. */
  handleActivity(now: Millis, received = true): void {
    this.#activeAt = now;
    if (received && this.#holdUntil !== null) {
      this.#holdUntil = null;
      this.#evaluate(now);
    }
    if (this.#state.name === "steady") this.#state.watch.liveness.handleActivity(now);
  }

  handleValidated(now: Millis, slot: SlotIndex): void {
    if (this.#state.name !== "steady" || this.#state.trial?.slot !== slot) return;
    const { pair, choice } = this.#state.trial;
    this.#state.trial = null;
    if (choice.purpose === "standby" || this.#pairs.get(pair) !== choice.known) return;
    if (choice.blame !== null) this.#state.active.fail(now, choice.blame);
    this.#move(now, choice.known, choice.reason);
  }

  handleValidationFailed(now: Millis, slot: SlotIndex): void {
    if (this.#state.name !== "steady" || this.#state.trial?.slot !== slot) return;
    this.#pairs.get(this.#state.trial.pair)?.fail(now, "dead");
    this.#state.trial = null;
    this.#evaluate(now);
  }

  /** QUIC would not move to the pair that was chosen last. */
  handleMigrateFailed(now: Millis): void {
    this.#leave(now, "QUIC could not move to the path", now);
  }

  /** The peer hears nothing on the active path (PathReport). It is believed only after checks of ours went unanswered. */
  handlePeerReport(now: Millis): void {
    this.#demandProof(now);
  }

  /** The peer has said goodbye, or does not know the session: a hint all the same, verified by checks; then the session ends at once. */
  handlePeerGone(now: Millis): void {
    const since = this.#state.name === "outage" ? this.#state.outage.goneSince(now) : now;
    this.#goneSince = Math.min(since, this.#goneSince ?? since);
    this.#demandProof(now);
  }

  /**
   * The peer connected to its intermediate anew: it was started anew, or has slept, and knows the session. Where no path carries it, the peer is
   * asked at once: its answer to the restart shows which.
   */
  handlePeerAnew(now: Millis): void {
    this.#goneSince ??= now;
    this.handleReachable(now);
    this.#demandProof(now);
  }

  /** The machine slept, or has other addresses: each path has to prove itself, and those that failed may try again. */
  handleWake(now: Millis): void {
    this.#demandProof(now);
    this.handleReachable(now);
    this.#actions.push({ type: "probe-infrastructure" }, { type: "retry" });
  }

  /** Signaling reaches the peer again: where no path carries the session, or none turns out to, the peer is asked for new ones. */
  handleReachable(now: Millis): void {
    this.#newsAt = now;
    if (this.#state.name === "outage") this.#state.outage.hasten(now);
  }

  /** The peer has answered an ICE restart: it knows the session. */
  handleRestarted(now: Millis): void {
    this.#goneSince = null;
    if (this.#state.name === "outage") this.#state.outage.handleRestarted(now);
  }

  handleTimeout(now: Millis): void {
    this.#handleKeepalive(now);
    this.#handlePunchTimeout(now);
    switch (this.#state.name) {
      case "steady":
        return this.#handleSteadyTimeout(now, this.#state);
      case "outage":
        return this.#handleOutage(now, this.#state.outage);
      case "connecting":
      case "ended":
        return;
    }
  }

  // ---- poll

  pollAction(): PathAction | null {
    return this.#actions.shift() ?? null;
  }

  pollTimeout(): Deadline | null {
    const state = this.#state;
    if (state.name === "ended" || state.name === "connecting") return null;
    let next: Deadline | null = { at: this.#pingAt, reason: "keepalive" };
    next = earliest(next, this.#punch.pollTimeout());
    if (state.name === "steady") {
      next = earliest(next, state.watch.pollTimeout());
      if (this.#holdUntil !== null) next = earliest(next, { at: this.#holdUntil, reason: "first bytes" });
      if (state.trial) next = earliest(next, { at: state.trial.giveUpAt, reason: "path validation" });
      next = earliest(next, state.chooser.pollTimeout());
      return earliest(next, this.#pairs.pollTimeout());
    }
    return earliest(next, state.outage.pollTimeout(this.#goneSince));
  }

  // ---- steady

  #handleSteadyTimeout(now: Millis, state: Extract<PolicyState, { name: "steady" }>): void {
    const suspectSince = state.watch.liveness.suspectSince(now);
    const verdict = state.watch.handleTimeout(now, state.active);
    if (verdict.state === "dead") {
      const kind = state.active.pair.kind === "direct" ? "direct path" : "relay";
      this.#leave(now, `the ${kind} went silent`, suspectSince);
      return;
    }
    // The others are asked at the same time, so that whoever stands is known by the time the active one is given up.
    for (const known of verdict.check) this.#check(now, known);
    // Not at the first silence: where packets get lost that is frequent, and each question is one that may be answered too late.
    if (verdict.state === "overdue") this.#actions.push({ type: "probe-infrastructure" });
    if (state.trial && now >= state.trial.giveUpAt) this.handleValidationFailed(now, state.trial.slot);
    this.#checkFailedPairs(now);
    if (this.#holdUntil !== null && now >= this.#holdUntil) this.#holdUntil = null;
    this.#evaluate(now);
  }

  /** In the background, with backoff: paths that failed get a chance to answer. */
  #checkFailedPairs(now: Millis): void {
    for (const known of this.#pairs.all()) {
      if (known.askAt === null || now < known.askAt) continue;
      known.handleAsked(now);
      this.#check(now, known);
    }
  }

  #check(now: Millis, known: KnownPair): void {
    known.handleSent(now);
    this.#actions.push({ type: "check", pair: known.pair.id });
  }

  /** Looks for something better than what is, or prepares the standby. One trial at a time. */
  #evaluate(now: Millis): void {
    const state = this.#state;
    if (state.name !== "steady" || state.trial || this.#holdUntil !== null) return;
    const choice = state.chooser.choose(now, state.active);
    if (choice) this.#try(now, choice);
  }

  #try(now: Millis, choice: Choice): void {
    if (this.#state.name !== "steady") return;
    const pair = choice.known.pair.id;
    const slot = this.#options.slots.bind(pair, this.#keep());
    if (slot === null) return;
    this.#state.trial = { pair, slot, choice, giveUpAt: now + VALIDATION_TIMEOUT_MS };
    this.#actions.push({ type: "validate", slot });
  }

  #demandProof(now: Millis): void {
    if (this.#state.name !== "steady") return;
    this.#state.watch.liveness.demandProof(now);
  }

  // ---- moving

  /** The active pair is dead; `since`: from when on an answer elsewhere shows that a path stands. */
  #leave(now: Millis, reason: string, since: Millis): void {
    if (this.#state.name !== "steady") return;
    const { active } = this.#state;
    active.fail(now, "dead");
    const next = this.#pairs.standing(since, active.pair.id);
    if (next) {
      this.#move(now, next, reason);
      this.#actions.push({ type: "retry" });
      return;
    }
    this.#journal.explain(`${reason}, and no other path answers`);
    const outage = new Outage(
      now,
      active.pair.kind,
      this.#pairs.size > 0 && this.#newsAt < since,
      Math.max(active.rtt.smoothedMs ?? 0, this.relayRttMs ?? 0),
      this.#options.random,
    );
    this.#state = { name: "outage", outage };
    this.#actions.push({ type: "retry" });
    this.#handleOutage(now, outage);
  }

  #move(now: Millis, to: KnownPair, reason: string): void {
    const from = this.path;
    const slot = this.#options.slots.bind(to.pair.id, this.#keep());
    if (slot === null) throw new Error("unreachable: there are more slots than pairs that keep one");
    to.handleUsed(now);
    if (to.pair.kind === "direct") this.#punch.handleDirect();
    this.#journal.move(now, from, to.pair, reason);
    if (this.#punch.reason !== null) this.#journal.explain(this.#punch.reason);
    this.#state = this.#steady(now, to);
    this.#actions.push({ type: "migrate", slot });
    if (from !== "relay" && to.pair.kind === "relay") this.#punch.handleRelay(now);
  }

  #steady(now: Millis, active: KnownPair): Extract<PolicyState, { name: "steady" }> {
    const watch = new Watch(now, active, this.#activeAt, this.#pairs);
    const chooser = new Chooser(this.#pairs, this.#options.slots);
    return { name: "steady", active, watch, chooser, trial: null };
  }

  /** Active, standby and on trial: at most three of the four slots. */
  #keep(): (PairId | null)[] {
    const state = this.#state;
    if (state.name !== "steady") return [];
    let standby: PairId | null = null;
    for (const known of this.#pairs.all()) {
      const isReady = this.#options.slots.slotOf(known.pair.id) !== null;
      if (known.pair.kind === "relay" && known !== state.active && isReady) standby = known.pair.id;
    }
    return [state.active.pair.id, standby, state.trial?.pair ?? null];
  }

  // ---- nothing stands

  #handleOutage(now: Millis, outage: Outage): void {
    const { check, restart, becomes } = outage.handleTimeout(now, this.#goneSince);
    if (becomes === "peer-gone") return this.#end(becomes, "the peer was restarted or has gone");
    if (becomes === "timeout") return this.#end(becomes, "no path to the peer was found in 10 minutes");
    if (becomes === "suspended") this.#journal.suspend(outage.was, "no path answers; waiting for one");
    if (check) for (const known of this.#pairs.all()) this.#check(now, known);
    if (restart) this.#actions.push({ type: "restart" });
  }

  #end(code: string, reason: string): void {
    this.#state = { name: "ended" };
    this.#journal.explain(reason);
    this.#actions.push({ type: "end", code, reason });
  }

  // ---- clocks of their own

  #handleKeepalive(now: Millis): void {
    if (now < this.#pingAt) return;
    this.#pingAt = now + KEEPALIVE_MS;
    this.#actions.push({ type: "ping" });
  }

  /** Still on the relay: say why, and try again with backoff. */
  #handlePunchTimeout(now: Millis): void {
    if (this.#punch.pollLook(now)) this.#actions.push({ type: "look" });
    const on = this.#state.name === "steady" ? this.#state.active.pair.kind : null;
    const due = this.#punch.handleTimeout(now, on, this.#options.explainNoDirect);
    if (due === null) return;
    // Pairs whose consent ended cannot be checked again without new credentials (RFC 7675 §5.1).
    this.#actions.push({ type: due === "failed" ? "retry" : "restart" });
    if (this.#punch.reason !== null) this.#journal.explain(this.#punch.reason);
    if (due !== "failed") return;
    this.#actions.push({ type: "punch-failed", reason: this.reason });
  }
}
