import { Backoff, type Millis } from "@adit/core";
import type { PairId } from "@adit/ice";
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

/** A path that failed is tried again after 1 s, then 2, 4, ... 30 s; it has to answer a check first. */
const RETRY_INITIAL_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/** A path that held this long after a failure has earned a clean slate. */
const FORGIVEN_AFTER_MS = 60_000;

/** One valid ICE pair, as the policy sees it. */
export class KnownPair {
  readonly pair: PathPair;
  readonly rtt = new RoundTrip();
  /** Last answer to a check of ours, ms. */
  answeredAt: Millis;
  /** Null while usable. */
  failure: { readonly at: Millis; readonly retryAt: Millis; checkAt: Millis } | null = null;
  readonly #backoff = new Backoff({ initialMs: RETRY_INITIAL_MS, maxMs: RETRY_MAX_MS, jitter: 0 });
  #failedAt = Number.NEGATIVE_INFINITY;

  constructor(now: Millis, pair: PathPair) {
    this.pair = pair;
    this.answeredAt = now;
  }

  fail(now: Millis): void {
    if (now - this.#failedAt > FORGIVEN_AFTER_MS) this.#backoff.reset();
    this.#failedAt = now;
    const retryAt = now + this.#backoff.next(0);
    this.failure = { at: now, retryAt, checkAt: retryAt };
  }

  /** Whether it may carry the session: it never failed, or it has answered since and its time of grace is over. */
  isUsable(now: Millis): boolean {
    return this.failure === null || (now >= this.failure.retryAt && this.answeredAt > this.failure.at);
  }
}

/** The valid pairs of a session. Bounded by ICE's own limit on pairs. */
export class KnownPairs {
  readonly #pairs = new Map<PairId, KnownPair>();

  get(id: PairId): KnownPair | null {
    return this.#pairs.get(id) ?? null;
  }

  add(now: Millis, pair: PathPair): KnownPair {
    const known = this.#pairs.get(pair.id);
    if (known && known.pair.kind === pair.kind) return known;
    const fresh = new KnownPair(now, pair);
    this.#pairs.set(pair.id, fresh);
    return fresh;
  }

  delete(id: PairId): void {
    this.#pairs.delete(id);
  }

  all(): IterableIterator<KnownPair> {
    return this.#pairs.values();
  }

  /** The usable pair of that kind with the highest priority; the quicker one where priorities are equal. */
  best(now: Millis, kind: PathKind): KnownPair | null {
    let best: KnownPair | null = null;
    for (const known of this.#pairs.values()) {
      if (known.pair.kind !== kind || !known.isUsable(now)) continue;
      if (best === null || isBetter(known, best)) best = known;
    }
    return best;
  }

  /** The best pair, but `except`, that answered at or after `since`: one that is standing now. Direct goes before relay. */
  standing(since: Millis, except: PairId | null): KnownPair | null {
    let best: KnownPair | null = null;
    for (const known of this.#pairs.values()) {
      if (known.pair.id === except || known.answeredAt < since) continue;
      if (known.failure !== null && known.answeredAt <= known.failure.at) continue;
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
