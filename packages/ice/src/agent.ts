import type { Deadline, Millis, SocketAddress, SocketId, Transmit } from "@adit/core";
import type { IceAgentOptions, IceEvent, IceReceipt, LocalCandidateInit } from "./agent-types.ts";
import type { Candidate, LocalCandidate } from "./candidate.ts";
import type { IceRole, PairId, PairInfo } from "./pair.ts";
import { generateParameters, type IceParameters } from "./parameters.ts";

/** An ICE agent (RFC 8445) for one session, one component, UDP; sans-IO. */
export class IceAgent {
  #role: IceRole;
  #local: IceParameters;

  constructor(options: IceAgentOptions) {
    this.#role = options.role;
    this.#local = generateParameters(options.random, []);
  }

  /** The username fragment that a Binding request is addressed to (before the colon of USERNAME), cheaply; null when there is none. */
  static localUfragOf(_data: Uint8Array): string | null {
    throw new Error("in progress");
  }

  get role(): IceRole {
    return this.#role;
  }

  /** This generation's parameters, to be signalled. */
  get local(): IceParameters {
    return this.#local;
  }

  /** This generation's remote parameters; null until {@link setRemoteParameters}. */
  get remote(): IceParameters | null {
    throw new Error("in progress");
  }

  /** What may be announced to the peer, in order of discovery. */
  get localCandidates(): readonly LocalCandidate[] {
    throw new Error("in progress");
  }

  /** Null: a duplicate, or the bound is reached. */
  addLocalCandidate(_now: Millis, _init: LocalCandidateInit): LocalCandidate | null {
    throw new Error("in progress");
  }

  removeLocalSocket(_now: Millis, _socket: SocketId): void {
    throw new Error("in progress");
  }

  endOfLocalCandidates(_now: Millis): void {
    throw new Error("in progress");
  }

  /** False: malformed, or this generation already has other ones (a peer that restarted needs {@link restart} here first). */
  setRemoteParameters(_now: Millis, _parameters: IceParameters): boolean {
    throw new Error("in progress");
  }

  /** False: unusable address, duplicate, or the bound is reached. */
  addRemoteCandidate(_now: Millis, _candidate: Candidate): boolean {
    throw new Error("in progress");
  }

  endOfRemoteCandidates(_now: Millis): void {
    throw new Error("in progress");
  }

  boost(_now: Millis): void {
    throw new Error("in progress");
  }

  handleDatagram(_now: Millis, _socket: SocketId, _from: SocketAddress, _data: Uint8Array): IceReceipt {
    throw new Error("in progress");
  }

  ownsTransaction(_id: Uint8Array): boolean {
    throw new Error("in progress");
  }

  /** One check on a pair now, not repeated; an answer comes as `check-answered`. False: unknown pair, or too many are out. */
  probe(_now: Millis, _pair: PairId): boolean {
    throw new Error("in progress");
  }

  retry(_now: Millis, _pair?: PairId): void {
    throw new Error("in progress");
  }

  restart(_now: Millis): IceParameters {
    throw new Error("in progress");
  }

  handleTimeout(_now: Millis): void {
    throw new Error("in progress");
  }

  pollTimeout(): Deadline | null {
    throw new Error("in progress");
  }

  pollTransmit(): Transmit | null {
    throw new Error("in progress");
  }

  pollEvent(): IceEvent | null {
    throw new Error("in progress");
  }

  pairs(): readonly PairInfo[] {
    throw new Error("in progress");
  }

  pair(_id: PairId): PairInfo | null {
    throw new Error("in progress");
  }

  pairByPath(_socket: SocketId, _remote: SocketAddress): PairInfo | null {
    throw new Error("in progress");
  }

  close(): void {
    throw new Error("in progress");
  }
}
