import type { Candidate, LocalCandidate } from "../candidate.ts";
import type { PairFailure, PairInfo } from "../pair.ts";
import type { Traffic } from "./gathering-agent.ts";

/** What became of a candidate: the sums of its pairs, and the best of their states. */
export interface CandidateStats extends Traffic {
  /** Whose it is. */
  readonly side: "local" | "remote";
  /** As it was signalled or learned. */
  readonly candidate: Candidate;
  /** `unpaired`: no pair was formed with it, or none is left. */
  readonly state: "valid" | "checking" | "failed" | "unpaired";
  /** One of its pairs is the nominated one. */
  readonly nominated: boolean;
  /** How many pairs it is part of. */
  readonly pairs: number;
  /** The shortest of its pairs, ms. */
  readonly rttMs: number | null;
  /** Checks sent on its pairs, repetitions included. */
  readonly requestsSent: number;
  /** Authentic answers to them. */
  readonly responsesReceived: number;
  /** Authentic checks of the peer's on its pairs. */
  readonly requestsReceived: number;
  /** Why its pairs failed, each reason once. */
  readonly failures: readonly PairFailure[];
}

type PairStats = PairInfo & Traffic;

/** Of both sides, in the order in which they were found. */
export function candidateStats(
  locals: readonly LocalCandidate[],
  remotes: readonly Candidate[],
  pairs: readonly PairStats[],
): readonly CandidateStats[] {
  return [
    ...locals.map((one) =>
      sum(
        "local",
        one,
        pairs.filter(({ local }) => local === one),
      ),
    ),
    ...remotes.map((one) =>
      sum(
        "remote",
        one,
        pairs.filter(({ remote }) => remote === one),
      ),
    ),
  ];
}

function sum(side: CandidateStats["side"], candidate: Candidate, pairs: readonly PairStats[]): CandidateStats {
  const total = (of: (pair: PairStats) => number): number => pairs.reduce((all, pair) => all + of(pair), 0);
  const rtts = pairs.flatMap(({ rttMs }) => rttMs ?? []);
  return {
    side,
    candidate,
    state: stateOf(pairs),
    nominated: pairs.some(({ nominated }) => nominated),
    pairs: pairs.length,
    rttMs: rtts.length > 0 ? Math.min(...rtts) : null,
    requestsSent: total((pair) => pair.requestsSent),
    responsesReceived: total((pair) => pair.responsesReceived),
    requestsReceived: total((pair) => pair.requestsReceived),
    failures: [...new Set(pairs.flatMap(({ failure }) => failure ?? []))],
    sentBytes: total((pair) => pair.sentBytes),
    sentDatagrams: total((pair) => pair.sentDatagrams),
    receivedBytes: total((pair) => pair.receivedBytes),
    receivedDatagrams: total((pair) => pair.receivedDatagrams),
  };
}

function stateOf(pairs: readonly PairStats[]): CandidateStats["state"] {
  if (pairs.length === 0) return "unpaired";
  if (pairs.some(({ valid }) => valid)) return "valid";
  return pairs.every(({ state }) => state === "failed") ? "failed" : "checking";
}
