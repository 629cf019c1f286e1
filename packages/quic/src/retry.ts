/**
 * Address validation with Retry (RFC 9000 §8.1.2): a server under load answers a first Initial with a token, and keeps nothing until the
 * token comes back from where it was sent to. The packet is built by hand, since the native library's binding does not offer it.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { concat, fromHex, type Random, utf8 } from "@adit/core";
import type { VirtualAddress } from "./types.ts";

/** How long a token may be on its way, ms: RFC 9000 §8.1.3 wants it short, and the client answers at once. */
export const RETRY_TOKEN_LIFETIME_MS = 10_000;

/** RFC 9001 §5.8, for QUIC version 1. They are no secret: the tag guards against damage and off-path packets. */
const INTEGRITY_KEY = fromHex("be0c690b9f66575a1d766b54e368c84e");
const INTEGRITY_NONCE = fromHex("461599d35d632bf2239825bb");

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const TIME_BYTES = 8;

/** Seals what a server would otherwise have to remember. The key lives as long as the object. */
export class RetryTokens {
  readonly #random: Random;
  readonly #key: Uint8Array;

  constructor(random: Random) {
    this.#random = random;
    this.#key = random.bytes(32);
  }

  /** A token for the client at `remote`, whose first Initial went to `originalId`, and the next goes to `retryId`. */
  seal(now: number, originalId: Uint8Array, retryId: Uint8Array, remote: VirtualAddress): Uint8Array {
    const time = new Uint8Array(TIME_BYTES);
    new DataView(time.buffer).setFloat64(0, now);
    const nonce = this.#random.bytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonce).setAAD(boundTo(retryId, remote));
    return concat(nonce, cipher.update(concat(time, originalId)), cipher.final(), cipher.getAuthTag());
  }

  /** The original connection ID; null for a token that is not ours, too old, from another address or for another connection ID. */
  open(now: number, token: Uint8Array, retryId: Uint8Array, remote: VirtualAddress): Uint8Array | null {
    if (token.length < NONCE_BYTES + TIME_BYTES + TAG_BYTES) return null;
    const decipher = createDecipheriv("aes-256-gcm", this.#key, token.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(boundTo(retryId, remote)).setAuthTag(token.subarray(token.length - TAG_BYTES));
    let plain: Uint8Array;
    try {
      plain = concat(decipher.update(token.subarray(NONCE_BYTES, token.length - TAG_BYTES)), decipher.final());
    } catch {
      return null;
    }
    const age = now - new DataView(plain.buffer, plain.byteOffset).getFloat64(0);
    return age >= 0 && age <= RETRY_TOKEN_LIFETIME_MS ? plain.slice(TIME_BYTES) : null;
  }
}

const boundTo = (retryId: Uint8Array, { host, port }: VirtualAddress): Uint8Array =>
  concat(retryId, utf8(`${host}|${port}`));

/** A Retry packet (RFC 9000 §17.2.5) with its integrity tag (RFC 9001 §5.8). `unused` fills the four unused bits. */
export function retryPacket(o: {
  /** Destination Connection ID of the Initial that this answers. */
  readonly originalId: Uint8Array;
  /** Its Source Connection ID. */
  readonly clientId: Uint8Array;
  readonly retryId: Uint8Array;
  readonly token: Uint8Array;
  readonly unused: number;
}): Uint8Array {
  const packet = concat(
    Uint8Array.of(0xf0 | (o.unused & 0x0f), 0, 0, 0, 1, o.clientId.length),
    o.clientId,
    Uint8Array.of(o.retryId.length),
    o.retryId,
    o.token,
  );
  const cipher = createCipheriv("aes-128-gcm", INTEGRITY_KEY, INTEGRITY_NONCE);
  cipher.setAAD(concat(Uint8Array.of(o.originalId.length), o.originalId, packet));
  cipher.final();
  return concat(packet, cipher.getAuthTag());
}
