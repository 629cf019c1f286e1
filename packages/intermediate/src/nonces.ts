/**
 * Nonces of the long-term credential mechanism (RFC 8489 §9.2), without a table of them: a nonce is its own expiry and a MAC over
 * expiry and client address. Strangers ask for nonces for free, so remembering each would let them fill memory.
 */
import { createHmac } from "node:crypto";
import { equalSecret, type Millis, type Random, type SocketAddress, utf8 } from "@adit/core";

/** RFC 8489 §9.2: nonces expire; a client that comes with an old one gets 438 and a fresh one, which costs it one round trip. */
export const NONCE_LIFETIME_MS = 600_000;

const EXPIRY_DIGITS = 12;
const MAC_DIGITS = 32;

export class Nonces {
  readonly #secret: Uint8Array;

  constructor(random: Random) {
    this.#secret = random.bytes(32);
  }

  /** 44 hexadecimal digits: expiry in ms (12), MAC (32). */
  issue(now: Millis, client: SocketAddress): string {
    const expiry = Math.floor(now + NONCE_LIFETIME_MS)
      .toString(16)
      .padStart(EXPIRY_DIGITS, "0");
    return expiry + this.#mac(expiry, client);
  }

  /** Whether this nonce was issued by this server to this client address and stands. */
  check(now: Millis, client: SocketAddress, nonce: string): boolean {
    if (nonce.length !== EXPIRY_DIGITS + MAC_DIGITS) return false;
    const expiry = nonce.slice(0, EXPIRY_DIGITS);
    const mac = utf8(this.#mac(expiry, client));
    return equalSecret(mac, utf8(nonce.slice(EXPIRY_DIGITS))) && Number.parseInt(expiry, 16) > now;
  }

  #mac(expiry: string, client: SocketAddress): string {
    return createHmac("sha256", this.#secret).update(`${expiry}|${client.key}`).digest("hex").slice(0, MAC_DIGITS);
  }
}
