import { type Deadline, earliest, type Millis } from "@adit/core";
import type { AgentState } from "./agent-state.ts";
import { checkPriority } from "./candidate.ts";
import { checkRtoMs, nominationRtoMs } from "./checklist.ts";
import { encodeCheck, type Nominate } from "./checks.ts";
import { awaitingAnswer, nextConsentCheck } from "./consent.ts";
import type { Generation } from "./generation.ts";
import type { CandidatePair } from "./pair.ts";
import { agreedTaMs, DEFAULT_TA_MS, type IceParameters, MIN_TA_MS } from "./parameters.ts";
import {
  CHECK_SENDS,
  MAX_PROBES_PER_PAIR,
  NOMINATION_SENDS,
  type Repetition,
  TCP_CHECK,
  TCP_NOMINATION,
  type Transaction,
  type TransactionKind,
} from "./transactions.ts";

/** How long {@link CheckRunner.boost} hurries. */
const BOOST_MS = 2_000;
/** A boost repeats a check at once only when it was sent at least this long ago: both sides are told to start at one moment. */
const BOOST_MIN_AGE_MS = 100;

/**
 * The first check of a pair is followed by a second one, a new request, when no answer came for this long. What the first one ran
 * into, the peer's filter or a relay's permission, opens as the peer sends its own first packet at about the same moment, and a
 * repetition may not come before 500 ms (RFC 8445 §14.3). Shorter round trips than this are not checked twice.
 */
export const SECOND_CHECK_MS = 200;

/** Sends checks: new ones at the pace of Ta, repetitions, probes, and those that renew consent. */
export class CheckRunner {
  readonly #state: AgentState;
  #taMs: Millis = DEFAULT_TA_MS;
  #nextCheckAt: Millis = Number.NEGATIVE_INFINITY;
  #boostUntil: Millis = Number.NEGATIVE_INFINITY;

  constructor(state: AgentState) {
    this.#state = state;
  }

  /** The peer's parameters are there: checks may begin. */
  begin(remote: IceParameters): void {
    this.#taMs = agreedTaMs(this.#state.ownTaMs, remote);
  }

  boost(now: Millis): void {
    this.#boostUntil = now + BOOST_MS;
    this.#nextCheckAt = Math.min(this.#nextCheckAt, now);
    this.#state.checklist.thawAll();
    this.#state.transactions.hasten(now, MIN_TA_MS, BOOST_MIN_AGE_MS);
  }

  /** A triggered check (RFC 8445 §7.3.1.4), unless checks of the pair are out of the question. */
  trigger(now: Millis, pair: CandidatePair): void {
    const { checklist, transactions } = this.#state;
    if (pair.state.kind === "in-progress") transactions.supersede(now, pair.state.transactionId);
    if (!this.#state.isBarred(pair)) checklist.trigger(pair);
    else if (pair.state.kind !== "failed") this.#state.fail(now, pair, "abandoned");
  }

  /** One new check in each Ta (§6.1.4.2). */
  startNext(now: Millis): void {
    const { checklist, generations } = this.#state;
    if (!this.#hasWork || now < this.#nextCheckAt) return;
    const pair = checklist.next();
    if (!pair) return;
    if (pair.exhausted) {
      this.#state.fail(now, pair, "abandoned");
      return;
    }
    const transaction = this.send(now, pair, "check", generations.current, null);
    if (!transaction) return;
    const againAt = pair.checksBegun++ === 0 && !pair.isTcp ? now + SECOND_CHECK_MS : null;
    pair.setState({ kind: "in-progress", transactionId: transaction.key, since: now, againAt });
    this.#nextCheckAt = now + (now < this.#boostUntil ? MIN_TA_MS : this.#taMs);
  }

  probe(now: Millis, pair: CandidatePair, padTo: number | null): boolean {
    const generation = pair.consent?.generation ?? this.#state.generations.current;
    if (this.#state.isBarred(pair)) return false;
    const kind = padTo === null ? "probe" : "padded-probe";
    this.#state.transactions.limit(MAX_PROBES_PER_PAIR - 1, (one) => one.pair === pair && one.kind === kind);
    return this.send(now, pair, kind, generation, null, padTo) !== null;
  }

  /** Sends one request. Null: the peer's parameters are not there, or too many requests are out. */
  send(
    now: Millis,
    pair: CandidatePair,
    kind: TransactionKind,
    generation: Generation,
    nominate: Nominate | null,
    padTo: number | null = null,
  ): Transaction | null {
    const { random, role, tieBreaker, transactions } = this.#state;
    const { remote } = generation;
    if (!remote || !transactions.hasRoom) return null;
    const transactionId = random.bytes(12);
    const priority = checkPriority(pair.local);
    const { key, username } = remote;
    const data = encodeCheck({ transactionId, username, key, priority, role, tieBreaker, nominate, padTo });
    const repetition = this.#repetition(kind, pair);
    const init = { transactionId, kind, pair, generation, role, nominate, data, answerKey: key, repetition };
    const transaction = transactions.start(now, init);
    this.#transmit(transaction);
    return transaction;
  }

  /** Repeats requests whose time has come. Returns the pairs whose nomination came to nothing. */
  handleTimeout(now: Millis): CandidatePair[] {
    this.#checkAgain(now);
    const { repeat, over } = this.#state.transactions.takeDue(now);
    for (const transaction of repeat) if (!transaction.pair.exhausted) this.#transmit(transaction);
    const unnominated: CandidatePair[] = [];
    for (const { pair, kind, key } of over) {
      if (pair.state.kind === "in-progress" && pair.state.transactionId === key) {
        // RFC 8489 §9.1.4: "instead of signaling a timeout ..., the layer MUST signal that the integrity protection was violated".
        this.#state.fail(now, pair, pair.forgedAnswers > 0 ? "integrity" : "timeout");
      }
      if (kind === "nomination") unnominated.push(pair);
    }
    this.#renewConsents(now);
    return unnominated;
  }

  pollTimeout(): Deadline | null {
    const { checklist, transactions } = this.#state;
    let deadline: Deadline | null = null;
    if (this.#hasWork) deadline = { at: this.#nextCheckAt, reason: "ice-check" };
    const nextAt = transactions.nextAt;
    if (nextAt !== null) deadline = earliest(deadline, { at: nextAt, reason: "ice-transaction" });
    for (const { consent, state } of checklist) {
      if (consent)
        deadline = earliest(deadline, {
          at: Math.min(consent.nextCheckAt, consent.missedAt),
          reason: "ice-consent",
        });
      if (state.kind === "in-progress" && state.againAt !== null) {
        deadline = earliest(deadline, { at: state.againAt, reason: "ice-second-check" });
      }
    }
    return deadline;
  }

  get #hasWork(): boolean {
    const { checklist, generations, transactions } = this.#state;
    return generations.current.remote !== null && transactions.hasRoom && checklist.hasWork;
  }

  #repetition(kind: TransactionKind, pair: CandidatePair): Repetition | null {
    switch (kind) {
      case "check":
        if (pair.isTcp) return TCP_CHECK;
        return { rtoMs: checkRtoMs(this.#taMs, this.#state.checklist.activeCount), ...CHECK_SENDS };
      case "nomination":
        if (pair.isTcp) return TCP_NOMINATION;
        return { rtoMs: nominationRtoMs(pair.rttMs), ...NOMINATION_SENDS };
      case "consent":
      case "probe":
      case "padded-probe":
        return null;
    }
  }

  /** {@link SECOND_CHECK_MS}: as long as nothing direct is found. */
  #checkAgain(now: Millis): void {
    const isFound = this.#state.validPairs.some(({ direct }) => direct);
    for (const pair of this.#state.checklist) {
      const { state } = pair;
      if (state.kind !== "in-progress" || state.againAt === null || state.againAt > now) continue;
      pair.setState({ ...state, againAt: null });
      if (!isFound) this.trigger(now, pair);
    }
  }

  /** RFC 7675 §5.1: each valid pair by itself, requests without repetition, at jittered intervals. */
  #renewConsents(now: Millis): void {
    const { checklist, generations, outbox, random } = this.#state;
    for (const pair of checklist) {
      const { consent } = pair;
      if (!consent) continue;
      if (consent.missedAt <= now) {
        pair.setConsent({ ...consent, missedAt: Number.POSITIVE_INFINITY, isDegraded: true });
        outbox.event({ type: "pair-degraded", pair: pair.info });
      }
      if (consent.nextCheckAt > now) continue;
      const renewable = generations.isRenewable(consent.generation);
      const others = [...checklist].flatMap((one) => (one.consent && one !== pair ? [one.consent.nextCheckAt] : []));
      const next = { ...(pair.consent ?? consent), nextCheckAt: nextConsentCheck(now, random, others) };
      pair.setConsent(renewable ? awaitingAnswer(next, now, pair.rttMs) : next);
      if (renewable) this.send(now, pair, "consent", consent.generation, null);
    }
  }

  #transmit({ pair, data }: Transaction): void {
    pair.noteRequest();
    this.#state.outbox.transmit({ data, socket: pair.socket, to: pair.remote.address });
  }
}
