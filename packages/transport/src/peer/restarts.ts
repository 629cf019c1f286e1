import type { Millis } from "@adit/core";
import { type IceAgent, type IceParameters, isUdpCandidate } from "@adit/ice";
import { Generations } from "./generations.ts";
import type { RestartMessage } from "./session.ts";

/** The agent's ICE restarts (RFC 8445 §9): one at a time, as an answer does not say which restart it answers. */
export class Restarts {
  readonly #ice: IceAgent;
  readonly #answered = new Generations();
  /** Our parameters of a restart that the peer has not answered yet. */
  #pending: IceParameters | null = null;

  constructor(ice: IceAgent) {
    this.#ice = ice;
  }

  /** The peer's parameters in its answer to the offer. */
  handleFirst(ice: IceParameters): void {
    this.#answered.add(ice.ufrag);
  }

  /** Begins one, unless an earlier one is still unanswered, which is asked again as it was. */
  begin(now: Millis): { readonly message: RestartMessage; readonly isNew: boolean } {
    const isNew = this.#pending === null;
    this.#pending ??= this.#ice.restart(now);
    const candidates = this.#ice.localCandidates.filter(isUdpCandidate);
    return { message: { type: "restart", ice: this.#pending, candidates, answer: false }, isNew };
  }

  /** Whether the message is the answer that is waited for, and not a late copy of an earlier one. */
  admits(message: RestartMessage): boolean {
    if (!message.answer || this.#pending === null || this.#answered.has(message.ice.ufrag)) return false;
    this.#pending = null;
    this.#answered.add(message.ice.ufrag);
    return true;
  }
}
