import type { Deadline, Millis } from "@adit/core";
import { type Candidate, type IceAgent, type IceParameters, isUdpCandidate } from "@adit/ice";
import type { ControlMessage, SignaledCandidate } from "@adit/signaling";

export type TrickleMessage = Extract<ControlMessage, { type: "candidate" }>;

/** What each side tells the other of where it may be reached: in the offer or the answer, and after it one by one (RFC 8838). */
export class CandidateExchange {
  readonly #ice: IceAgent;
  readonly #trickle: (message: TrickleMessage) => void;
  readonly #locals: SignaledCandidate[] = [];
  #isAnnounced = false;
  #boostAt: Millis | null = null;

  constructor(ice: IceAgent, trickle: (message: TrickleMessage) => void) {
    this.#ice = ice;
    this.#trickle = trickle;
  }

  /** The candidates go out in an offer or an answer; those that come later trickle. */
  announce(): readonly SignaledCandidate[] {
    this.#isAnnounced = true;
    return this.#locals;
  }

  /** ICE has a candidate of ours. */
  handleLocal(found: Candidate): void {
    if (!isUdpCandidate(found)) return; // there are no others: peers have UDP and relays
    const { foundation, component, transport, priority, address, type, related } = found;
    const candidate: SignaledCandidate = { foundation, component, transport, priority, address, type, related };
    this.#locals.push(candidate);
    if (this.#isAnnounced) this.#trickle({ type: "candidate", ufrag: this.#ice.local.ufrag, candidate });
  }

  /** Nothing more will come by itself. */
  endLocal(now: Millis): void {
    if (!this.#isAnnounced) return;
    this.#ice.endOfLocalCandidates(now);
    this.#trickle({ type: "candidate", ufrag: this.#ice.local.ufrag, candidate: null });
  }

  addRemote(now: Millis, ice: IceParameters, candidates: readonly Candidate[]): void {
    this.#ice.setRemoteParameters(now, ice);
    for (const candidate of candidates) this.#ice.addRemoteCandidate(now, candidate);
  }

  /** One of the peer's came by itself; null: that was the last. */
  handleTrickle(now: Millis, ufrag: string, candidate: Candidate | null): void {
    if (this.#ice.remote?.ufrag !== ufrag) return;
    if (candidate) this.#ice.addRemoteCandidate(now, candidate);
    else this.#ice.endOfRemoteCandidates(now);
  }

  /** The intermediate says that both sides are about to punch: not waited for, it only raises the pace of checks. */
  handleStartPunching(now: Millis, delayMs: Millis, candidates: readonly Candidate[]): void {
    for (const candidate of candidates) this.#ice.addRemoteCandidate(now, candidate);
    this.#boostAt = now + delayMs;
  }

  handleTimeout(now: Millis): void {
    if (this.#boostAt === null || now < this.#boostAt) return;
    this.#boostAt = null;
    this.#ice.boost(now);
  }

  pollTimeout(): Deadline | null {
    return this.#boostAt === null ? null : { at: this.#boostAt, reason: "start punching" };
  }
}
