import { createHash } from "node:crypto";
import { utf8 } from "@adit/core";
import { getBytes, getNonce, getRealm } from "./attributes.ts";
import type { StunBuilder } from "./builder.ts";
import { longTermKey, longTermKeySha256, opaqueString, verifyIntegrity, verifyIntegritySha256 } from "./integrity.ts";
import type { StunMessage } from "./message.ts";
import { PASSWORD_ALGORITHM, STUN_ATTRIBUTE } from "./tables.ts";

/** What a user knows. */
export interface LongTermCredentials {
  /** As the server knows the user; 508 bytes of UTF-8 at most. */
  readonly username: string;
  /** Never logged, and never sent. */
  readonly password: string;
}

/** What a 401 or 438 asks for (RFC 8489 §9.2.5). */
export interface Challenge {
  /** REALM, as it came. */
  readonly realm: string;
  /** NONCE, as it came. */
  readonly nonce: string;
  /** The server wants USERHASH instead of USERNAME. */
  readonly anonymous: boolean;
  /** The server lists password algorithms: `offered` is echoed as it came, so that nobody on the way can shorten the list. */
  readonly algorithms: { readonly offered: Uint8Array; readonly chosen: number } | null;
}

/**
 * Reads the challenge in a 401 or 438.
 * @returns null when it must not be answered: REALM or NONCE is missing, the nonce promises PASSWORD-ALGORITHMS that are not
 * there (a bid-down attack), or none of them is known.
 */
export function readChallenge(message: StunMessage): Challenge | null {
  const realm = getRealm(message);
  const nonce = getNonce(message);
  if (realm === null || nonce === null) return null;
  const features = securityFeatures(nonce);
  const offered = getBytes(message, STUN_ATTRIBUTE.PASSWORD_ALGORITHMS);
  if (!offered && features & FEATURE_PASSWORD_ALGORITHMS) return null;
  const anonymous = (features & FEATURE_USERNAME_ANONYMITY) !== 0;
  if (!offered) return { realm, nonce, anonymous, algorithms: null };
  const chosen = firstKnownAlgorithm(offered);
  return chosen === null ? null : { realm, nonce, anonymous, algorithms: { offered: offered.slice(), chosen } };
}

/** Long-term credentials applied to one challenge: signs requests and checks the answers to them (RFC 8489 §9.2). */
export class LongTermAuth {
  /** What it answers. */
  readonly challenge: Challenge;
  /** What it signs with. */
  readonly credentials: LongTermCredentials;
  readonly #key: Uint8Array;

  constructor(challenge: Challenge, credentials: LongTermCredentials) {
    const { username, password } = credentials;
    const sha256 = challenge.algorithms?.chosen === PASSWORD_ALGORITHM.SHA256;
    this.challenge = challenge;
    this.credentials = credentials;
    this.#key = (sha256 ? longTermKeySha256 : longTermKey)(username, challenge.realm, password);
  }

  /** Adds what authenticates the request, and builds it. */
  sign(builder: StunBuilder): Uint8Array {
    const { realm, nonce, anonymous, algorithms } = this.challenge;
    if (anonymous) builder.add(STUN_ATTRIBUTE.USERHASH, userHash(this.credentials.username, realm));
    else builder.string(STUN_ATTRIBUTE.USERNAME, opaqueString(this.credentials.username));
    // Echoed as they came: the server may send longer ones than a client may make up.
    builder.add(STUN_ATTRIBUTE.REALM, utf8(realm)).add(STUN_ATTRIBUTE.NONCE, utf8(nonce));
    if (!algorithms) return builder.build({ key: this.#key });
    builder.add(STUN_ATTRIBUTE.PASSWORD_ALGORITHMS, algorithms.offered);
    builder.u32(STUN_ATTRIBUTE.PASSWORD_ALGORITHM, algorithms.chosen << 16); // 16 bits algorithm, 16 bits length of no parameters
    return builder.build({ sha256Key: this.#key });
  }

  /** Whether a response carries the integrity that a request signed by {@link sign} asks for. */
  verify(response: StunMessage): boolean {
    // RFC 8489 §9.2.5: with PASSWORD-ALGORITHMS, MESSAGE-INTEGRITY-SHA256 only.
    return this.challenge.algorithms
      ? verifyIntegritySha256(response, this.#key)
      : verifyIntegrity(response, this.#key);
  }
}

/** USERHASH: SHA-256(username ":" realm), 32 bytes (RFC 8489 §14.4). */
export function userHash(username: string, realm: string): Uint8Array {
  return createHash("sha256")
    .update(`${opaqueString(username)}:${opaqueString(realm)}`)
    .digest();
}

/** RFC 8489 §9.2: a nonce that begins so carries 24 bits of security features, base64, behind it. */
const NONCE_COOKIE = "obMatJos2";
/**
 * Counted from either end: by §18.1 "Bit 0 is the leftmost bit and Bit 23 is the rightmost bit", and the sample of appendix B.1 has bit 1
 * where it is counted from the right. Whoever sets one of the two means it.
 */
const FEATURE_PASSWORD_ALGORITHMS = 0x80_00_01;
const FEATURE_USERNAME_ANONYMITY = 0x40_00_02;

function securityFeatures(nonce: string): number {
  if (!nonce.startsWith(NONCE_COOKIE)) return 0;
  const bits = Buffer.from(nonce.slice(NONCE_COOKIE.length, NONCE_COOKIE.length + 4), "base64");
  return bits.length === 3 ? bits.readUIntBE(0, 3) : 0;
}

/** PASSWORD-ALGORITHMS (RFC 8489 §14.11): algorithm, length of parameters, parameters padded to 4; the server's preference first. */
function firstKnownAlgorithm(offered: Uint8Array): number | null {
  for (let offset = 0; offset + 4 <= offered.length; ) {
    const algorithm = ((offered[offset] as number) << 8) | (offered[offset + 1] as number);
    const length = ((offered[offset + 2] as number) << 8) | (offered[offset + 3] as number);
    if (length === 0 && (algorithm === PASSWORD_ALGORITHM.MD5 || algorithm === PASSWORD_ALGORITHM.SHA256))
      return algorithm;
    offset += 4 + ((length + 3) & ~3);
  }
  return null;
}
