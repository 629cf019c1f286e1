import { Backoff, type Deadline, earliest, type Millis } from "@adit/core";
import type { PairId } from "@adit/ice";
import { type CheckCount, CheckLog } from "./check-log.ts";
import { RoundTrip } from "./rtt.ts";

/** `relay` when either candidate of the pair is a relayed one. */
export type PathKind = "relay" | "direct";

/** What the path policy has to know of an ICE pair. */
export interface PathPair {
  readonly id: PairId;
  readonly kind: PathKind;
  /** RFC 8445 §6.1.2.3. */
  readonly priority: bigint;
}

/** Why a path was left: it answered no more, it lost too much, or it took too long. */
export type FailureCause = "dead" | "lossy" | "slow";

/** A path that died is tried again after 1 s, then 2, 4, ... 30 s; it has to answer a check first. */
const DEAD_RETRY = { initialMs: 1_000, maxMs: 30_000, jitter: 0 };
/** One that works, but not well, after 5 s, then 10, ... 5 min; where it lost too much it has to pass a probation first. */
const POOR_RETRY = { initialMs: 5_000, maxMs: 300_000, jitter: 0 };
/** A path that carried the session this long has earned a clean slate. */
const FORGIVEN_AFTER_MS = 60_000;
/** The probation: so many checks, so far apart, of which so many may be lost; less than what made it be left, so that it does not flap. */
const PROBATION_CHECKS = 60;
const PROBATION_EVERY_MS = 50;
const PROBATION_MAX_LOST = 1;
/** A path that is down is asked at least so far apart. */
const ASK_AGAIN_MIN_MS = 200;

interface Failure {
  readonly cause: FailureCause;
  readonly at: Millis;
  /** Not used before. */
  readonly retryAt: Millis;
  /** When it is asked next. */
  checkAt: Millis;
}

/** One valid ICE pair, as the policy sees it. */
export class KnownPair {
  readonly pair: PathPair;
  readonly rtt = new RoundTrip();
  readonly #checks = new CheckLog();
  readonly #backoffs = { dead: new Backoff(DEAD_RETRY), poor: new Backoff(POOR_RETRY) };
  /** Last answer to a check of ours, ms. */
  #answeredAt: Millis;
  #answers = 0;
  #failure: Failure | null = null;
  #usedAt: Millis;

  constructor(now: Millis, pair: PathPair) {
    this.pair = pair;
    this.#answeredAt = now;
    this.#usedAt = now;
  }

  get answeredAt(): Millis {
    return this.#answeredAt;
  }

  /** How often it has answered. */
  get answers(): number {
    return this.#answers;
  }

  /** Since when it carries the session, or did when it did last. */
  get usedAt(): Millis {
    return this.#usedAt;
  }

  /** When a failed pair is to be asked; null for one that did not fail. */
  get askAt(): Millis | null {
    return this.#failure?.checkAt ?? null;
  }

  handleSent(now: Millis): void {
    this.#checks.handleSent(now);
  }

  handleAnswer(now: Millis, rttMs: Millis, repeated = false): void {
    this.#answeredAt = now;
    this.#answers++;
    this.rtt.add(now, rttMs, repeated);
    this.#checks.handleAnswer(now, rttMs);
  }

  /** It carries the session from now on. */
  handleUsed(now: Millis): void {
    this.#failure = null;
    this.#usedAt = now;
  }

  fail(now: Millis, cause: FailureCause): void {
    if (this.#failure === null && now - this.#usedAt > FORGIVEN_AFTER_MS) {
      this.#backoffs.dead.reset();
      this.#backoffs.poor.reset();
    }
    const retryAt = now + this.#backoffs[cause === "dead" ? "dead" : "poor"].next(0);
    this.#failure = { cause, at: now, retryAt, checkAt: retryAt };
  }

  /** At {@link askAt}: the check that is about to be sent is accounted for, and a probation that was not passed begins anew, later. */
  handleAsked(now: Millis): void {
    const failure = this.#failure;
    if (failure === null) return;
    if (failure.cause !== "lossy") {
      failure.checkAt = now + Math.max(ASK_AGAIN_MIN_MS, (now - failure.at) / 2);
    } else {
      failure.checkAt = now + PROBATION_EVERY_MS;
      const { due, lost } = this.loss(now, failure.retryAt);
      if (due >= PROBATION_CHECKS && lost > PROBATION_MAX_LOST) this.fail(now, "lossy");
    }
  }

  /** What became of the checks sent since then. */
  loss(now: Millis, since: Millis): CheckCount {
    return this.#checks.count(now, since, this.rtt.smoothedMs ?? 0);
  }

  /** Whether it may carry the session: it never failed, or its time of grace is over and it has shown that it works. */
  isUsable(now: Millis): boolean {
    const failure = this.#failure;
    if (failure === null) return true;
    if (now < failure.retryAt) return false;
    if (failure.cause !== "lossy") return this.#answeredAt > failure.at;
    const { due, lost } = this.loss(now, failure.retryAt);
    return due >= PROBATION_CHECKS && lost <= PROBATION_MAX_LOST;
  }

  /** Whether it answered at or after `since`, and after it failed: it is better than nothing. */
  stands(since: Millis): boolean {
    return this.#answeredAt >= since && (this.#failure === null || this.#answeredAt > this.#failure.at);
  }
}

/** Pairs that ICE gave up and that are remembered; the one given up longest ago goes first. */
const MAX_GONE = 16;

/** The valid pairs of a session. Bounded by ICE's own limit on pairs. */
export class KnownPairs {
  readonly #pairs = new Map<PairId, KnownPair>();
  /** An ICE restart gives up the pairs before it, and may find the same ones again: they are no better for it. */
  readonly #gone = new Map<PairId, KnownPair>();

  get(id: PairId): KnownPair | null {
    return this.#pairs.get(id) ?? null;
  }

  add(now: Millis, pair: PathPair): KnownPair {
    const known = this.#pairs.get(pair.id);
    if (known && known.pair.kind === pair.kind) return known;
    const gone = this.#gone.get(pair.id);
    this.#gone.delete(pair.id);
    const added = gone?.pair.kind === pair.kind ? gone : new KnownPair(now, pair);
    this.#pairs.set(pair.id, added);
    return added;
  }

  delete(id: PairId): void {
    const known = this.#pairs.get(id);
    if (!known) return;
    this.#pairs.delete(id);
    this.#gone.delete(id);
    this.#gone.set(id, known);
    for (const oldest of this.#gone.keys()) {
      if (this.#gone.size <= MAX_GONE) break;
      this.#gone.delete(oldest);
    }
  }

  get size(): number {
    return this.#pairs.size;
  }

  all(): IterableIterator<KnownPair> {
    return this.#pairs.values();
  }

  /** The usable pair of that kind, but `except`, with the highest priority; the quicker one where priorities are equal. */
  best(now: Millis, kind: PathKind, except: KnownPair | null = null): KnownPair | null {
    let best: KnownPair | null = null;
    for (const known of this.#pairs.values()) {
      if (known.pair.kind !== kind || known === except || !known.isUsable(now)) continue;
      if (best === null || isBetter(known, best)) best = known;
    }
    return best;
  }

  /** The one of that kind that answered last. */
  lastAnswered(kind: PathKind): KnownPair | null {
    let last: KnownPair | null = null;
    for (const known of this.#pairs.values()) {
      if (known.pair.kind === kind && (last === null || known.answeredAt > last.answeredAt)) last = known;
    }
    return last;
  }

  /** When one that failed is to be asked. */
  pollTimeout(): Deadline | null {
    let next: Deadline | null = null;
    for (const { askAt } of this.#pairs.values()) {
      if (askAt !== null) next = earliest(next, { at: askAt, reason: "failed path" });
    }
    return next;
  }

  /** The best pair, but `except`, that answered at or after `since`: one that is standing now. Direct goes before relay. */
  standing(since: Millis, except: PairId | null): KnownPair | null {
    let best: KnownPair | null = null;
    for (const known of this.#pairs.values()) {
      if (known.pair.id === except || !known.stands(since)) continue;
      const preferred = best !== null && known.pair.kind !== best.pair.kind && known.pair.kind === "direct";
      if (best === null || preferred || (known.pair.kind === best.pair.kind && isBetter(known, best))) best = known;
    }
    return best;
  }
}

function isBetter(a: KnownPair, b: KnownPair): boolean {
  if (a.pair.priority !== b.pair.priority) return a.pair.priority > b.pair.priority;
  return (a.rtt.minMs ?? Number.POSITIVE_INFINITY) < (b.rtt.minMs ?? Number.POSITIVE_INFINITY);
}
