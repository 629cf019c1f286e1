/**
 * The three kinds of TURN credentials: those that signaling hands out to our own peers, named users, and the "REST" convention
 * (`username = expiry:id`, `password = base64(HMAC-SHA1(secret, username))`) that WebRTC services and coturn share.
 */
import { createHmac } from "node:crypto";
import { type Random, toBase32 } from "@adit/core";
import { longTermKey, longTermKeySha256 } from "@adit/ice";
import type { TurnOwner } from "./relay-policy.ts";

/** How long credentials from signaling admit a new allocation, s. They are renewed over signaling at half of it. */
export const CREDENTIAL_LIFETIME_S = 3600;

/** RFC 8489 §14.3: USERNAME is shorter than 509 bytes. */
const MAX_USERNAME_LENGTH = 508;

export interface CredentialsOptions {
  readonly realm: string;
  readonly random: Random;
  /** Unix time in seconds: the expiry in a user name is read by people's own scripts too. */
  unixSeconds(): number;
  /** `--turn-user NAME:PASSWORD`. */
  readonly users?: readonly { readonly name: string; readonly password: string }[];
  /** `--turn-secret`; any of them: an old one stays until what was made with it has expired. */
  readonly secrets?: readonly string[] | undefined;
}

/** What a user name may stand for; the message integrity decides which. */
export interface CredentialMatch {
  readonly owner: TurnOwner;
  /** The long-term key: 16 bytes of MD5, or 32 of SHA-256 (RFC 8489 §9.2.2, §18.5.1). */
  key(algorithm: "md5" | "sha256"): Uint8Array;
  /** Past its expiry: no new allocation, but a standing one is kept (whom it reaches is asked per packet anyway). */
  readonly expired: boolean;
}

export interface IssuedCredentials {
  readonly username: string;
  readonly password: string;
  readonly realm: string;
  readonly expiresInS: number;
}

export class Credentials {
  readonly realm: string;
  readonly #options: CredentialsOptions;
  /** Lives as long as the process: a restart ends every allocation, so it may end every password as well. */
  readonly #peerSecret: Uint8Array;
  readonly #users: ReadonlyMap<string, string>;

  constructor(options: CredentialsOptions) {
    this.realm = options.realm;
    this.#options = options;
    this.#peerSecret = options.random.bytes(32);
    this.#users = new Map((options.users ?? []).map(({ name, password }) => [name, password]));
  }

  /** Credentials for a peer that has proved its key over signaling. */
  issue(peerId: string): IssuedCredentials {
    const username = `${Math.floor(this.#options.unixSeconds()) + CREDENTIAL_LIFETIME_S}:${peerId}`;
    return {
      username,
      password: this.#peerPassword(username),
      realm: this.realm,
      expiresInS: CREDENTIAL_LIFETIME_S,
    };
  }

  /** Every credential that `username` may stand for: at most two, and one for each secret. */
  lookup(username: string): readonly CredentialMatch[] {
    if (username.length > MAX_USERNAME_LENGTH) return [];
    const matches: CredentialMatch[] = [];
    const match = (owner: TurnOwner, password: string, expired: boolean) =>
      matches.push({
        owner,
        key: (algorithm) => (algorithm === "sha256" ? longTermKeySha256 : longTermKey)(username, this.realm, password),
        expired,
      });

    const timed = /^(\d{1,15})(?::(.*))?$/s.exec(username);
    if (timed) {
      const expired = Number(timed[1]) <= this.#options.unixSeconds();
      const id = timed[2] ?? "";
      match({ kind: "peer", key: `peer:${id}`, peerId: id }, this.#peerPassword(username), expired);
      for (const secret of this.#options.secrets ?? []) {
        match({ kind: "foreign", key: `secret:${id}` }, restPassword(secret, username), expired);
      }
    }
    const password = this.#users.get(username);
    if (password !== undefined) match({ kind: "foreign", key: `user:${username}` }, password, false);
    return matches;
  }

  #peerPassword(username: string): string {
    return toBase32(createHmac("sha256", this.#peerSecret).update(username).digest());
  }
}

/** The password of the REST convention: base64 of HMAC-SHA1 over the user name, keyed with the shared secret. */
export function restPassword(secret: string, username: string): string {
  return createHmac("sha1", secret).update(username).digest("base64");
}
