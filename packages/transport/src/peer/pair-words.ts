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

/** Milliseconds for people and JSON: hundredths are enough. */
export const round = (ms: Millis | null): number | null => (ms === null ? null : Math.round(ms * 100) / 100);
