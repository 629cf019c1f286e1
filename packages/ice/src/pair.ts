import type { Millis, SocketAddress, SocketId } from "@adit/core";
import { type Candidate, isRelayedLocal, isRelayedRemote, type LocalCandidate } from "./candidate.ts";
import type { Consent } from "./consent.ts";

/** `${socket}|${remote.key}`: what can be told apart on the wire. */
export type PairId = string;

/** The name of a path: equal exactly for the same socket and remote address. */
export const pairId = (socket: SocketId, remote: SocketAddress): PairId => `${socket}|${remote.key}`;

/** RFC 8445 §6.1.1: the controlling agent nominates. */
export type IceRole = "controlling" | "controlled";

/** Why a check of a pair failed for good. */
export type PairFailure =
  | "timeout"
  /** Every answer that came had the wrong password, or none (RFC 8489 §9.1.4). */
  | "integrity"
  | "consent-expired"
  /** The peer took its consent back (403, RFC 7675 §5.2). */
  | "consent-revoked"
  | "error-response"
  | "abandoned"
  /** TCP: it could not be made, or went and could not be made again. */
  | "connection-failed"
  | "connection-lost";

/** Why data may no longer be sent on a pair that was valid: what its state says then. `error-response`: its nomination was refused. */
export type ConsentEnd = Extract<PairFailure, "consent-expired" | "consent-revoked" | "error-response">;

/**
 * Why a pair was nominated: the other side did it (`peer`), nothing else worked (`only-valid`), everything else was relayed
 * (`direct`), its round trip was clearly shorter than that of a pair with a higher priority (`faster`), or its priority.
 */
export type NominationReason = "peer" | "only-valid" | "direct" | "faster" | "highest-priority";

/** RFC 8445 §6.1.2.6. A pair of an earlier generation that still carries data goes through these again in the new one. */
export type PairState =
  | { readonly kind: "frozen" }
  | { readonly kind: "waiting" }
  /** `againAt`: when a new check takes its place unless it is answered before; null: never. */
  | {
      readonly kind: "in-progress";
      readonly transactionId: string;
      readonly since: Millis;
      readonly againAt: Millis | null;
    }
  | { readonly kind: "succeeded"; readonly since: Millis }
  | { readonly kind: "failed"; readonly since: Millis; readonly reason: PairFailure };

/** RFC 8445 §6.1.2.6. */
export type PairStateName = PairState["kind"];

/** A pair as others see it: a snapshot, unchanged after it was handed out. */
export interface PairInfo {
  /** Stays the same for as long as the pair stands. */
  readonly id: PairId;
  /** The socket of ours, or the allocation. */
  readonly socket: SocketId;
  /** The candidate of ours whose address the peer sees, once known; until then the one that checks are sent from. */
  readonly local: LocalCandidate;
  /** The candidate of the peer's. */
  readonly remote: Candidate;
  /** RFC 8445 §6.1.2.3, 64 bits; changes with the role. */
  readonly priority: bigint;
  /** In this generation. */
  readonly state: PairStateName;
  /** Data may be sent on it: a check succeeded and consent stands (in this generation or the last one). */
  readonly valid: boolean;
  /** By the controlling side, and not superseded since. */
  readonly nominated: boolean;
  /** Neither side's candidate is a relay's. */
  readonly direct: boolean;
  /** The last measured round trip, ms. */
  readonly rttMs: number | null;
  /** Checks sent on it, repetitions, probes and consent included. */
  readonly requestsSent: number;
  /** Authentic answers to them. */
  readonly responsesReceived: number;
  /** Authentic checks of the peer's that came by it, probes and consent too. */
  readonly requestsReceived: number;
  /** Why its check failed: nobody answered (`timeout`), somebody refused (`error-response`), ... */
  readonly failure: PairFailure | null;
  /** Why it was nominated; null when it is not. */
  readonly nominatedBecause: NominationReason | null;
  /** When consent ends unless it is renewed; null when not valid. */
  readonly consentUntil: Millis | null;
}

/** 2^32 * MIN(G,D) + 2 * MAX(G,D) + (G>D ? 1 : 0), with G the controlling side's priority and D the controlled side's (§6.1.2.3). */
export function pairPriority(controlling: number, controlled: number): bigint {
  const g = BigInt(controlling);
  const d = BigInt(controlled);
  const [low, high] = g < d ? [g, d] : [d, g];
  return (low << 32n) + 2n * high + (g > d ? 1n : 0n);
}

/**
 * Repeated checks that nobody ever answered end here, whatever asks for them (triggered checks, retries): a peer must not be able to
 * aim us at a third party for long. Six whole transactions of Rc = 7.
 */
export const MAX_UNANSWERED_REQUESTS = 42;

/** One socket of ours and one address of the peer's. */
export class CandidatePair {
  readonly id: PairId;
  readonly socket: SocketId;
  #local: LocalCandidate;
  #remote: Candidate;
  #priority: bigint;
  #state: PairState = { kind: "frozen" };
  #consent: Consent | null = null;
  #mapped: LocalCandidate | null = null;
  #nominatedBecause: NominationReason | null = null;
  #requestsReceived = 0;
  #info: PairInfo | null = null;
  #rttMs: number | null = null;
  #requestsSent = 0;
  #responsesReceived = 0;
  /** Requests since the last answer, without those that consent covers. */
  unanswered = 0;
  /** Answers since the last authentic one, or since the generation began, whose integrity was missing or wrong. */
  forgedAnswers = 0;
  /** Checks begun in this generation, repetitions not counted. */
  checksBegun = 0;
  /** TCP connections made anew in this generation after one that worked was lost. */
  reconnects = 0;
  /** The peer nominated it before our own check succeeded (§7.3.1.5): what its check said, else null. */
  pendingNomination: { readonly value: number | null } | null = null;

  constructor(local: LocalCandidate, remote: Candidate, role: IceRole) {
    this.id = pairId(local.socket, remote.address);
    this.socket = local.socket;
    this.#local = local;
    this.#remote = remote;
    this.#priority = this.#computePriority(role);
  }

  get local(): LocalCandidate {
    return this.#local;
  }

  get remote(): Candidate {
    return this.#remote;
  }

  get priority(): bigint {
    return this.#priority;
  }

  get state(): PairState {
    return this.#state;
  }

  get consent(): Consent | null {
    return this.#consent;
  }

  get valid(): boolean {
    return this.#consent !== null;
  }

  get nominated(): boolean {
    return this.#nominatedBecause !== null;
  }

  get rttMs(): number | null {
    return this.#rttMs;
  }

  get direct(): boolean {
    return !isRelayedLocal(this.#local) && !isRelayedRemote(this.#remote);
  }

  get isTcp(): boolean {
    return this.#local.transport === "tcp";
  }

  /** Pairs freeze and thaw together by this (§6.1.2.6). */
  get foundation(): string {
    return `${this.#local.foundation}:${this.#remote.foundation}`;
  }

  /** Better candidates for the same path: a signalled one for a peer-reflexive one, a host for its server-reflexive. */
  setCandidates(local: LocalCandidate, remote: Candidate, role: IceRole): void {
    this.#local = local;
    this.#remote = remote;
    this.#priority = this.#computePriority(role);
    this.#info = null;
  }

  setState(state: PairState): void {
    this.#state = state;
    this.#info = null;
  }

  setConsent(consent: Consent | null): void {
    this.#consent = consent;
    this.#info = null;
  }

  setNominated(because: NominationReason | null): void {
    this.#nominatedBecause = because;
    this.#info = null;
  }

  /** The local candidate that has the address the peer sees (the local side of the valid pair, §7.2.5.3.2). */
  setMapped(candidate: LocalCandidate): void {
    this.#mapped = candidate;
    this.#info = null;
  }

  noteRequest(): void {
    this.#requestsSent++;
    if (!this.valid) this.unanswered++;
    this.#info = null;
  }

  noteRequestReceived(): void {
    this.#requestsReceived++;
    this.#info = null;
  }

  noteResponse(rttMs: number): void {
    this.#responsesReceived++;
    this.unanswered = 0;
    this.forgedAnswers = 0;
    this.#rttMs = rttMs;
    this.#info = null;
  }

  get exhausted(): boolean {
    return this.unanswered >= MAX_UNANSWERED_REQUESTS;
  }

  get info(): PairInfo {
    this.#info ??= {
      id: this.id,
      socket: this.socket,
      local: this.#mapped ?? this.#local,
      remote: this.#remote,
      priority: this.#priority,
      state: this.#state.kind,
      valid: this.valid,
      nominated: this.nominated,
      direct: this.direct,
      rttMs: this.#rttMs,
      requestsSent: this.#requestsSent,
      responsesReceived: this.#responsesReceived,
      requestsReceived: this.#requestsReceived,
      nominatedBecause: this.#nominatedBecause,
      failure: this.#state.kind === "failed" ? this.#state.reason : null,
      consentUntil: this.#consent?.expiresAt ?? null,
    };
    return this.#info;
  }

  #computePriority(role: IceRole): bigint {
    const { priority: ours } = this.#local;
    const { priority: theirs } = this.#remote;
    return role === "controlling" ? pairPriority(ours, theirs) : pairPriority(theirs, ours);
  }
}
