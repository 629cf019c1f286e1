import { utf8 } from "@adit/core";
import type { IceParameters } from "./parameters.ts";

/** One run of ICE between two restarts (RFC 8445 §9): the credentials of both sides. */
export class Generation {
  readonly number: number;
  readonly local: IceParameters;
  /** Verifies requests to us and signs the answers. */
  readonly localKey: Uint8Array;
  #remote: { readonly parameters: IceParameters; readonly key: Uint8Array; readonly username: string } | null = null;

  constructor(number: number, local: IceParameters) {
    this.number = number;
    this.local = local;
    this.localKey = utf8(local.pwd);
  }

  /** Null until the peer's parameters arrived. `key` signs our requests and verifies their answers; `username` goes into requests. */
  get remote(): { readonly parameters: IceParameters; readonly key: Uint8Array; readonly username: string } | null {
    return this.#remote;
  }

  setRemote(parameters: IceParameters): void {
    // RFC 8445 §7.2.2: the username fragment of the peer, a colon, the username fragment of the sender.
    const username = `${parameters.ufrag}:${this.local.ufrag}`;
    this.#remote = { parameters, key: utf8(parameters.pwd), username };
  }
}
