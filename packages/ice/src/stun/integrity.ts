import { createHash } from "node:crypto";
import { equalSecret, utf8 } from "@adit/core";
import { crc32 } from "./crc32.ts";
import { type HmacAlgorithm, hmac } from "./hmac.ts";
import type { StunMessage } from "./message.ts";
import { STUN_HEADER_BYTES } from "./tables.ts";

/** RFC 8489 §14.7: the CRC-32 "XOR'ed with the 32-bit value 0x5354554e". */
const FINGERPRINT_XOR = 0x5354554e;

export const INTEGRITY_BYTES = 20;
export const FINGERPRINT_BYTES = 4;

/** The HMAC key of short-term credentials: the password itself (RFC 8489 §9.1.1). */
export function shortTermKey(password: string): Uint8Array {
  return utf8(opaqueString(password));
}

/** The HMAC key of long-term credentials: MD5(username ":" realm ":" password), 16 bytes (RFC 8489 §9.2.2). */
export function longTermKey(username: string, realm: string, password: string): Uint8Array {
  return createHash("md5")
    .update(longTermText(username, realm, password))
    .digest();
}

/** The same for PASSWORD-ALGORITHM SHA-256: 32 bytes (RFC 8489 §18.5.1.2). */
export function longTermKeySha256(username: string, realm: string, password: string): Uint8Array {
  return createHash("sha256")
    .update(longTermText(username, realm, password))
    .digest();
}

const longTermText = (username: string, realm: string, password: string): string =>
  `${opaqueString(username)}:${opaqueString(realm)}:${opaqueString(password)}`;

/** RFC 8265 §4.2.2, as far as it maps: spaces that are not ASCII become ASCII, then Unicode NFC. ASCII stays as it is. */
export function opaqueString(text: string): string {
  return text.replace(/\p{Zs}/gu, " ").normalize("NFC");
}

/**
 * Whether MESSAGE-INTEGRITY is there and right: HMAC-SHA1 over the bytes that arrived, compared in constant time.
 * Padding counts as it was sent (RFC 5769 §2.1 has padding that is not zero).
 */
export function verifyIntegrity(message: StunMessage, key: Uint8Array): boolean {
  const offset = message.integrityOffset;
  if (offset < 0) return false;
  const start = offset + 4;
  return equalSecret(
    integrity("sha1", message.raw, offset, INTEGRITY_BYTES, key),
    message.raw.subarray(start, start + INTEGRITY_BYTES),
  );
}

/** Whether MESSAGE-INTEGRITY-SHA256 is there and right; a truncated one is compared in its length (RFC 8489 §14.6). */
export function verifyIntegritySha256(message: StunMessage, key: Uint8Array): boolean {
  const offset = message.integritySha256Offset;
  if (offset < 0) return false;
  const length = ((message.raw[offset + 2] as number) << 8) | (message.raw[offset + 3] as number);
  const start = offset + 4;
  return equalSecret(
    integrity("sha256", message.raw, offset, length, key).subarray(0, length),
    message.raw.subarray(start, start + length),
  );
}

/** Whether FINGERPRINT is there and right. */
export function verifyFingerprint(message: StunMessage): boolean {
  const { raw, fingerprintOffset: offset } = message;
  if (offset < 0) return false;
  const start = offset + 4;
  const claimed =
    (((raw[start] as number) << 24) |
      ((raw[start + 1] as number) << 16) |
      ((raw[start + 2] as number) << 8) |
      (raw[start + 3] as number)) >>>
    0;
  return claimed === fingerprint(raw, offset);
}

/**
 * The HMAC over what precedes the attribute at `offset`, with the header's length field as if the message ended behind that
 * attribute (RFC 8489 §14.5). `raw`'s own length field is not looked at.
 */
export function integrity(
  algorithm: HmacAlgorithm,
  raw: Uint8Array,
  offset: number,
  valueBytes: number,
  key: Uint8Array,
): Uint8Array {
  const length = offset + 4 + valueBytes - STUN_HEADER_BYTES;
  if ((((raw[2] as number) << 8) | (raw[3] as number)) === length) {
    return hmac(algorithm, key, null, raw.subarray(0, offset));
  }
  const start = raw.slice(0, 4);
  start[2] = length >> 8;
  start[3] = length & 0xff;
  return hmac(algorithm, key, start, raw.subarray(4, offset));
}

/** FINGERPRINT's value for a message whose FINGERPRINT attribute, the last one, begins at `offset`. */
export function fingerprint(raw: Uint8Array, offset: number): number {
  return (crc32(raw, offset) ^ FINGERPRINT_XOR) >>> 0;
}
