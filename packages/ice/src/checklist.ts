import type { Millis } from "@adit/core";
import { type Candidate, isRelayedLocal, isRelayedRemote, type LocalCandidate } from "./candidate.ts";
import { CandidatePair, type IceRole, type PairId, pairId } from "./pair.ts";

/** RFC 8445 §6.1.2.5: "The default limit of candidate pairs for the checklist set is 100, but the value MUST be configurable". */
const DEFAULT_MAX_PAIRS = 100;

/**
 * After so many triggered checks in a row an ordinary one has its turn. Two NATs that show a new address for each answer make the
 * agents trigger each other without end, and the pair that works, perhaps the relay's, must not wait for that.
 */
export const MAX_TRIGGERED_IN_A_ROW = 4;

const isUnresolved = (pair: CandidatePair): boolean =>
  pair.state.kind === "frozen" || pair.state.kind === "waiting" || pair.state.kind === "in-progress";

/** Remembered so that it is not checked again: an address that never answers, or a path whose credentials are spent (RFC 7675 §5.1). */
const isSpent = ({ state, exhausted }: CandidatePair): boolean =>
  state.kind === "failed" && (exhausted || state.reason === "consent-expired" || state.reason === "consent-revoked");

const isRelayed = (pair: CandidatePair): boolean => !pair.direct;

/** The pairs of a session and the order in which they are checked (RFC 8445 §6.1.2, §6.1.4). There is one stream, so one checklist. */
export class Checklist {
  readonly #pairs = new Map<PairId, CandidatePair>();
  /** Triggered checks, first in first out (§6.1.4.1). A pair stands in it once, so it is bounded by the pairs. */
  readonly #triggered = new Set<CandidatePair>();
  #triggeredInARow = 0;
  readonly #maxPairs: number;

  constructor(maxPairs: number = DEFAULT_MAX_PAIRS) {
    this.#maxPairs = maxPairs;
  }

  get size(): number {
    return this.#pairs.size;
  }

  [Symbol.iterator](): IterableIterator<CandidatePair> {
    return this.#pairs.values();
  }

  get(id: PairId): CandidatePair | null {
    return this.#pairs.get(id) ?? null;
  }

  has(pair: CandidatePair): boolean {
    return this.#pairs.get(pair.id) === pair;
  }

  /**
   * The pair of a local and a remote candidate, made or improved. Its priority decides who goes when there are too many
   * (§6.1.2.5).
   * @returns null when it is the one that goes.
   */
  form(local: LocalCandidate, remote: Candidate, role: IceRole): CandidatePair | null {
    const known = this.#pairs.get(pairId(local.socket, remote.address));
    if (known) {
      known.setCandidates(local, remote, role);
      return known;
    }
    const pair = new CandidatePair(local, remote, role);
    if (this.#pairs.size >= this.#maxPairs) {
      const victim = this.#leastUseful(pair);
      if (!victim || victim === pair) return null;
      this.remove(victim);
    }
    pair.setState({ kind: this.#startsWaiting(pair) ? "waiting" : "frozen" });
    this.#pairs.set(pair.id, pair);
    return pair;
  }

  remove(pair: CandidatePair): void {
    if (this.has(pair)) this.#pairs.delete(pair.id);
    this.#triggered.delete(pair);
  }

  /** Puts a pair at the end of the triggered-check queue (§7.3.1.4). */
  trigger(pair: CandidatePair): void {
    pair.setState({ kind: "waiting" });
    this.#triggered.add(pair);
  }

  untrigger(pair: CandidatePair): void {
    this.#triggered.delete(pair);
  }

  /** Whether {@link next} would find something. */
  get hasWork(): boolean {
    if (this.#triggered.size > 0) return true;
    for (const pair of this.#pairs.values()) if (pair.state.kind === "waiting") return true;
    return this.#thawable() !== null;
  }

  /** Takes the pair to check in this Ta slot: triggered first, then the best Waiting one, then a Frozen one (§6.1.4.2). */
  next(): CandidatePair | null {
    const isOrdinarysTurn = this.#triggered.size === 0 || this.#triggeredInARow >= MAX_TRIGGERED_IN_A_ROW;
    const ordinary = isOrdinarysTurn ? this.#nextOrdinary() : null;
    if (ordinary) {
      this.#triggeredInARow = 0;
      return ordinary;
    }
    for (const pair of this.#triggered) {
      this.#triggered.delete(pair);
      this.#triggeredInARow++;
      return pair;
    }
    return null;
  }

  #nextOrdinary(): CandidatePair | null {
    const waiting = (pair: CandidatePair) => pair.state.kind === "waiting" && !this.#triggered.has(pair);
    return this.#relayFirst() ?? this.#best(waiting) ?? this.#thawable();
  }

  /** A success thaws what shares its foundation (§7.2.5.3.3). */
  thaw(foundation: string): void {
    for (const pair of this.#pairs.values()) {
      if (pair.state.kind === "frozen" && pair.foundation === foundation) pair.setState({ kind: "waiting" });
    }
  }

  thawAll(): void {
    for (const pair of this.#pairs.values()) if (pair.state.kind === "frozen") pair.setState({ kind: "waiting" });
  }

  /** Waiting and In-Progress pairs, for the RTO of §14.3. */
  get activeCount(): number {
    let count = 0;
    for (const { state } of this.#pairs.values()) {
      if (state.kind === "waiting" || state.kind === "in-progress") count++;
    }
    return count;
  }

  /** Whether a pair with a higher priority may still succeed. */
  hasUnresolvedAbove(priority: bigint): boolean {
    for (const pair of this.#pairs.values()) if (isUnresolved(pair) && pair.priority > priority) return true;
    return false;
  }

  /** All pairs' priorities for a new role (§7.3.1.1). */
  setRole(role: IceRole): void {
    for (const pair of this.#pairs.values()) pair.setCandidates(pair.local, pair.remote, role);
  }

  /** Starts over for a new generation: what carries data stays, to be checked anew; the rest goes. Returns what went. */
  restart(): CandidatePair[] {
    this.#triggered.clear();
    const gone = [...this.#pairs.values()].filter((pair) => !pair.valid);
    for (const pair of gone) this.#pairs.delete(pair.id);
    for (const pair of this.#pairs.values()) {
      pair.setState({ kind: "frozen" });
      pair.unanswered = 0;
      pair.forgedAnswers = 0;
      pair.checksBegun = 0;
      pair.reconnects = 0;
      pair.pendingNomination = null;
    }
    return gone;
  }

  #lowest(is: (pair: CandidatePair) => boolean): CandidatePair | null {
    let lowest: CandidatePair | null = null;
    for (const pair of this.#pairs.values()) {
      if (is(pair) && (lowest === null || pair.priority < lowest.priority)) lowest = pair;
    }
    return lowest;
  }

  /** The pair that is checked next among those that `is` accepts: the highest priority (§6.1.2.3). */
  #best(is: (pair: CandidatePair) => boolean): CandidatePair | null {
    let best: CandidatePair | null = null;
    for (const pair of this.#pairs.values()) {
      if (is(pair) && (best === null || pair.priority > best.priority)) best = pair;
    }
    return best;
  }

  /**
   * §6.1.2.6 and RFC 8838 §12: of the pairs of one foundation the best is checked, and the others wait for its outcome; where a pair of that foundation
   * succeeded there is nothing to wait for. Of equals the newest goes first: the peer has another address in the place of the one before.
   */
  #startsWaiting(fresh: CandidatePair): boolean {
    let contended = false;
    for (const pair of this.#pairs.values()) {
      if (pair.foundation !== fresh.foundation) continue;
      if (pair.state.kind === "succeeded") return true;
      const isPending = pair.state.kind === "waiting" || pair.state.kind === "in-progress";
      if (pair.priority > fresh.priority) contended ||= isPending;
      else if (pair.state.kind === "waiting" && !this.#triggered.has(pair)) pair.setState({ kind: "frozen" });
    }
    return !contended;
  }

  /** The best Frozen pair whose foundation has no pair Waiting or In-Progress (§6.1.4.2). */
  #thawable(): CandidatePair | null {
    const busy = new Set<string>();
    for (const pair of this.#pairs.values()) {
      if (pair.state.kind === "waiting" || pair.state.kind === "in-progress") busy.add(pair.foundation);
    }
    return this.#best((pair) => pair.state.kind === "frozen" && !busy.has(pair.foundation));
  }

  /**
   * The best relayed pair goes second, not last as its priority would have it: a session is to run over the relay while it
   * looks for better, and one slot of Ta is all that it costs the others.
   */
  #relayFirst(): CandidatePair | null {
    let started = 0;
    for (const pair of this.#pairs.values()) {
      const waits = pair.state.kind === "frozen" || pair.state.kind === "waiting";
      if (!waits && isRelayed(pair)) return null;
      if (!waits) started++;
    }
    if (started === 0) return null;
    const isNew = ({ state }: CandidatePair) => state.kind === "waiting" || state.kind === "frozen";
    return this.#best((pair) => isRelayed(pair) && isNew(pair) && !this.#triggered.has(pair));
  }

  /**
   * Who gives way to keep the bound. RFC 8838 §12: "the agent SHOULD discard any pairs in the Failed state to make room for the new pair", the
   * lowest priority first; else the lowest that neither carries data nor is under way, but not the last relayed one.
   */
  #leastUseful(fresh: CandidatePair): CandidatePair | null {
    const failed = this.#lowest((pair) => pair.state.kind === "failed" && !pair.valid && !isSpent(pair));
    if (failed) return failed;
    const all = [...this.#pairs.values(), fresh];
    const relayed = all.filter((pair) => isRelayedLocal(pair.local) || isRelayedRemote(pair.remote));
    const isNeeded = (pair: CandidatePair) =>
      pair.valid || pair.state.kind === "in-progress" || this.#triggered.has(pair) || isSpent(pair);
    let worst: CandidatePair | null = null;
    for (const pair of all) {
      if (isNeeded(pair) || (relayed.length === 1 && relayed[0] === pair)) continue;
      if (worst === null || pair.priority < worst.priority) worst = pair;
    }
    // Where nothing else is left the session must go on.
    if (worst === fresh && all.every((pair) => pair === fresh || isNeeded(pair))) return this.#lowest(isSpent) ?? fresh;
    return worst;
  }
}

/** RFC 8445 §14.3: "RTO = MAX (500ms, Ta * N * (Num-Waiting + Num-In-Progress))", with N = 1 checklist. */
export const checkRtoMs = (taMs: Millis, activeCount: number): Millis => Math.max(500, taMs * activeCount);

/** Beyond it a measured round trip is rather one of a check that was repeated, which is an upper bound. */
const MAX_NOMINATION_RTO_MS = 1_500;

/**
 * The round trip of the pair that is nominated is known. §14.3: "Agents MAY calculate the RTO value using other mechanisms than
 * those described above. Agents MUST NOT use an RTO value smaller than 500 ms."
 */
export const nominationRtoMs = (rttMs: number | null): Millis =>
  Math.min(MAX_NOMINATION_RTO_MS, Math.max(500, 2 * (rttMs ?? 0)));
