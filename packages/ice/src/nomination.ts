import type { Millis } from "@adit/core";
import { SECOND_CHECK_MS } from "./check-runner.ts";
import type { CandidatePair, NominationReason } from "./pair.ts";

/** The controlling side's nomination in one generation (RFC 8445 §8.1.1, regular nomination). */
export type Nomination =
  | { readonly kind: "open" }
  /** A check with USE-CANDIDATE is on its way on a valid pair. */
  | { readonly kind: "nominating"; readonly pair: CandidatePair }
  | { readonly kind: "nominated"; readonly pair: CandidatePair };

/** A valid pair waits for better ones two round trips of its own, a direct one within these bounds. */
const MIN_SETTLE_MS = 20;
const MAX_SETTLE_MS = 200;
/**
 * A relayed pair waits until the second checks of direct ones ({@link SECOND_CHECK_MS}) could have been answered twice over, but this long
 * at most: data flows on any valid pair meanwhile, so haste would gain nothing and, without renomination, would settle for the relay.
 */
const MAX_RELAY_SETTLE_MS = 1_000;

/** A pair with a lower priority is better when its round trip is shorter by this much and by {@link RTT_RATIO}. */
const RTT_ADVANTAGE_MS = 10;
const RTT_RATIO = 0.7;

/** The best of valid pairs: direct before relayed, then by priority, unless a round trip is clearly shorter. Null when there is none. */
export function chooseNominee(valid: Iterable<CandidatePair>): CandidatePair | null {
  const pairs = [...valid].sort((a, b) => (a.priority > b.priority ? -1 : 1));
  let best: CandidatePair | null = null;
  for (const pair of pairs) {
    if (best === null || isBetter(pair, best)) best = pair;
  }
  return best;
}

/** Why {@link chooseNominee} chose `chosen` among `valid`. */
export function whyChosen(chosen: CandidatePair, valid: Iterable<CandidatePair>): NominationReason {
  const others = [...valid].filter((pair) => pair !== chosen);
  if (others.length === 0) return "only-valid";
  const rivals = others.filter((pair) => pair.direct === chosen.direct);
  if (rivals.some((pair) => pair.priority > chosen.priority)) return "faster";
  return rivals.length === 0 && chosen.direct ? "direct" : "highest-priority";
}

/** `pair`'s priority is not higher than `best`'s. */
function isBetter(pair: CandidatePair, best: CandidatePair): boolean {
  if (pair.direct !== best.direct) return pair.direct;
  if (pair.rttMs === null || best.rttMs === null) return false;
  return pair.rttMs < best.rttMs * RTT_RATIO && pair.rttMs < best.rttMs - RTT_ADVANTAGE_MS;
}

/** How long a valid pair waits for a better one while checks of better ones are under way. */
export function settleMs(pair: CandidatePair): Millis {
  if (!pair.direct) return Math.min(MAX_RELAY_SETTLE_MS, SECOND_CHECK_MS + 2 * (pair.rttMs ?? MAX_RELAY_SETTLE_MS));
  return Math.min(MAX_SETTLE_MS, Math.max(MIN_SETTLE_MS, 2 * (pair.rttMs ?? MAX_SETTLE_MS)));
}

/** Whether a pair is so much better than the nominated one that it is worth a renomination. */
export function deservesRenomination(nominated: CandidatePair, candidate: CandidatePair): boolean {
  if (candidate === nominated) return false;
  return !nominated.valid || (candidate.direct && !nominated.direct);
}

/**
 * Whether the controlled side follows another nomination. Those that count (renomination) go by their count; of others the
 * higher priority wins, as RFC 5245 agents nominate every pair that works (RFC 8445 §8.1.1, "aggressive nomination").
 */
export function supersedesNomination(
  current: { readonly pair: CandidatePair; readonly value: number | null } | null,
  next: { readonly pair: CandidatePair; readonly value: number | null },
): boolean {
  if (!current?.pair.valid) return true;
  if (next.value !== null) return next.value > (current.value ?? -1);
  return next.pair !== current.pair && next.pair.priority > current.pair.priority;
}
