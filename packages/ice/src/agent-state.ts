import {
  type Logger,
  type Millis,
  nullLogger,
  type Random,
  randomU64,
  type SocketAddress,
  type SocketId,
} from "@adit/core";
import type { IceAgentOptions } from "./agent-types.ts";
import { type Candidate, isRelayedLocal, type LocalCandidate } from "./candidate.ts";
import { CandidateStore } from "./candidate-store.ts";
import { Checklist } from "./checklist.ts";
import { Generation, Generations } from "./generation.ts";
import { Outbox } from "./outbox.ts";
import type { CandidatePair, ConsentEnd, IceRole, PairFailure } from "./pair.ts";
import { DEFAULT_TA_MS, generateParameters, MIN_TA_MS, taOption } from "./parameters.ts";
import { Rules } from "./rules.ts";
import { Transactions } from "./transactions.ts";

/** The ice-option by which both sides must say that they know how to renominate. */
const RENOMINATION = "renomination";

/** What the parts of an agent share, and the few things that all of them do. */
export class AgentState {
  readonly random: Random;
  readonly log: Logger;
  readonly policy: "all" | "relay";
  readonly rules: Rules;
  readonly isServer: (address: SocketAddress) => boolean;
  readonly ownTaMs: Millis;
  /** Stays for the session, but for a 487 (RFC 8445 §16.1). */
  tieBreaker: bigint;
  readonly candidates = new CandidateStore();
  readonly checklist: Checklist;
  readonly transactions = new Transactions();
  readonly generations: Generations;
  readonly outbox = new Outbox();
  role: IceRole;

  constructor(options: IceAgentOptions) {
    this.random = options.random;
    this.role = options.role;
    this.log = options.log ?? nullLogger;
    this.policy = options.policy ?? "all";
    this.rules = new Rules(options.rules);
    this.isServer = options.isServer ?? (() => false);
    this.ownTaMs = Math.max(MIN_TA_MS, options.taMs ?? DEFAULT_TA_MS);
    this.tieBreaker = options.tieBreaker ?? randomU64(options.random);
    this.checklist = new Checklist(options.maxPairs);
    this.generations = new Generations(this.newGeneration());
  }

  newGeneration(): Generation {
    const options = ["ice2", "trickle", RENOMINATION];
    if (this.ownTaMs !== DEFAULT_TA_MS) options.push(taOption(this.ownTaMs));
    return new Generation(generateParameters(this.random, options));
  }

  isAnnounced(candidate: LocalCandidate): boolean {
    if (candidate.type === "prflx" || !this.rules.isAnnounced(candidate.type)) return false;
    return this.policy === "all" || candidate.type === "relay";
  }

  /** Whether checks may go to an address, and be answered from there. */
  admitsRemote(address: SocketAddress): boolean {
    return this.rules.admits(address) && !this.isServer(address);
  }

  /** The pair of a socket and a remote candidate, made or improved; null when they do not pair, by policy or by the bound. */
  formPair(socket: SocketId, remote: Candidate): CandidatePair | null {
    const local = this.candidates.bestLocal(socket, remote);
    if (!local) return null;
    if (this.policy === "relay" && !isRelayedLocal(local) && remote.type !== "relay") return null;
    return this.checklist.form(local, remote, this.role);
  }

  /** Whether both sides have announced renomination. */
  get renominates(): boolean {
    return this.generations.current.remote?.parameters.options.includes(RENOMINATION) ?? false;
  }

  /** Pairs that a check of the current generation made valid. */
  get validPairs(): CandidatePair[] {
    return [...this.checklist].filter((pair) => pair.consent?.generation === this.generations.current);
  }

  /** No check is sent: nobody ever answered, or consent ended and this generation's credentials are spent on the path (RFC 7675 §5.1). */
  isBarred(pair: CandidatePair): boolean {
    if (pair.exhausted) return true;
    const { state } = pair;
    return state.kind === "failed" && (state.reason === "consent-expired" || state.reason === "consent-revoked");
  }

  /** Sending on a pair must stop, and only a new generation brings it back (RFC 7675 §5.1, §5.2). */
  endConsent(now: Millis, pair: CandidatePair, reason: ConsentEnd): void {
    const generation = pair.consent?.generation;
    pair.setConsent(null);
    // Late answers must not bring it back.
    this.transactions.deleteWhere((one) => one.pair === pair && one.generation === generation);
    if (generation === this.generations.current) {
      this.checklist.untrigger(pair);
      pair.setState({ kind: "failed", since: now, reason });
    }
    this.log.debug("ice-consent-ended", { pair: pair.id, reason });
    this.outbox.event({ type: "pair-expired", pair: pair.info });
  }

  fail(now: Millis, pair: CandidatePair, reason: PairFailure): void {
    this.checklist.untrigger(pair);
    pair.setState({ kind: "failed", since: now, reason });
    this.log.debug("ice-pair-failed", { pair: pair.id, reason });
    this.outbox.event({ type: "pair-failed", pair: pair.info, reason });
  }
}
