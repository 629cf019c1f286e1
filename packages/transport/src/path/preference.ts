import type { Millis } from "@adit/core";
import type { CheckCount } from "./check-log.ts";
import type { KnownPair } from "./known-pairs.ts";

/** The relay's capacity is shared: a direct path is preferred unless the relay is quicker by more than this, */
const DIRECT_SLACK_MS = 5;
/** and left only when the relay has been so for this long. */
export const LEAVE_DIRECT_AFTER_MS = 10_000;

/** How much of its checks the direct path may lose: seen soon where it is bad, */
const BAD = { withinMs: 3_000, minDue: 12, rate: 0.15 };
/** and after more evidence where it is worse than it should be: "direct loses more than 5 % of its liveness checks". */
const POOR = { withinMs: 10_000, minDue: 100, rate: 0.05 };
/** The relay has to lose less by this many standard deviations: few checks may be lost by chance, and it is asked often. */
const DEVIATIONS = 3.5;
/** One stall is none: losses count where they began so often. */
const MIN_RUNS = 3;

/** Whether bytes should go over the direct path, from measured round trips (ms, null = not measured). */
export function shouldUseDirect(directRttMs: Millis | null, relayRttMs: Millis | null): boolean {
  if (directRttMs === null) return false;
  return relayRttMs === null || directRttMs <= relayRttMs + DIRECT_SLACK_MS;
}

/**
 * One slow answer says little: the first one often has the other side's work to begin a session in it, or a repetition. A direct pair that seems slower
 * than the relay is asked again at once, until it has answered this often; an idle session would not be for seconds.
 */
const FIRST_ANSWERS = 4;

export function wantsAnotherAnswer(direct: KnownPair, relay: KnownPair): boolean {
  return direct.answers < FIRST_ANSWERS && !shouldUseDirect(direct.rtt.minMs, relay.rtt.minMs);
}

/** From one direct pair to another only for a round trip that is better beyond doubt. */
export function isWorthMoving(to: KnownPair, from: KnownPair): boolean {
  const [toMs, fromMs] = [to.rtt.minMs, from.rtt.minMs];
  return to.pair.priority > from.pair.priority && toMs !== null && fromMs !== null && toMs + DIRECT_SLACK_MS < fromMs;
}

/**
 * What the direct path lost, where that is reason enough to leave it for the relay; else null. Only since it carries the session: what was lost
 * while it was down, before it proved itself again, says nothing of how it is now.
 */
export function losesTooMuch(now: Millis, direct: KnownPair, relay: KnownPair): CheckCount | null {
  for (const { withinMs, minDue, rate } of [BAD, POOR]) {
    const since = Math.max(now - withinMs, direct.usedAt);
    const count = direct.loss(now, since);
    if (count.due < minDue || count.runs < MIN_RUNS || count.lost <= rate * count.due) continue;
    if (isClearlyMore(count, relay.loss(now, since))) return count;
  }
  return null;
}

function isClearlyMore(a: CheckCount, b: CheckCount): boolean {
  const [p, q] = [share(a), share(b)];
  const deviation = Math.sqrt((p * (1 - p)) / (a.due + 1) + (q * (1 - q)) / (b.due + 1));
  return p - q > DEVIATIONS * deviation;
}

/** Of what was lost; nobody who was asked a few times is held for perfect. */
const share = ({ due, lost }: CheckCount): number => (lost + 0.5) / (due + 1);
