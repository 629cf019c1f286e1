/**
 * Nonces of the long-term credential mechanism (RFC 8489 §9.2), without a table of them: a nonce is its own expiry and a MAC over
 * expiry and client address. Strangers ask for nonces for free, so remembering each would let them fill memory.
 */
import { createHmac } from "node:crypto";
import { equalSecret, type Millis, type Random, type SocketAddress, utf8 } from "@adit/core";

/** RFC 8489 §9.2: nonces expire; a client that comes with an old one gets 438 and a fresh one, which costs it one round trip. */
export const NONCE_LIFETIME_MS = 600_000;

/**
 * RFC 8489 §9.2: a nonce that begins with "obMatJos2" carries 24 bits of security features, base64, behind it. Bit 0 says that
 * PASSWORD-ALGORITHMS comes along, so that nobody on the way can take it out unseen. It is "the leftmost bit" (§18.1), and the rightmost for
 * those who read the sample in appendix B.1; the other one is unassigned for either, so both are set.
 */
const COOKIE = "obMatJos2gAAB";

/** In bytes; base64 makes 4 characters of 3. Every character is a byte that strangers are sent for their 28. */
const EXPIRY_BYTES = 6;
const MAC_BYTES = 12;

/** 37 characters: cookie and features (13), expiry in ms and MAC in base64 (24). */
const NONCE_LENGTH = COOKIE.length + ((EXPIRY_BYTES + MAC_BYTES) / 3) * 4;

export class Nonces {
  readonly #secret: Uint8Array;

  constructor(random: Random) {
    this.#secret = random.bytes(32);
  }

  issue(now: Millis, client: SocketAddress): string {
    const expiry = Buffer.alloc(EXPIRY_BYTES);
    expiry.writeUIntBE(Math.floor(now + NONCE_LIFETIME_MS), 0, EXPIRY_BYTES);
    return this.#nonce(expiry, client);
  }

  /** Whether this nonce was issued by this server to this client address and stands. */
  check(now: Millis, client: SocketAddress, nonce: string): boolean {
    if (nonce.length !== NONCE_LENGTH || !nonce.startsWith(COOKIE)) return false;
    const expiry = Buffer.from(nonce.slice(COOKIE.length), "base64").subarray(0, EXPIRY_BYTES);
    if (expiry.length !== EXPIRY_BYTES) return false;
    return equalSecret(utf8(this.#nonce(expiry, client)), utf8(nonce)) && expiry.readUIntBE(0, EXPIRY_BYTES) > now;
  }

  #nonce(expiry: Buffer, client: SocketAddress): string {
    const mac = createHmac("sha256", this.#secret).update(expiry).update(client.key).digest().subarray(0, MAC_BYTES);
    return COOKIE + Buffer.concat([expiry, mac]).toString("base64");
  }
}
