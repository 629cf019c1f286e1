import type { PeerId } from "@adit/quic";
import type { Connect, Connected } from "@adit/signaling";
import type { SessionPeer } from "./session-host.ts";

/** A PeerId in base32; a name of a connector is shorter. */
const PEER_ID_LENGTH = 52;

/** Whom an agent's session leads to: what was asked for, and whom an intermediate found. */
export class Destination {
  readonly #target: string;
  readonly #expectedPeer: PeerId | null;
  #found: Connected | null = null;

  /** `target`: a name or a PeerId. `expectedPeer`: the key that it is pinned to, null for any. */
  constructor(target: string, expectedPeer: PeerId | null) {
    this.#target = target;
    this.#expectedPeer = expectedPeer;
  }

  /** The key that the connection has to prove; null while nobody was found. */
  get peerId(): PeerId | null {
    return this.#found?.peerId ?? null;
  }

  /** For people. */
  get peer(): SessionPeer {
    return {
      id: this.#found?.peerId ?? this.#expectedPeer ?? "",
      name: this.#found?.name ?? (this.#target.length === PEER_ID_LENGTH ? null : this.#target),
    };
  }

  /** What asks an intermediate for it the first time. */
  request(sessionId: bigint): Connect {
    return { type: "connect", sessionId, target: this.#target, expectedPeer: this.#expectedPeer };
  }

  /** The same at another intermediate, or once more: by its key as soon as that is known. */
  introduction(sessionId: bigint): Connect {
    const id = this.#found?.peerId ?? this.#expectedPeer;
    return { type: "connect", sessionId, target: id ?? this.#target, expectedPeer: id };
  }

  /** An intermediate found somebody; the first word counts. Returns why that is not who was asked for, else null. */
  handleFound(message: Connected): string | null {
    if (this.#expectedPeer !== null && message.peerId !== this.#expectedPeer) {
      return `the name leads to ${message.peerId}, and ${this.#expectedPeer} was expected`;
    }
    this.#found ??= message;
    return null;
  }
}
