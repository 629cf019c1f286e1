import { createHash } from "node:crypto";
import { concat, utf8 } from "@adit/core";

/**
 * Writes the self-signed Ed25519 certificate of a key (RFC 5280, RFC 8410), in DER.
 *
 * It is a function of the key alone (Ed25519 signatures are deterministic), so that a restarted program shows the same bytes.
 * It is valid from 1970 to 9999-12-31: identity is the key, there is nobody to renew the certificate with, and a machine whose clock
 * starts in 1970 must still be able to talk.
 *
 * @param publicKey 32 bytes.
 * @param name at most 63 characters; common name and DNS name.
 * @param sign Ed25519 over the given bytes with the key's private half; 64 bytes.
 */
export function selfSignedCertificate(
  publicKey: Uint8Array,
  name: string,
  sign: (data: Uint8Array) => Uint8Array,
): Uint8Array {
  const ed25519 = sequence(objectId(1, 3, 101, 112));
  const names = sequence(set(sequence(objectId(2, 5, 4, 3), tlv(0x0c, utf8(name))))); // CN as UTF8String
  const tbs = sequence(
    tlv(0xa0, integer(Uint8Array.of(2))), // [0] EXPLICIT Version: v3
    integer(serialNumber(publicKey)),
    ed25519,
    names, // issuer
    // RFC 5280 §4.1.2.5: UTCTime through 2049; 99991231235959Z for "no well-defined expiration date".
    sequence(tlv(0x17, utf8("700101000000Z")), tlv(0x18, utf8("99991231235959Z"))),
    names, // subject
    sequence(ed25519, bitString(publicKey)),
    tlv(0xa3, sequence(subjectAlternativeName(name))),
  );
  return sequence(tbs, ed25519, bitString(sign(tbs)));
}

/** RFC 5280 §4.1.2.2: positive, at most 20 octets. Sixteen bytes of the key's hash, with the top bits set to 01. */
function serialNumber(publicKey: Uint8Array): Uint8Array {
  const digest = new Uint8Array(createHash("sha256").update(publicKey).digest().subarray(0, 16));
  digest[0] = ((digest[0] as number) & 0x3f) | 0x40;
  return digest;
}

/** Version 3 wants an extension, and this is where verifiers look for a name (RFC 6125). */
function subjectAlternativeName(name: string): Uint8Array {
  return sequence(objectId(2, 5, 29, 17), tlv(0x04, sequence(tlv(0x82, utf8(name)))));
}

function tlv(tag: number, value: Uint8Array): Uint8Array {
  if (value.length < 0x80) return concat(Uint8Array.of(tag, value.length), value);
  if (value.length < 0x100) return concat(Uint8Array.of(tag, 0x81, value.length), value);
  return concat(Uint8Array.of(tag, 0x82, value.length >> 8, value.length & 0xff), value);
}

const sequence = (...parts: readonly Uint8Array[]): Uint8Array => tlv(0x30, concat(...parts));
const set = (...parts: readonly Uint8Array[]): Uint8Array => tlv(0x31, concat(...parts));
const bitString = (value: Uint8Array): Uint8Array => tlv(0x03, concat(Uint8Array.of(0), value));

/** `value` is big-endian with the top bit clear and no leading zero. */
const integer = (value: Uint8Array): Uint8Array => tlv(0x02, value);

/** Components below 128 after the first two: all that is needed here. */
const objectId = (first: number, second: number, ...rest: readonly number[]): Uint8Array =>
  tlv(0x06, Uint8Array.of(first * 40 + second, ...rest));
