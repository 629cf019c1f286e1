export { IceAgent } from "./agent.ts";
export type { IceAgentOptions, IceDropReason, IceEvent, IceReceipt, LocalCandidateInit } from "./agent-types.ts";
export { type Candidate, type CandidateType, candidatePriority, type LocalCandidate } from "./candidate.ts";
export type { IceRole, PairFailure, PairId, PairInfo, PairStateName } from "./pair.ts";
export { pairId } from "./pair.ts";
export { generateParameters, type IceParameters, isValidParameters } from "./parameters.ts";
