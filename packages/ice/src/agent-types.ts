import type { Logger, Millis, Random, SocketAddress, SocketId } from "@adit/core";
import type { CandidateType, LocalCandidate } from "./candidate.ts";
import type { IceRole, PairFailure, PairId, PairInfo } from "./pair.ts";
import type { CandidateRules } from "./rules.ts";

/** What an {@link IceAgent} is made of. */
export interface IceAgentOptions {
  /** `controlling` for the side that starts the session (RFC 8445 §6.1.1); a conflict settles itself. */
  readonly role: IceRole;
  /** Of credentials, tie-breaker, transaction IDs and jitter: has to be unguessable outside of tests. */
  readonly random: Random;
  /** 64 bits that settle a role conflict: the greater one controls (RFC 8445 §7.3.1.1). Random by default. */
  readonly tieBreaker?: bigint;
  /** The least time between new checks that this side allows, ms; 50 by default, 5 at least. In force is the greater of both sides'. */
  readonly taMs?: Millis;
  /** `relay` forms only pairs that have a relayed side, and announces only relayed candidates. */
  readonly policy?: "all" | "relay";
  /** Bound on pairs; the lowest priorities give way. 100 by default (RFC 8445 §6.1.2.5). */
  readonly maxPairs?: number;
  /** Filters and NAT rules. */
  readonly rules?: CandidateRules;
  /** Whether an address is a STUN or TURN server of ours: no check is sent there, whoever names it. None is, by default. */
  readonly isServer?: (address: SocketAddress) => boolean;
  /** Decisions at debug, drops at trace; silent unless given. */
  readonly log?: Logger;
}

/** What {@link IceAgent.addLocalCandidate} is given. */
export interface LocalCandidateInit {
  /** Peer-reflexive ones are found by the agent itself. */
  readonly type: Exclude<CandidateType, "prflx">;
  /** What the peer is told. */
  readonly address: SocketAddress;
  /** Where its checks leave from; by default `address` for host and relayed candidates, `related` for reflexive ones. */
  readonly base?: SocketAddress;
  /** Where its checks leave from and arrive. */
  readonly socket: SocketId;
  /** `raddr` and `rport`, for diagnosis only; unless given, the base of a reflexive candidate. */
  readonly related?: SocketAddress;
  /** The STUN or TURN server that told it; enters the foundation. */
  readonly server?: SocketAddress;
  /** 0..65535; by default earlier candidates of a type are preferred. */
  readonly localPreference?: number;
  /** Makes it a TCP candidate (RFC 6544): then `socket` is what connects, or listens, and each connection of it is a remote address. */
  readonly tcpType?: "active" | "passive";
}

/** Why a datagram changed nothing. */
export type IceDropReason =
  | "not-stun"
  | "malformed"
  | "indication"
  | "unknown-method"
  | "fingerprint"
  | "username"
  | "integrity"
  | "replayed"
  | "unknown-attribute"
  | "bad-request"
  | "role-conflict"
  | "policy"
  | "unknown-transaction"
  | "wrong-path"
  | "error-response"
  | "closed";

/** What became of a datagram. */
export type IceReceipt =
  /** An authenticated Binding request, answered. `pair` is null while no pair can be formed for it. */
  | { readonly kind: "request"; readonly pair: PairId | null }
  /** A success response to a check of ours, from where the check went. `rttMs` is an upper bound when the check was repeated. */
  | { readonly kind: "response"; readonly pair: PairId; readonly rttMs: Millis }
  | { readonly kind: "dropped"; readonly reason: IceDropReason };

/** What an {@link IceAgent} has to tell, in the order in which it happened. */
export type IceEvent =
  /** To be signalled to the peer (RFC 8838). */
  | { readonly type: "local-candidate"; readonly candidate: LocalCandidate }
  /** A check succeeded: data may be sent on the pair. Each pair, not only the nominated one. */
  | { readonly type: "pair-valid"; readonly pair: PairInfo }
  /** Its check failed in this generation. A pair that carries data since the last generation stays `valid`. */
  | { readonly type: "pair-failed"; readonly pair: PairInfo; readonly reason: PairFailure | "socket-removed" }
  /** A consent check has gone unanswered for 200 ms or three round trips. Said once for each silence; an answer ends it. */
  | { readonly type: "pair-degraded"; readonly pair: PairInfo }
  /** Consent ended (RFC 7675), or its socket went: sending must stop. */
  | { readonly type: "pair-expired"; readonly pair: PairInfo }
  /** Each success response, those to probes and consent checks too. `repeated`: which request was answered is not known, `rttMs` is an upper bound. */
  | { readonly type: "check-answered"; readonly pair: PairInfo; readonly rttMs: Millis; readonly repeated: boolean }
  /** A success response to a check that was padded: datagrams of so many bytes get there. */
  | { readonly type: "size-answered"; readonly pair: PairInfo; readonly bytes: number }
  | { readonly type: "nominated"; readonly pair: PairInfo }
  | { readonly type: "role-changed"; readonly role: IceRole }
  /** No pair is valid, every check failed, and both sides have ended their candidates. A new candidate, `retry` or `restart` goes on. */
  | { readonly type: "failed"; readonly reason: string }
  /** The first nomination of this generation. */
  | { readonly type: "completed" };
