import { type Millis, utf8 } from "@adit/core";
import type { IceParameters } from "./parameters.ts";

export interface RemoteSide {
  readonly parameters: IceParameters;
  /** Signs our requests and verifies their answers. */
  readonly key: Uint8Array;
  /** USERNAME of our requests. */
  readonly username: string;
}

/** One run of ICE between two restarts (RFC 8445 §9): the credentials of both sides. */
export class Generation {
  readonly local: IceParameters;
  /** Verifies requests to us and signs the answers. */
  readonly localKey: Uint8Array;
  #remote: RemoteSide | null = null;

  constructor(local: IceParameters) {
    this.local = local;
    this.localKey = utf8(local.pwd);
  }

  /** Null until the peer's parameters arrived. */
  get remote(): RemoteSide | null {
    return this.#remote;
  }

  setRemote(parameters: IceParameters): void {
    // RFC 8445 §7.2.2: the peer's username fragment, a colon, the sender's.
    const username = `${parameters.ufrag}:${this.local.ufrag}`;
    this.#remote = { parameters, key: utf8(parameters.pwd), username };
  }
}

/** How long requests to the generation before are answered once the current one carries data: what is left of its consents. */
export const RETIREMENT_MS = 30_000;

/**
 * The generation in force and, after a restart, the last one that had a valid pair: its pairs carry data until the current one
 * has one (RFC 8445 §9), then their consent runs out without being renewed.
 */
export class Generations {
  #current: Generation;
  #previous: { readonly generation: Generation; readonly endsAt: Millis | null } | null = null;

  constructor(first: Generation) {
    this.#current = first;
  }

  get current(): Generation {
    return this.#current;
  }

  get previous(): Generation | null {
    return this.#previous?.generation ?? null;
  }

  /** When the previous one is forgotten; null when there is none, or it is still needed. */
  get previousEndsAt(): Millis | null {
    return this.#previous?.endsAt ?? null;
  }

  /** @param carriesData whether the current generation has a valid pair: if not, the one before keeps its place. */
  restart(next: Generation, carriesData: boolean): void {
    if (carriesData) this.#previous = { generation: this.#current, endsAt: null };
    else if (this.#previous) this.#previous = { ...this.#previous, endsAt: null };
    this.#current = next;
  }

  /** The current generation has a valid pair. */
  retirePrevious(now: Millis): void {
    if (this.#previous?.endsAt === null) this.#previous = { ...this.#previous, endsAt: now + RETIREMENT_MS };
  }

  handleTimeout(now: Millis): void {
    if (this.#previous?.endsAt != null && this.#previous.endsAt <= now) this.#previous = null;
  }

  /** The generation that a request to `ufrag` belongs to. */
  byLocalUfrag(ufrag: string): Generation | null {
    if (ufrag === this.#current.local.ufrag) return this.#current;
    return ufrag === this.previous?.local.ufrag ? this.previous : null;
  }

  /** Whether consent of that generation is still renewed. */
  isRenewable(generation: Generation): boolean {
    return generation === this.#current || (generation === this.previous && this.previousEndsAt === null);
  }
}
