import {
  Counters,
  type Deadline,
  earliest,
  type Millis,
  type SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import { AgentState } from "./agent-state.ts";
import type { IceAgentOptions, IceDropReason, IceEvent, IceReceipt, LocalCandidateInit } from "./agent-types.ts";
import type { Candidate, LocalCandidate } from "./candidate.ts";
import { CheckRunner } from "./check-runner.ts";
import { localUfragOf } from "./checks.ts";
import { Nominator } from "./nominator.ts";
import { type CandidatePair, type IceRole, type PairId, type PairInfo, pairId } from "./pair.ts";
import { type IceParameters, isValidParameters } from "./parameters.ts";
import { dropped, Receiver } from "./receiver.ts";

/**
 * RFC 8863 §4: failure is not declared before this much time has passed since checks could begin, as the peer's checks may yet
 * make pairs. The recommended time is that of one check transaction: 79 RTO of 500 ms.
 */
export const PATIENCE_MS = 39_500;

/** Connections that worked and were lost are made anew so often in a generation. */
const MAX_RECONNECTS = 3;

type Phase =
  | { readonly kind: "gathering" }
  /** The peer's parameters are there; failure is not declared before `patientUntil`. */
  | { readonly kind: "checking"; readonly patientUntil: Millis }
  | { readonly kind: "failed" }
  | { readonly kind: "closed" };

/**
 * An ICE agent (RFC 8445, trickle as in RFC 8838) for one session: one stream, one component. Sans-IO: it is told the time
 * and what arrived, and asked what to send (`pollTransmit`), what happened (`pollEvent`) and when to be called
 * (`pollTimeout`) after each call. Nothing that arrives makes it throw.
 */
export class IceAgent {
  readonly #state: AgentState;
  readonly #checks: CheckRunner;
  readonly #nominator: Nominator;
  readonly #receiver: Receiver;
  readonly #drops = new Counters<IceDropReason>();
  #phase: Phase = { kind: "gathering" };
  #localEnded = false;
  #remoteEnded = false;
  /** Undefined: to be computed. */
  #deadline: Deadline | null | undefined = undefined;

  constructor(options: IceAgentOptions) {
    this.#state = new AgentState(options);
    this.#checks = new CheckRunner(this.#state);
    this.#nominator = new Nominator(this.#state, this.#checks);
    this.#receiver = new Receiver(this.#state, this.#checks, this.#nominator);
  }

  /** The username fragment that a Binding request is addressed to, cheaply: tells the session among many on one socket. */
  static localUfragOf(data: Uint8Array): string | null {
    return localUfragOf(data);
  }

  /** Who nominates: ours at the moment, as a conflict may have changed it (RFC 8445 §7.3.1.1). */
  get role(): IceRole {
    return this.#state.role;
  }

  /** This generation's parameters, to be signalled. */
  get local(): IceParameters {
    return this.#state.generations.current.local;
  }

  /** The peer's parameters of this generation; null until {@link setRemoteParameters}. */
  get remote(): IceParameters | null {
    return this.#state.generations.current.remote?.parameters ?? null;
  }

  /** The fragments that requests are answered to: this generation's, and after a restart the last one's for a while. */
  get localUfrags(): readonly string[] {
    const { current, previous } = this.#state.generations;
    return previous ? [current.local.ufrag, previous.local.ufrag] : [current.local.ufrag];
  }

  /** What may be announced to the peer, oldest first. */
  get localCandidates(): readonly LocalCandidate[] {
    return this.#state.candidates.locals.filter((one) => this.#state.isAnnounced(one));
  }

  /** Those of this generation that were taken, learned ones too, oldest first. */
  get remoteCandidates(): readonly Candidate[] {
    return [...this.#state.candidates.remotes];
  }

  /** What was dropped, by reason. */
  get drops(): Counters<IceDropReason> {
    return this.#drops;
  }

  /** The nominated pair, while it is valid. */
  get nominated(): PairInfo | null {
    return this.#nominator.selected?.info ?? null;
  }

  /** Every pair that stands, in the order in which they were made: {@link IceAgentOptions.maxPairs} at most. */
  pairs(): readonly PairInfo[] {
    return [...this.#state.checklist].map((pair) => pair.info);
  }

  /** A pair by its id; null when it is gone. */
  pair(id: PairId): PairInfo | null {
    return this.#state.checklist.get(id)?.info ?? null;
  }

  /** The pair of a socket of ours and an address of the peer's; null when there is none. */
  pairByPath(socket: SocketId, remote: SocketAddress): PairInfo | null {
    return this.pair(pairId(socket, remote));
  }

  /** Null: nothing to announce (a duplicate, the bound is reached, or `policy` keeps it secret; in that case it still makes pairs). */
  addLocalCandidate(now: Millis, init: LocalCandidateInit): LocalCandidate | null {
    const { rules } = this.#state;
    if (this.#phase.kind === "closed" || !rules.admits(init.address)) return null;
    const [first, ...rest] = rules.expand(init).map((one) => this.#addLocal(one));
    const announced = first ?? rest.find((one) => one !== null) ?? null;
    this.#progress(now);
    return announced;
  }

  #addLocal(init: LocalCandidateInit): LocalCandidate | null {
    const candidate = this.#state.candidates.addLocal(init);
    if (!candidate) return null;
    this.#localEnded = false;
    for (const remote of this.#state.candidates.remotes) this.#state.formPair(candidate.socket, remote);
    const announced = this.#state.isAnnounced(candidate);
    if (announced) this.#state.outbox.event({ type: "local-candidate", candidate });
    return announced ? candidate : null;
  }

  /**
   * An address is ours no more, though its socket stays: a NAT forgot the mapping, an interface lost it. The peer is told of it no more from the next
   * restart on, and what comes in its place has its priority. Pairs stay, as they are of the socket: checks tell what becomes of them.
   */
  removeLocalCandidate(init: LocalCandidateInit): void {
    for (const one of this.#state.rules.expand(init)) this.#state.candidates.removeLocal(one);
  }

  /** A socket or an allocation is gone: its candidates and pairs go. */
  removeLocalSocket(now: Millis, socket: SocketId): void {
    const { candidates, checklist } = this.#state;
    candidates.removeSocket(socket);
    for (const pair of [...checklist]) if (pair.socket === socket) this.#removePair(pair, "socket-removed");
    this.#progress(now);
  }

  /**
   * A TCP connection could not be made, or is gone: its check has failed (RFC 6544 §7.1). If it worked before and we made it, it is made
   * again, three times in a generation at most; who accepted it waits for the peer to do so.
   */
  connectionClosed(now: Millis, socket: SocketId, remote: SocketAddress): void {
    const { candidates, checklist } = this.#state;
    const pair = checklist.get(pairId(socket, remote));
    candidates.forgetConnection(remote);
    if (!pair?.isTcp || this.#phase.kind === "closed") return;
    if (pair.local.tcpType === "passive") this.#removePair(pair, "connection-lost");
    else this.#reconnect(now, pair);
    this.#progress(now);
  }

  #reconnect(now: Millis, pair: CandidatePair): void {
    const { transactions, outbox, checklist } = this.#state;
    transactions.deleteWhere((one) => one.pair === pair);
    if (!pair.valid) {
      if (pair.state.kind === "in-progress") this.#state.fail(now, pair, "connection-failed");
      return;
    }
    pair.setConsent(null);
    this.#nominator.removed(pair);
    outbox.event({ type: "pair-expired", pair: pair.info });
    if (pair.reconnects++ < MAX_RECONNECTS) checklist.trigger(pair);
    else this.#state.fail(now, pair, "connection-lost");
  }

  #removePair(pair: CandidatePair, reason: "socket-removed" | "connection-lost"): void {
    const { checklist, transactions, outbox } = this.#state;
    const wasValid = pair.valid;
    pair.setConsent(null);
    checklist.remove(pair);
    transactions.deleteWhere((one) => one.pair === pair);
    this.#nominator.removed(pair);
    if (wasValid) outbox.event({ type: "pair-expired", pair: pair.info });
    else outbox.event({ type: "pair-failed", pair: pair.info, reason });
  }

  /** No more local candidates for now; adding one takes it back. Survives a restart, as the sockets do. */
  endOfLocalCandidates(now: Millis): void {
    this.#localEnded = true;
    this.#progress(now);
  }

  /** False: malformed, or this generation has other ones already (when the peer restarted, {@link restart} comes first). */
  setRemoteParameters(now: Millis, parameters: IceParameters): boolean {
    const { current } = this.#state.generations;
    if (current.remote) {
      return current.remote.parameters.ufrag === parameters.ufrag && current.remote.parameters.pwd === parameters.pwd;
    }
    if (!isValidParameters(parameters) || this.#phase.kind === "closed") return false;
    current.setRemote(parameters);
    this.#phase = { kind: "checking", patientUntil: now + PATIENCE_MS };
    this.#checks.begin(parameters);
    // RFC 8445 §6.1.1: "The full agent MUST take the controlling role, and the lite agent MUST take the controlled role."
    if (parameters.lite) this.#receiver.switchRole("controlling");
    this.#receiver.begin(now);
    this.#progress(now);
    return true;
  }

  /** False: unusable, filtered, known already, or the bound is reached. May come before the parameters. */
  addRemoteCandidate(now: Millis, candidate: Candidate): boolean {
    const { candidates } = this.#state;
    if (this.#phase.kind === "closed" || !this.#state.admitsRemote(candidate.address)) return false;
    if (!candidates.addRemote(candidate)) return false;
    for (const socket of candidates.sockets) this.#state.formPair(socket, candidate);
    this.#progress(now);
    return true;
  }

  /** The peer has said that no more candidates come (RFC 8838 §14); more may, and count. */
  endOfRemoteCandidates(now: Millis): void {
    this.#remoteEnded = true;
    this.#progress(now);
  }

  /** Both sides are about to punch: for 2 s every pair is checked, 5 ms after the other, and checks under way are repeated at once. */
  boost(now: Millis): void {
    this.#checks.boost(now);
    this.#progress(now);
  }

  /** What arrived on `socket` (for an allocation: out of the relay) from `from`. Anything may be given; only what is authentic counts. */
  handleDatagram(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): IceReceipt {
    const receipt = this.#phase.kind === "closed" ? dropped("closed") : this.#receiver.receive(now, socket, from, data);
    if (receipt.kind === "dropped") {
      this.#drops.add(receipt.reason);
      this.#state.log.trace("ice-dropped", { reason: receipt.reason, from: from.key, socket });
      // Of all that is dropped only an authentic error response changes anything.
      if (receipt.reason !== "error-response") return receipt;
    }
    this.#progress(now);
    return receipt;
  }

  /** Whether a response with this transaction ID answers a request of ours. */
  ownsTransaction(id: Uint8Array): boolean {
    return id.length === 12 && this.#state.transactions.get(id) !== null;
  }

  /**
   * One check on a pair now, not repeated; an answer comes as `check-answered`, or `size-answered` for one that was padded to `padTo` bytes
   * (a multiple of 4). False: no such pair, or checks of it are out of the question.
   */
  probe(now: Millis, id: PairId, padTo: number | null = null): boolean {
    const pair = this.#state.checklist.get(id);
    if (!pair || this.#phase.kind === "closed") return false;
    const sent = this.#checks.probe(now, pair, padTo);
    this.#deadline = undefined;
    return sent;
  }

  /** Checks failed pairs again, one or all. Not those whose consent ended: these need a restart (RFC 7675 §5.1). */
  retry(now: Millis, id?: PairId): void {
    const { checklist } = this.#state;
    const pairs = id === undefined ? [...checklist] : [checklist.get(id)];
    for (const pair of pairs) {
      if (pair?.state.kind !== "failed" || this.#state.isBarred(pair)) continue;
      if (id === undefined) pair.setState({ kind: "waiting" });
      else this.#checks.trigger(now, pair);
    }
    this.#progress(now);
  }

  /**
   * Begins a new generation (RFC 8445 §9) and returns its parameters, to be signalled. Local candidates stay, remote ones are
   * awaited anew. Pairs that are valid stay so, with the credentials that they have, until the new generation has a valid pair.
   */
  restart(now: Millis): IceParameters {
    if (this.#phase.kind === "closed") return this.local;
    const { generations, transactions, checklist, candidates } = this.#state;
    generations.restart(this.#state.newGeneration(), this.#state.validPairs.length > 0);
    checklist.restart();
    transactions.deleteWhere(({ kind, pair }) => kind === "check" || kind === "nomination" || !checklist.has(pair));
    candidates.clearRemotes();
    this.#receiver.restart();
    this.#nominator.restart();
    this.#remoteEnded = false;
    this.#phase = { kind: "gathering" };
    this.#state.log.debug("ice-restart", { ufrag: this.local.ufrag });
    this.#progress(now);
    return this.local;
  }

  /** Does what is due; to be called when {@link pollTimeout} says, or any time. */
  handleTimeout(now: Millis): void {
    const due = this.pollTimeout();
    if (!due || due.at > now) return;
    this.#expireConsents(now);
    for (const pair of this.#checks.handleTimeout(now)) this.#nominator.failed(pair);
    this.#state.generations.handleTimeout(now);
    this.#progress(now);
  }

  /** When {@link handleTimeout} is to be called, on the clock of `now`, and why; null: not before something else happens. */
  pollTimeout(): Deadline | null {
    if (this.#deadline === undefined) this.#deadline = this.#computeDeadline();
    return this.#deadline;
  }

  /** The next datagram to be sent; null when there is none. */
  pollTransmit(): Transmit | null {
    return this.#state.outbox.nextTransmit();
  }

  /** What happened next; null when nothing more did. */
  pollEvent(): IceEvent | null {
    return this.#state.outbox.nextEvent();
  }

  /** Forgets everything that is queued and says nothing more. */
  close(): void {
    this.#phase = { kind: "closed" };
    this.#state.transactions.clear();
    this.#state.outbox.clear();
    this.#deadline = null;
  }

  /** RFC 7675 §5.1: 30 s without an answer, and sending must cease. */
  #expireConsents(now: Millis): void {
    for (const pair of this.#state.checklist) {
      if (!pair.consent || pair.consent.expiresAt > now) continue;
      this.#state.endConsent(now, pair, "consent-expired");
      this.#nominator.failed(pair);
    }
  }

  /** After every change: what can be done now, and where it leaves us. */
  #progress(now: Millis): void {
    if (this.#phase.kind === "closed") return;
    this.#deadline = undefined;
    this.#checks.startNext(now);
    this.#nominator.progress(now);
    const hopeless = this.#isHopeless;
    if (this.#phase.kind === "failed" && !hopeless) this.#phase = { kind: "checking", patientUntil: now };
    if (this.#phase.kind !== "checking" || !hopeless || this.#phase.patientUntil > now) return;
    this.#phase = { kind: "failed" };
    const reason = this.#describeFailure();
    this.#state.log.debug("ice-failed", { reason });
    this.#state.outbox.event({ type: "failed", reason });
  }

  /** Every check failed, nothing carries data, and neither side will name another candidate. */
  get #isHopeless(): boolean {
    const { checklist } = this.#state;
    if (!this.#localEnded || !this.#remoteEnded) return false;
    for (const pair of checklist) if (pair.valid || pair.state.kind !== "failed") return false;
    return true;
  }

  #describeFailure(): string {
    const { checklist, candidates } = this.#state;
    if (checklist.size === 0) {
      const remotes = [...candidates.remotes].length;
      return `no candidate pair could be formed (${candidates.locals.length} local and ${remotes} remote candidates)`;
    }
    const reasons = new Map<string, number>();
    for (const { state } of checklist) {
      const reason = state.kind === "failed" ? state.reason : state.kind;
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    const text = [...reasons].map(([reason, times]) => `${reason}: ${times}`).join(", ");
    return `none of ${checklist.size} candidate pairs works (${text})`;
  }

  #computeDeadline(): Deadline | null {
    if (this.#phase.kind === "closed") return null;
    const { checklist, generations } = this.#state;
    let deadline = this.#checks.pollTimeout();
    const add = (at: Millis | null, reason: string) => {
      if (at !== null) deadline = earliest(deadline, { at, reason });
    };
    for (const { consent } of checklist) if (consent) add(consent.expiresAt, "ice-consent-expiry");
    add(this.#nominator.nextAt, "ice-nomination");
    add(generations.previousEndsAt, "ice-old-generation");
    if (this.#phase.kind === "checking" && this.#isHopeless) add(this.#phase.patientUntil, "ice-patience");
    return deadline;
  }
}
