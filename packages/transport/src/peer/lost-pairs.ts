import type { Millis } from "@adit/core";
import type { IceAgent } from "@adit/ice";

/** Of one look, so that it is no burst; those of the highest priority. */
const MAX_CHECKS = 10;

/** One check on each of the direct pairs that do not answer. */
export function checkLostPairs(now: Millis, ice: IceAgent): void {
  const lost = ice.pairs().filter(({ direct, valid }) => direct && !valid);
  lost.sort((a, b) => Number(b.priority - a.priority));
  for (const { id } of lost.slice(0, MAX_CHECKS)) ice.probe(now, id);
}
