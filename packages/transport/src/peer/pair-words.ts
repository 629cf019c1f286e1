import type { Millis } from "@adit/core";
import type { PairInfo } from "@adit/ice";
import type { PathPair } from "../path/known-pairs.ts";

/** The pair as the path policy sees it. */
export const pathPair = (pair: PairInfo): PathPair => ({
  id: pair.id,
  kind: pair.direct ? "direct" : "relay",
  priority: pair.priority,
});

/** The pair as fields of a log line. */
export const describePair = (pair: PairInfo) => ({
  local: pair.local.address,
  localType: pair.local.type,
  remote: pair.remote.address,
  remoteType: pair.remote.type,
  rttMs: round(pair.rttMs),
});

/** Why nothing direct works, as far as the checks tell. Completes "no direct path: ...". */
export function explainNoDirect(pairs: readonly PairInfo[]): string {
  const direct = pairs.filter((pair) => pair.direct);
  if (direct.length === 0) return "the peer offered no address that could be reached from here";
  const sent = direct.reduce((sum, pair) => sum + pair.requestsSent, 0);
  const answered = direct.reduce((sum, pair) => sum + pair.responsesReceived, 0);
  const where = `${direct.length} address${direct.length === 1 ? "" : "es"} of the peer`;
  if (answered > 0) return `${where} answered ${answered} of ${sent} checks and then no more`;
  return `none of ${sent} checks to ${where} was answered: UDP between the two sides is blocked, or their NATs do not let it through`;
}

/** Milliseconds for people and JSON: hundredths are enough. */
export const round = (ms: Millis | null): number | null => (ms === null ? null : Math.round(ms * 100) / 100);
