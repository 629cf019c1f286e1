import { isRelaySocket, type Millis, randomU64, type SocketAddress, type SocketId } from "@adit/core";
import type { AgentState } from "./agent-state.ts";
import type { IceDropReason, IceReceipt } from "./agent-types.ts";
import type { CheckRunner } from "./check-runner.ts";
import {
  type CheckContent,
  encodeError,
  encodeSuccess,
  hasWrongFingerprint,
  readCheck,
  receiverUfrag,
  settleRoles,
  unknownInCheck,
  whyUnauthentic,
} from "./checks.ts";
import { freshConsent } from "./consent.ts";
import type { Nominator } from "./nominator.ts";
import { type CandidatePair, type IceRole, pairId } from "./pair.ts";
import { EarlyChecks, SeenRequests } from "./seen-requests.ts";
import { getErrorCode, getXorAddress } from "./stun/attributes.ts";
import { verifyIntegrity } from "./stun/integrity.ts";
import { decodeStun, isStun, type StunMessage } from "./stun/message.ts";
import { STUN_ATTRIBUTE, STUN_ERROR, STUN_METHOD } from "./stun/tables.ts";
import { type Transaction, wasRepeated } from "./transactions.ts";

export const dropped = (reason: IceDropReason): IceReceipt => ({ kind: "dropped", reason });

/** Takes datagrams: answers checks, and matches answers to our own. Nothing counts before it is proved authentic. */
export class Receiver {
  readonly #state: AgentState;
  readonly #checks: CheckRunner;
  readonly #nominator: Nominator;
  readonly #early = new EarlyChecks();
  readonly #seen = new SeenRequests();

  constructor(state: AgentState, checks: CheckRunner, nominator: Nominator) {
    this.#state = state;
    this.#checks = checks;
    this.#nominator = nominator;
  }

  receive(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): IceReceipt {
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

  /** The peer's parameters are there: acts on the checks that came before them. */
  begin(now: Millis): void {
    for (const early of this.#early.take()) this.#actOnCheck(now, early.socket, early.from, early.content);
  }

  restart(): void {
    this.#early.take();
  }

  /** To the role that a conflict, or what the peer is, leaves to us. */
  switchRole(role: IceRole): void {
    if (role === this.#state.role) return;
    this.#state.role = role;
    this.#state.checklist.setRole(role);
    this.#nominator.roleChanged();
    this.#state.log.debug("ice-role-changed", { role });
    this.#state.outbox.event({ type: "role-changed", role });
  }

  #handleRequest(now: Millis, socket: SocketId, from: SocketAddress, message: StunMessage): IceReceipt {
    const { generations, checklist, outbox } = this.#state;
    const ufrag = receiverUfrag(message);
    const generation = ufrag === null ? null : generations.byLocalUfrag(ufrag);
    if (!generation) return dropped("username");
    const key = generation.localKey;
    const flaw = whyUnauthentic(message, key);
    if (flaw) return dropped(flaw);
    if (!this.#mayAnswer(socket, from)) return dropped("policy");
    if (this.#seen.isReplay(message.transactionId, socket, from)) return dropped("replayed");
    const answer = (data: Uint8Array) => outbox.transmit({ data, socket, to: from });
    const known = () => checklist.get(pairId(socket, from))?.id ?? null;
    const reading = readCheck(message);
    if (reading.kind === "refuse") {
      answer(encodeError(message, reading.error, key));
      return dropped(reading.reason);
    }
    if (generation !== generations.current) {
      checklist.get(pairId(socket, from))?.noteRequestReceived();
      answer(encodeSuccess(message, from, key));
      return { kind: "request", pair: known() };
    }
    const { content } = reading;
    const roles = settleRoles(this.#state.role, this.#state.tieBreaker, content.role);
    if (roles === "refuse") {
      answer(encodeError(message, { code: STUN_ERROR.ROLE_CONFLICT }, key));
      return dropped("role-conflict");
    }
    if (roles === "switch") this.switchRole(otherRole(this.#state.role));
    answer(encodeSuccess(message, from, key));
    if (generation.remote === null) {
      this.#early.add({ socket, from, content });
      return { kind: "request", pair: known() };
    }
    return { kind: "request", pair: this.#actOnCheck(now, socket, from, content)?.id ?? null };
  }

  /** The rules hold for who asks, too. With policy `relay` only relays are to learn our own address: a check that came around them is not answered. */
  #mayAnswer(socket: SocketId, from: SocketAddress): boolean {
    const { policy, candidates } = this.#state;
    if (!this.#state.admitsRemote(from)) return false;
    return policy === "all" || isRelaySocket(socket) || candidates.remote(from)?.type === "relay";
  }

  /** What an authentic check brings about: perhaps a candidate and a pair (§7.3.1.3), a triggered check (§7.3.1.4), a nomination (§7.3.1.5). */
  #actOnCheck(now: Millis, socket: SocketId, from: SocketAddress, content: CheckContent): CandidatePair | null {
    const remote = this.#state.candidates.learnRemote(socket, from, content.priority);
    const pair = remote && this.#state.formPair(socket, remote);
    if (!pair) return null;
    pair.noteRequestReceived();
    const nominate = this.#state.role === "controlled" ? content.nominate : null;
    if (pair.state.kind === "succeeded") {
      if (nominate) this.#nominator.accept(pair, nominate);
      return pair;
    }
    if (nominate) pair.pendingNomination = nominate;
    this.#checks.trigger(now, pair);
    return pair;
  }

  #handleResponse(now: Millis, socket: SocketId, from: SocketAddress, message: StunMessage): IceReceipt {
    const { transactions, checklist } = this.#state;
    const transaction = transactions.get(message.transactionId);
    if (!transaction || !checklist.has(transaction.pair)) return dropped("unknown-transaction");
    const { pair } = transaction;
    // §7.2.5.2.1: an answer from elsewhere is none. The check is not failed for it, as that would let others fail it.
    if (pair.socket !== socket || !pair.remote.address.equals(from)) return dropped("wrong-path");
    if (hasWrongFingerprint(message)) return dropped("fingerprint");
    if (!verifyIntegrity(message, transaction.answerKey)) {
      pair.forgedAnswers++;
      return dropped("integrity");
    }
    if (unknownInCheck(message).length > 0) return dropped("unknown-attribute");
    if (message.class === "error") {
      transactions.delete(transaction);
      this.#handleError(now, transaction, getErrorCode(message)?.code ?? null);
      return dropped("error-response");
    }
    const mapped = getXorAddress(message, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS);
    if (!mapped) return dropped("malformed");
    transactions.delete(transaction);
    return this.#handleSuccess(now, transaction, mapped);
  }

  #handleSuccess(now: Millis, transaction: Transaction, mapped: SocketAddress): IceReceipt {
    const { generations, candidates, outbox, random, role } = this.#state;
    const { pair, generation, nominate, kind, data } = transaction;
    const rttMs = now - transaction.firstSentAt;
    const repeated = wasRepeated(transaction);
    pair.noteResponse(repeated && pair.rttMs !== null ? pair.rttMs : rttMs);
    const local = candidates.mapped(pair.local, mapped);
    if (local) pair.setMapped(local);
    const isCurrent = generation === generations.current;
    const wasValid = pair.consent?.generation === generation;
    if (isCurrent || (wasValid && generations.isRenewable(generation))) {
      pair.setConsent(freshConsent(now, generation, random, wasValid ? pair.consent : null));
    }
    if (kind === "padded-probe") outbox.event({ type: "size-answered", pair: pair.info, bytes: data.length });
    else outbox.event({ type: "check-answered", pair: pair.info, rttMs, repeated });
    if (isCurrent && !wasValid) this.#becomeValid(now, pair);
    if (isCurrent && nominate && role === "controlling") this.#nominator.succeeded(pair, nominate);
    return { kind: "response", pair: pair.id, rttMs };
  }

  #becomeValid(now: Millis, pair: CandidatePair): void {
    const { transactions, checklist, generations, outbox, log, role } = this.#state;
    if (pair.state.kind === "in-progress") transactions.supersede(now, pair.state.transactionId);
    checklist.untrigger(pair);
    pair.setState({ kind: "succeeded", since: now });
    generations.retirePrevious(now);
    checklist.thaw(pair.foundation);
    log.debug("ice-pair-valid", { pair: pair.id, rttMs: pair.rttMs });
    outbox.event({ type: "pair-valid", pair: pair.info });
    const { pendingNomination } = pair;
    pair.pendingNomination = null;
    if (pendingNomination && role === "controlled") this.#nominator.accept(pair, pendingNomination);
  }

  #handleError(now: Millis, transaction: Transaction, code: number | null): void {
    const { pair, kind, generation } = transaction;
    // RFC 7675 §5.2: consent "is immediately revoked by ... receipt of a valid and authenticated STUN response with error code Forbidden
    // (403)".
    if (code === STUN_ERROR.FORBIDDEN && pair.consent?.generation === generation) {
      this.#endConsent(now, pair, "consent-revoked");
      return;
    }
    if (generation !== this.#state.generations.current) return;
    const isCheck = pair.state.kind === "in-progress" && pair.state.transactionId === transaction.key;
    if (code === STUN_ERROR.ROLE_CONFLICT) {
      // §7.2.5.1: what counts is the role that the request claimed, as we may have switched since. "The agent MUST change the
      // tiebreaker value."
      this.switchRole(otherRole(transaction.role));
      this.#state.tieBreaker = randomU64(this.#state.random);
      if (isCheck) this.#checks.trigger(now, pair);
      return;
    }
    // §7.2.5.2.4: a redirect (300) or a refusal (4xx, 5xx) of a check is final. Probes and consent are no checks (RFC 7675 §5.1).
    this.#state.log.debug("ice-error-response", { pair: pair.id, code });
    if (isCheck) this.#state.fail(now, pair, "error-response");
    // §7.2.5.3.4: "the agent MUST remove the candidate pair from the valid list": the peer may turn a nomination down (§7.3.1.5).
    if (kind === "nomination") this.#endConsent(now, pair, "error-response");
  }

  #endConsent(now: Millis, pair: CandidatePair, reason: "consent-revoked" | "error-response"): void {
    this.#state.endConsent(now, pair, reason);
    this.#nominator.failed(pair);
  }
}

const otherRole = (role: IceRole): IceRole => (role === "controlling" ? "controlled" : "controlling");
