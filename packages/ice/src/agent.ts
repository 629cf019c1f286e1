import {
  Counters,
  type Deadline,
  earliest,
  isRelaySocket,
  type Logger,
  type Millis,
  nullLogger,
  type Random,
  randomU64,
  type SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import type { IceAgentOptions, IceDropReason, IceEvent, IceReceipt, LocalCandidateInit } from "./agent-types.ts";
import { type Candidate, checkPriority, isRelayedLocal, type LocalCandidate } from "./candidate.ts";
import { CandidateStore } from "./candidate-store.ts";
import { Checklist, checkRtoMs } from "./checklist.ts";
import {
  type CheckContent,
  encodeCheck,
  encodeError,
  encodeSuccess,
  hasWrongFingerprint,
  localUfragOf,
  type Nominate,
  readCheck,
  receiverUfrag,
  settleRoles,
  unknownInCheck,
  whyUnauthentic,
} from "./checks.ts";
import { freshConsent, nextConsentCheck } from "./consent.ts";
import { Generation, Generations } from "./generation.ts";
import { chooseNominee, deservesRenomination, type Nomination, settleMs, supersedesNomination } from "./nomination.ts";
import { Outbox } from "./outbox.ts";
import { type CandidatePair, type IceRole, type PairFailure, type PairId, type PairInfo, pairId } from "./pair.ts";
import {
  agreedTaMs,
  DEFAULT_TA_MS,
  generateParameters,
  type IceParameters,
  isValidParameters,
  MIN_TA_MS,
  taOption,
} from "./parameters.ts";
import { EarlyChecks, SeenRequests } from "./seen-requests.ts";
import { getErrorCode, getXorAddress } from "./stun/attributes.ts";
import { verifyIntegrity } from "./stun/integrity.ts";
import { decodeStun, isStun, type StunMessage } from "./stun/message.ts";
import { STUN_ATTRIBUTE, STUN_ERROR, STUN_METHOD } from "./stun/tables.ts";
import {
  CHECK_SENDS,
  MAX_PROBES_PER_PAIR,
  NOMINATION_SENDS,
  type Transaction,
  type TransactionKind,
  Transactions,
  wasRepeated,
} from "./transactions.ts";

/** How long {@link IceAgent.boost} hurries. */
export const BOOST_MS = 2_000;
/** A boost repeats a check at once only when it was sent at least this long ago: both sides are told to start at one moment. */
const BOOST_MIN_AGE_MS = 100;

/**
 * RFC 8863 §4: failure is not declared before this much time has passed since checks could begin, as the peer's checks may yet
 * make pairs: "The RECOMMENDED duration for the timer is equal to the agent's connectivity-check transaction timeout", 39.5 s.
 */
export const PATIENCE_MS = 39_500;

type Phase =
  | { readonly kind: "gathering" }
  /** The peer's parameters are there; failure is not declared before `patientUntil`. */
  | { readonly kind: "checking"; readonly patientUntil: Millis }
  | { readonly kind: "failed" }
  | { readonly kind: "closed" };

const RENOMINATION = "renomination";

/**
 * An ICE agent (RFC 8445, trickle as in RFC 8838) for one session: one stream, one component, UDP. Sans-IO: it is told the time
 * and what arrived, and asked what to send (`pollTransmit`), what happened (`pollEvent`) and when to be called
 * (`pollTimeout`) after each call. Nothing that arrives makes it throw.
 */
export class IceAgent {
  readonly #random: Random;
  readonly #log: Logger;
  readonly #policy: "all" | "relay";
  readonly #ownTaMs: Millis;
  readonly #tieBreaker: bigint;
  readonly #candidates = new CandidateStore();
  readonly #checklist: Checklist;
  readonly #transactions = new Transactions();
  readonly #generations: Generations;
  readonly #outbox = new Outbox();
  readonly #early = new EarlyChecks();
  readonly #seen = new SeenRequests();
  readonly #drops = new Counters<IceDropReason>();
  #role: IceRole;
  #phase: Phase = { kind: "gathering" };
  #localEnded = false;
  #remoteEnded = false;
  #taMs: Millis = DEFAULT_TA_MS;
  #nextCheckAt: Millis = Number.NEGATIVE_INFINITY;
  #boostUntil: Millis = Number.NEGATIVE_INFINITY;
  /** The controlling side's own nomination. */
  #nomination: Nomination = { kind: "open" };
  /** The nominated pair as both sides see it, with the count of its renomination. */
  #selected: { readonly pair: CandidatePair; readonly value: number | null } | null = null;
  #nominationCount = 0;
  #completed = false;
  /** Undefined: to be computed. */
  #deadline: Deadline | null | undefined = undefined;

  constructor(options: IceAgentOptions) {
    this.#random = options.random;
    this.#role = options.role;
    this.#log = options.log ?? nullLogger;
    this.#policy = options.policy ?? "all";
    this.#ownTaMs = Math.max(MIN_TA_MS, options.taMs ?? DEFAULT_TA_MS);
    this.#tieBreaker = options.tieBreaker ?? randomU64(options.random);
    this.#checklist = new Checklist(options.maxPairs);
    this.#generations = new Generations(this.#newGeneration());
  }

  /** The username fragment that a Binding request is addressed to, cheaply: tells the session among many on one socket. */
  static localUfragOf(data: Uint8Array): string | null {
    return localUfragOf(data);
  }

  get role(): IceRole {
    return this.#role;
  }

  /** This generation's parameters, to be signalled. */
  get local(): IceParameters {
    return this.#generations.current.local;
  }

  /** The peer's parameters of this generation; null until {@link setRemoteParameters}. */
  get remote(): IceParameters | null {
    return this.#generations.current.remote?.parameters ?? null;
  }

  /** The fragments that requests are answered to: this generation's, and after a restart the last one's for a while. */
  get localUfrags(): readonly string[] {
    const { current, previous } = this.#generations;
    return previous ? [current.local.ufrag, previous.local.ufrag] : [current.local.ufrag];
  }

  /** What may be announced to the peer, oldest first. */
  get localCandidates(): readonly LocalCandidate[] {
    return this.#candidates.locals.filter((one) => this.#isAnnounced(one));
  }

  /** What was dropped, by reason. */
  get drops(): Counters<IceDropReason> {
    return this.#drops;
  }

  pairs(): readonly PairInfo[] {
    return [...this.#checklist].map((pair) => pair.info);
  }

  pair(id: PairId): PairInfo | null {
    return this.#checklist.get(id)?.info ?? null;
  }

  pairByPath(socket: SocketId, remote: SocketAddress): PairInfo | null {
    return this.pair(pairId(socket, remote));
  }

  /** The nominated pair, while it is valid. */
  get nominated(): PairInfo | null {
    return this.#selected?.pair.valid ? this.#selected.pair.info : null;
  }

  /** Null: nothing to announce (a duplicate, the bound is reached, or `policy` keeps it secret; in that case it still makes pairs). */
  addLocalCandidate(now: Millis, init: LocalCandidateInit): LocalCandidate | null {
    const candidate = this.#candidates.addLocal(init);
    if (!candidate || this.#phase.kind === "closed") return null;
    this.#localEnded = false;
    for (const remote of this.#candidates.remotes) this.#formPair(candidate.socket, remote);
    this.#resume(now);
    if (!this.#isAnnounced(candidate)) return null;
    this.#outbox.event({ type: "local-candidate", candidate });
    return candidate;
  }

  /** A socket or an allocation is gone: its candidates and pairs go. */
  removeLocalSocket(now: Millis, socket: SocketId): void {
    this.#candidates.removeSocket(socket);
    for (const pair of [...this.#checklist]) {
      if (pair.socket !== socket) continue;
      const wasValid = pair.valid;
      pair.setConsent(null);
      this.#dropPair(pair);
      if (wasValid) this.#outbox.event({ type: "pair-expired", pair: pair.info });
      else this.#outbox.event({ type: "pair-failed", pair: pair.info, reason: "socket-removed" });
    }
    this.#progress(now);
  }

  /** No more local candidates for now; adding one takes it back. Survives a restart, as the sockets do. */
  endOfLocalCandidates(now: Millis): void {
    this.#localEnded = true;
    this.#progress(now);
  }

  /** False: malformed, or this generation has other ones already (when the peer restarted, {@link restart} comes first). */
  setRemoteParameters(now: Millis, parameters: IceParameters): boolean {
    const { current } = this.#generations;
    if (current.remote) {
      return current.remote.parameters.ufrag === parameters.ufrag && current.remote.parameters.pwd === parameters.pwd;
    }
    if (!isValidParameters(parameters) || this.#phase.kind === "closed") return false;
    current.setRemote(parameters);
    this.#taMs = agreedTaMs(this.#ownTaMs, parameters.options);
    this.#phase = { kind: "checking", patientUntil: now + PATIENCE_MS };
    this.#nextCheckAt = Math.max(now, this.#nextCheckAt);
    for (const early of this.#early.take()) this.#actOnCheck(now, early.socket, early.from, early.content);
    this.#progress(now);
    return true;
  }

  /** False: unusable, known already, or the bound is reached. May come before the parameters. */
  addRemoteCandidate(now: Millis, candidate: Candidate): boolean {
    if (this.#phase.kind === "closed" || !this.#candidates.addRemote(candidate)) return false;
    for (const socket of this.#candidates.sockets) this.#formPair(socket, candidate);
    this.#resume(now);
    return true;
  }

  endOfRemoteCandidates(now: Millis): void {
    this.#remoteEnded = true;
    this.#progress(now);
  }

  /** Both sides are about to punch: for {@link BOOST_MS} every pair is checked 5 ms after the other, and checks under way are repeated at once. */
  boost(now: Millis): void {
    this.#boostUntil = now + BOOST_MS;
    this.#nextCheckAt = Math.min(this.#nextCheckAt, now);
    this.#checklist.thawAll();
    this.#transactions.hasten(now, MIN_TA_MS, BOOST_MIN_AGE_MS);
    this.#progress(now);
  }

  /** What arrived on `socket` (for an allocation: out of the relay) from `from`. Anything may be given; only what is authentic counts. */
  handleDatagram(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): IceReceipt {
    const receipt = this.#receive(now, socket, from, data);
    if (receipt.kind === "dropped") {
      this.#drops.add(receipt.reason);
      this.#log.trace("ice-dropped", { reason: receipt.reason, from: from.key, socket });
      if (receipt.reason !== "role-conflict" && receipt.reason !== "error-response") return receipt;
    }
    this.#progress(now);
    return receipt;
  }

  /** Whether a response with this transaction ID answers a request of ours. */
  ownsTransaction(id: Uint8Array): boolean {
    return id.length === 12 && this.#transactions.get(id) !== null;
  }

  /** One check on a pair now, not repeated; an answer comes as `check-answered`. False: no such pair, or checks of it are out of the question. */
  probe(now: Millis, id: PairId): boolean {
    const pair = this.#checklist.get(id);
    const generation = pair?.consent?.generation ?? this.#generations.current;
    if (!pair || !generation.remote || this.#isBarred(pair)) return false;
    this.#transactions.limit(MAX_PROBES_PER_PAIR - 1, (one) => one.pair === pair && one.kind === "probe");
    return this.#send(now, pair, "probe", generation, null) !== null;
  }

  /** Checks failed pairs again, one or all. Not those whose consent ended: these need a restart (RFC 7675 §5.1). */
  retry(now: Millis, id?: PairId): void {
    const pairs = id === undefined ? [...this.#checklist] : [this.#checklist.get(id)];
    for (const pair of pairs) {
      if (pair?.state.kind !== "failed" || this.#isBarred(pair)) continue;
      if (id !== undefined) this.#checklist.trigger(pair);
      else pair.setState({ kind: "waiting" });
    }
    this.#resume(now);
  }

  /**
   * Begins a new generation (RFC 8445 §9) and returns its parameters, to be signalled. Local candidates stay, remote ones are
   * awaited anew. Pairs that are valid stay so, with the credentials that they have, until the new generation has a valid pair.
   */
  restart(now: Millis): IceParameters {
    const { current } = this.#generations;
    if (this.#phase.kind === "closed") return current.local;
    const carriesData = [...this.#checklist].some((pair) => pair.consent?.generation === current);
    this.#generations.restart(this.#newGeneration(), carriesData);
    this.#transactions.deleteWhere(({ kind }) => kind === "check" || kind === "nomination");
    for (const pair of this.#checklist.restart()) this.#transactions.deleteWhere((one) => one.pair === pair);
    this.#candidates.clearRemotes();
    this.#early.take();
    this.#remoteEnded = false;
    this.#nomination = { kind: "open" };
    this.#completed = false;
    this.#phase = { kind: "gathering" };
    this.#log.debug("ice-restart", { ufrag: this.local.ufrag });
    this.#progress(now);
    return this.local;
  }

  handleTimeout(now: Millis): void {
    if (this.#phase.kind === "closed") return;
    const due = this.pollTimeout();
    if (!due || due.at > now) return;
    this.#expireConsents(now);
    const { repeat, over } = this.#transactions.takeDue(now);
    for (const transaction of repeat) this.#repeat(transaction);
    for (const transaction of over) this.#giveUp(now, transaction);
    this.#generations.handleTimeout(now);
    this.#checkConsents(now);
    this.#progress(now);
  }

  pollTimeout(): Deadline | null {
    if (this.#deadline === undefined) this.#deadline = this.#computeDeadline();
    return this.#deadline;
  }

  pollTransmit(): Transmit | null {
    return this.#outbox.nextTransmit();
  }

  pollEvent(): IceEvent | null {
    return this.#outbox.nextEvent();
  }

  /** Forgets everything that is queued and says nothing more. */
  close(): void {
    this.#phase = { kind: "closed" };
    this.#transactions.clear();
    this.#outbox.clear();
    this.#deadline = null;
  }

  // Receiving

  #receive(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): IceReceipt {
    if (this.#phase.kind === "closed") return dropped("closed");
    const message = decodeStun(data);
    if (!message) return dropped(isStun(data) ? "malformed" : "not-stun");
    if (message.method !== STUN_METHOD.BINDING) return dropped("unknown-method");
    switch (message.class) {
      case "request":
        return this.#handleRequest(now, socket, from, message);
      case "success":
      case "error":
        return this.#handleResponse(now, socket, from, message);
      case "indication":
        return dropped("indication");
    }
  }

  #handleRequest(now: Millis, socket: SocketId, from: SocketAddress, message: StunMessage): IceReceipt {
    const ufrag = receiverUfrag(message);
    const generation = ufrag === null ? null : this.#generations.byLocalUfrag(ufrag);
    if (!generation) return dropped("username");
    const key = generation.localKey;
    const flaw = whyUnauthentic(message, key);
    if (flaw) return dropped(flaw);
    if (!this.#mayAnswer(socket, from)) return dropped("policy");
    if (this.#seen.isReplay(message.transactionId, socket, from)) return dropped("replayed");
    const answer = (data: Uint8Array) => this.#outbox.transmit({ data, socket, to: from });
    const reading = readCheck(message);
    if (reading.kind === "refuse") {
      answer(encodeError(message, reading.error, key));
      return dropped(reading.reason);
    }
    if (generation !== this.#generations.current) {
      answer(encodeSuccess(message, from, key));
      return { kind: "request", pair: this.#checklist.get(pairId(socket, from))?.id ?? null };
    }
    const { content } = reading;
    const roles = settleRoles(this.#role, this.#tieBreaker, content.role);
    if (roles === "refuse") {
      answer(encodeError(message, { code: STUN_ERROR.ROLE_CONFLICT }, key));
      return dropped("role-conflict");
    }
    if (roles === "switch") this.#switchRole(this.#role === "controlling" ? "controlled" : "controlling");
    answer(encodeSuccess(message, from, key));
    if (generation.remote === null) {
      this.#early.add({ socket, from, content });
      return { kind: "request", pair: this.#checklist.get(pairId(socket, from))?.id ?? null };
    }
    return { kind: "request", pair: this.#actOnCheck(now, socket, from, content)?.id ?? null };
  }

  /** What an authentic check brings about: perhaps a candidate and a pair (§7.3.1.3), a triggered check (§7.3.1.4), a nomination (§7.3.1.5). */
  #actOnCheck(now: Millis, socket: SocketId, from: SocketAddress, content: CheckContent): CandidatePair | null {
    const remote = this.#candidates.learnRemote(from, content.priority);
    const pair = remote && this.#formPair(socket, remote);
    if (!pair) return null;
    if (this.#role === "controlled" && content.nominate) {
      if (pair.state.kind === "succeeded") this.#acceptNomination(pair, content.nominate);
      else pair.pendingNomination = content.nominate;
    }
    switch (pair.state.kind) {
      case "succeeded":
        break;
      case "in-progress":
        this.#transactions.supersede(now, pair.state.transactionId);
        this.#trigger(now, pair);
        break;
      case "frozen":
      case "waiting":
      case "failed":
        this.#trigger(now, pair);
        break;
    }
    this.#resume(now);
    return pair;
  }

  #handleResponse(now: Millis, socket: SocketId, from: SocketAddress, message: StunMessage): IceReceipt {
    const transaction = this.#transactions.get(message.transactionId);
    if (!transaction || !this.#checklist.has(transaction.pair)) return dropped("unknown-transaction");
    const { pair } = transaction;
    // §7.2.5.2.1: an answer from elsewhere is none. The check is not failed for it, as that would let others fail it.
    if (pair.socket !== socket || !pair.remote.address.equals(from)) return dropped("wrong-path");
    if (hasWrongFingerprint(message)) return dropped("fingerprint");
    if (!verifyIntegrity(message, transaction.answerKey)) return dropped("integrity");
    if (unknownInCheck(message).length > 0) return dropped("unknown-attribute");
    if (message.class === "error") {
      this.#transactions.delete(transaction);
      this.#handleError(now, transaction, getErrorCode(message)?.code ?? null);
      return dropped("error-response");
    }
    const mapped = getXorAddress(message, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS);
    if (!mapped) return dropped("malformed");
    this.#transactions.delete(transaction);
    return this.#handleSuccess(now, transaction, mapped);
  }

  #handleSuccess(now: Millis, transaction: Transaction, mapped: SocketAddress): IceReceipt {
    const { pair, generation } = transaction;
    const rttMs = now - transaction.firstSentAt;
    pair.noteResponse(wasRepeated(transaction) && pair.rttMs !== null ? pair.rttMs : rttMs);
    const local = this.#candidates.mapped(pair.local, mapped);
    if (local) pair.setMapped(local);
    const wasCurrent = pair.consent?.generation === this.#generations.current;
    if (generation === this.#generations.current) {
      pair.setConsent(freshConsent(now, generation, this.#random, wasCurrent ? pair.consent : null));
    } else if (pair.consent?.generation === generation && this.#generations.isRenewable(generation)) {
      pair.setConsent(freshConsent(now, generation, this.#random, pair.consent));
    }
    this.#outbox.event({ type: "check-answered", pair: pair.info, rttMs });
    if (generation === this.#generations.current && !wasCurrent) this.#becomeValid(now, pair);
    if (transaction.nominate && this.#role === "controlling" && generation === this.#generations.current) {
      this.#select(pair, transaction.nominate.value);
    }
    return { kind: "response", pair: pair.id, rttMs };
  }

  #becomeValid(now: Millis, pair: CandidatePair): void {
    if (pair.state.kind === "in-progress") this.#transactions.supersede(now, pair.state.transactionId);
    this.#checklist.untrigger(pair);
    pair.setState({ kind: "succeeded", since: now });
    this.#generations.retirePrevious(now);
    if (this.#phase.kind === "failed") this.#phase = { kind: "checking", patientUntil: now };
    this.#checklist.thaw(pair.foundation);
    this.#log.debug("ice-pair-valid", { pair: pair.id, rttMs: pair.rttMs });
    this.#outbox.event({ type: "pair-valid", pair: pair.info });
    const { pendingNomination } = pair;
    pair.pendingNomination = null;
    if (pendingNomination && this.#role === "controlled") this.#acceptNomination(pair, pendingNomination);
  }

  #handleError(now: Millis, transaction: Transaction, code: number | null): void {
    const { pair, kind, generation } = transaction;
    if (generation !== this.#generations.current) return;
    const isCurrentCheck = pair.state.kind === "in-progress" && pair.state.transactionId === transaction.key;
    if (code === STUN_ERROR.ROLE_CONFLICT) {
      this.#switchRole(transaction.role === "controlling" ? "controlled" : "controlling");
      if (isCurrentCheck) this.#trigger(now, pair);
      return;
    }
    // §7.2.5.2.4 and RFC 8489 §6.3.4: a redirect (300) or a refusal (4xx) of a check is final. Probes and consent are not checks.
    this.#log.debug("ice-error-response", { pair: pair.id, code });
    if (isCurrentCheck) this.#fail(now, pair, "error-response");
    if (kind === "nomination") this.#nominationFailed(pair);
  }

  // Checking

  #newGeneration(): Generation {
    const options = ["ice2", "trickle", RENOMINATION];
    if (this.#ownTaMs !== DEFAULT_TA_MS) options.push(taOption(this.#ownTaMs));
    return new Generation(generateParameters(this.#random, options));
  }

  #isAnnounced(candidate: LocalCandidate): boolean {
    return candidate.type !== "prflx" && (this.#policy === "all" || candidate.type === "relay");
  }

  /** With policy `relay` only relays are to learn our own address: a check that came around them is not answered. */
  #mayAnswer(socket: SocketId, from: SocketAddress): boolean {
    return this.#policy === "all" || isRelaySocket(socket) || this.#candidates.remote(from)?.type === "relay";
  }

  #formPair(socket: SocketId, remote: Candidate): CandidatePair | null {
    const local = this.#candidates.bestLocal(socket, remote);
    if (!local) return null;
    if (this.#policy === "relay" && !isRelayedLocal(local) && remote.type !== "relay") return null;
    return this.#checklist.form(local, remote, this.#role);
  }

  #dropPair(pair: CandidatePair): void {
    this.#checklist.remove(pair);
    this.#transactions.deleteWhere((one) => one.pair === pair);
    if (this.#selected?.pair === pair) this.#selected = null;
    if (this.#nomination.kind !== "open" && this.#nomination.pair === pair) this.#nomination = { kind: "open" };
  }

  /** No check is sent: nobody ever answered, or consent ended and this generation's credentials are spent on the path (RFC 7675 §5.1). */
  #isBarred(pair: CandidatePair): boolean {
    return pair.exhausted || (pair.state.kind === "failed" && pair.state.reason === "consent-expired");
  }

  #trigger(now: Millis, pair: CandidatePair): void {
    if (!this.#isBarred(pair)) this.#checklist.trigger(pair);
    else if (pair.state.kind !== "failed") this.#fail(now, pair, "abandoned");
  }

  /** One new check in each Ta (§6.1.4.2). */
  #startCheck(now: Millis): void {
    const { current } = this.#generations;
    if (!current.remote || now < this.#nextCheckAt || !this.#transactions.hasRoom) return;
    const pair = this.#checklist.next();
    if (!pair) return;
    if (pair.exhausted) {
      this.#fail(now, pair, "abandoned");
      return;
    }
    const transaction = this.#send(now, pair, "check", current, null);
    if (!transaction) return;
    pair.setState({ kind: "in-progress", transactionId: transaction.key, since: now });
    this.#nextCheckAt = now + this.#paceMs(now);
  }

  #paceMs(now: Millis): Millis {
    return now < this.#boostUntil ? MIN_TA_MS : this.#taMs;
  }

  #send(
    now: Millis,
    pair: CandidatePair,
    kind: TransactionKind,
    generation: Generation,
    nominate: Nominate | null,
  ): Transaction | null {
    const { remote } = generation;
    if (!remote || !this.#transactions.hasRoom) return null;
    const transactionId = this.#random.bytes(12);
    const data = encodeCheck({
      transactionId,
      username: remote.username,
      key: remote.key,
      priority: checkPriority(pair.local),
      role: this.#role,
      tieBreaker: this.#tieBreaker,
      nominate,
    });
    const rtoMs = checkRtoMs(this.#taMs, this.#checklist.activeCount);
    const transaction = this.#transactions.start(now, {
      transactionId,
      kind,
      pair,
      generation,
      role: this.#role,
      nominate,
      data,
      answerKey: remote.key,
      repetition:
        kind === "check" ? { rtoMs, ...CHECK_SENDS } : kind === "nomination" ? { rtoMs, ...NOMINATION_SENDS } : null,
    });
    this.#transmit(pair, data);
    return transaction;
  }

  #transmit(pair: CandidatePair, data: Uint8Array): void {
    pair.noteRequest();
    this.#outbox.transmit({ data, socket: pair.socket, to: pair.remote.address });
    this.#deadline = undefined;
  }

  #repeat(transaction: Transaction): void {
    this.#transmit(transaction.pair, transaction.data);
  }

  /** A transaction's time is over without an answer. */
  #giveUp(now: Millis, transaction: Transaction): void {
    const { pair, kind } = transaction;
    if (pair.state.kind === "in-progress" && pair.state.transactionId === transaction.key) {
      this.#fail(now, pair, "timeout");
    }
    if (kind === "nomination") this.#nominationFailed(pair);
  }

  #fail(now: Millis, pair: CandidatePair, reason: PairFailure): void {
    this.#checklist.untrigger(pair);
    pair.setState({ kind: "failed", since: now, reason });
    this.#log.debug("ice-pair-failed", { pair: pair.id, reason });
    this.#outbox.event({ type: "pair-failed", pair: pair.info, reason });
  }

  // Consent (RFC 7675)

  #expireConsents(now: Millis): void {
    for (const pair of this.#checklist) {
      if (!pair.consent || pair.consent.expiresAt > now) continue;
      const { generation } = pair.consent;
      pair.setConsent(null);
      // Late answers must not bring it back.
      this.#transactions.deleteWhere((one) => one.pair === pair && one.generation === generation);
      if (generation === this.#generations.current) {
        pair.setState({ kind: "failed", since: now, reason: "consent-expired" });
        this.#checklist.untrigger(pair);
      }
      if (this.#nomination.kind === "nominating" && this.#nomination.pair === pair) this.#nomination = { kind: "open" };
      this.#log.debug("ice-consent-expired", { pair: pair.id });
      this.#outbox.event({ type: "pair-expired", pair: pair.info });
    }
  }

  #checkConsents(now: Millis): void {
    for (const pair of this.#checklist) {
      const { consent } = pair;
      if (!consent || consent.nextCheckAt > now) continue;
      pair.setConsent({ ...consent, nextCheckAt: nextConsentCheck(now, this.#random) });
      if (this.#generations.isRenewable(consent.generation)) this.#send(now, pair, "consent", consent.generation, null);
    }
  }

  // Nomination

  get #renominates(): boolean {
    return this.#generations.current.remote?.parameters.options.includes(RENOMINATION) ?? false;
  }

  #validPairs(): CandidatePair[] {
    const { current } = this.#generations;
    return [...this.#checklist].filter((pair) => pair.consent?.generation === current);
  }

  /** What the controlling side should nominate, and when; null when there is nothing to do. */
  #nominee(): { readonly pair: CandidatePair; readonly at: Millis } | null {
    if (this.#role !== "controlling" || this.#nomination.kind === "nominating") return null;
    if (!this.#transactions.hasRoom) return null;
    const best = chooseNominee(this.#validPairs());
    if (!best?.consent) return null;
    if (this.#nomination.kind === "nominated") {
      if (!this.#renominates || !deservesRenomination(this.#nomination.pair, best)) return null;
    }
    const patience = this.#checklist.hasUnresolvedAbove(best.priority) ? settleMs(best) : 0;
    return { pair: best, at: best.consent.since + patience };
  }

  #nominate(now: Millis): void {
    const nominee = this.#nominee();
    if (!nominee || nominee.at > now) return;
    const value = this.#renominates ? ++this.#nominationCount : null;
    const transaction = this.#send(now, nominee.pair, "nomination", this.#generations.current, { value });
    if (transaction) this.#nomination = { kind: "nominating", pair: nominee.pair };
  }

  #nominationFailed(pair: CandidatePair): void {
    if (this.#nomination.kind === "nominating" && this.#nomination.pair === pair) this.#nomination = { kind: "open" };
  }

  #acceptNomination(pair: CandidatePair, nominate: Nominate): void {
    const next = { pair, value: this.#renominates ? nominate.value : null };
    const current = this.#selected?.pair.consent?.generation === this.#generations.current ? this.#selected : null;
    if (supersedesNomination(current, next)) this.#select(pair, next.value);
  }

  #select(pair: CandidatePair, value: number | null): void {
    if (this.#role === "controlling") this.#nomination = { kind: "nominated", pair };
    const again = this.#selected?.pair === pair && pair.nominated && this.#completed;
    for (const other of this.#checklist) if (other.nominated) other.setNominated(false);
    pair.setNominated(true);
    this.#selected = { pair, value };
    if (again) return;
    this.#log.debug("ice-nominated", { pair: pair.id });
    this.#outbox.event({ type: "nominated", pair: pair.info });
    if (this.#completed) return;
    this.#completed = true;
    this.#outbox.event({ type: "completed" });
  }

  #switchRole(role: IceRole): void {
    if (role === this.#role) return;
    this.#role = role;
    this.#checklist.setRole(role);
    this.#transactions.deleteWhere(({ kind }) => kind === "nomination");
    this.#nomination = { kind: "open" };
    this.#log.debug("ice-role-changed", { role });
    this.#outbox.event({ type: "role-changed", role });
  }

  // The whole

  /** A new pair, or one to check again: what had failed goes on. */
  #resume(now: Millis): void {
    if (this.#phase.kind === "failed" && this.#checklist.hasWork) {
      this.#phase = { kind: "checking", patientUntil: now };
    }
    this.#progress(now);
  }

  /** After every change: what can be done now. */
  #progress(now: Millis): void {
    if (this.#phase.kind === "closed") return;
    this.#deadline = undefined;
    this.#startCheck(now);
    this.#nominate(now);
    if (this.#hasFailed && this.#phase.kind === "checking" && this.#phase.patientUntil <= now) {
      this.#phase = { kind: "failed" };
      const reason = this.#failure();
      this.#log.debug("ice-failed", { reason });
      this.#outbox.event({ type: "failed", reason });
    }
  }

  get #hasFailed(): boolean {
    if (!this.#localEnded || !this.#remoteEnded || !this.#checklist.allFailed) return false;
    for (const pair of this.#checklist) if (pair.valid) return false;
    return true;
  }

  #failure(): string {
    const count = this.#checklist.size;
    if (count === 0) {
      const locals = this.#candidates.locals.length;
      const remotes = [...this.#candidates.remotes].length;
      return `no candidate pair could be formed (${locals} local and ${remotes} remote candidates)`;
    }
    const reasons = new Map<string, number>();
    for (const { state } of this.#checklist) {
      const reason = state.kind === "failed" ? state.reason : state.kind;
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    const text = [...reasons].map(([reason, times]) => `${reason}: ${times}`).join(", ");
    return `none of ${count} candidate pairs works (${text})`;
  }

  #computeDeadline(): Deadline | null {
    if (this.#phase.kind === "closed") return null;
    let deadline: Deadline | null = null;
    const at = (when: Millis | null, reason: string) => {
      if (when !== null) deadline = earliest(deadline, { at: when, reason });
    };
    if (this.#generations.current.remote && this.#transactions.hasRoom && this.#checklist.hasWork)
      at(this.#nextCheckAt, "ice-check");
    at(this.#transactions.nextAt, "ice-transaction");
    for (const { consent } of this.#checklist) {
      if (consent) at(Math.min(consent.nextCheckAt, consent.expiresAt), "ice-consent");
    }
    at(this.#nominee()?.at ?? null, "ice-nomination");
    at(this.#generations.previousEndsAt, "ice-old-generation");
    if (this.#phase.kind === "checking" && this.#hasFailed) at(this.#phase.patientUntil, "ice-patience");
    return deadline;
  }
}

const dropped = (reason: IceDropReason): IceReceipt => ({ kind: "dropped", reason });
