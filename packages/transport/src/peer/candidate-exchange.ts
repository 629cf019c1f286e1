import type { Deadline, Millis } from "@adit/core";
import { type Candidate, type IceAgent, type IceParameters, isUdpCandidate, type LocalCandidateInit } from "@adit/ice";
import type { ControlMessage, SignaledCandidate } from "@adit/signaling";

export type TrickleMessage = Extract<ControlMessage, { type: "candidate" }>;

/** What each side tells the other of where it may be reached: in the offer or the answer, and after it one by one (RFC 8838). */
export class CandidateExchange {
  readonly #ice: IceAgent;
  readonly #trickle: (message: TrickleMessage) => void;
  /** What ICE was told of, as it was: other things become of it there. */
  #given: readonly LocalCandidateInit[] = [];
  #isAnnounced = false;
  #boostAt: Millis | null = null;

  constructor(ice: IceAgent, trickle: (message: TrickleMessage) => void) {
    this.#ice = ice;
    this.#trickle = trickle;
  }

  /** All that we have now. What is new is told, what is ours no more is left out of the next restart. */
  setLocal(now: Millis, candidates: readonly LocalCandidateInit[]): void {
    for (const former of this.#given) {
      if (!candidates.some((one) => isSame(one, former))) this.#ice.removeLocalCandidate(former);
    }
    this.#given = candidates;
    for (const candidate of candidates) this.#ice.addLocalCandidate(now, candidate);
  }

  /** The candidates go out in an offer or an answer; those that come later trickle. */
  announce(): readonly SignaledCandidate[] {
    this.#isAnnounced = true;
    return this.#ice.localCandidates.flatMap((candidate) => signaled(candidate) ?? []);
  }

  /** ICE has a candidate of ours. */
  handleLocal(found: Candidate): void {
    const candidate = signaled(found);
    if (!candidate || !this.#isAnnounced) return;
    this.#trickle({ type: "candidate", ufrag: this.#ice.local.ufrag, candidate });
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

/** Null: there are no others than UDP's here. */
function signaled(found: Candidate): SignaledCandidate | null {
  if (!isUdpCandidate(found)) return null;
  const { foundation, component, transport, priority, address, type, related } = found;
  return { foundation, component, transport, priority, address, type, related };
}

const isSame = (a: LocalCandidateInit, b: LocalCandidateInit): boolean =>
  a.type === b.type && a.socket === b.socket && a.address.equals(b.address);
