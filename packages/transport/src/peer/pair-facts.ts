import type { IceAgent } from "@adit/ice";
import type { PairFacts } from "./data-path.ts";

/** A session's pairs as its ICE agent knows them. */
export const pairFacts = (ice: () => IceAgent): PairFacts => ({
  rttMs: (pair) => ice().pair(pair)?.rttMs ?? null,
  isRelayed: (pair) => ice().pair(pair)?.direct === false,
});
