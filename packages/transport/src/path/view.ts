import type { Millis } from "@adit/core";
import type { PairId } from "@adit/ice";
import type { SessionPath } from "../status.ts";

/** Either side's path policy, as status and logs see it. */
export interface PolicyView {
  readonly path: SessionPath;
  /** Why the session is where it is, for people. */
  readonly reason: string;
  readonly migrations: number;
  readonly activePair: PairId | null;
  readonly rttMs: Millis | null;
  readonly relayRttMs: Millis | null;
  /** Checks on the active pair go unanswered. */
  readonly isSuspect: boolean;
  /** Another pair that answers while nothing at all is heard on the active one, which should have answered by now; null when there is none. */
  sparePair(now: Millis): PairId | null;
}
