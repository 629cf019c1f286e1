import { STUN_ATTRIBUTE, STUN_HEADER_BYTES } from "./tables.ts";

/** RFC 8489 §5: `success` and `error` are the two kinds of response. */
export type StunClass = "request" | "indication" | "success" | "error";

/** An attribute as it stands in the message. */
export interface RawAttribute {
  /** 16 bits, see STUN_ATTRIBUTE. */
  readonly type: number;
  /** Where its value begins in the message's `raw`, bytes. */
  readonly offset: number;
  /** Of the value, without the padding, bytes. */
  readonly length: number;
  /** A view of the value, without the padding; made when it is asked for. */
  readonly value: Uint8Array;
}

/**
 * A decoded STUN message. Everything in it is a view on `raw`, the datagram: valid as long as nobody writes over that.
 *
 * `attributes` are in the message's order and only those that count: what stands behind MESSAGE-INTEGRITY is ignored, except
 * MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489 §14.5). Where a type appears twice the first is meant (§14).
 */
export interface StunMessage {
  /** RFC 8489 §5. */
  readonly class: StunClass;
  /** 12 bits, see STUN_METHOD. */
  readonly method: number;
  /** 12 bytes. */
  readonly transactionId: Uint8Array;
  /** Those that count, in the message's order; 64 at most. */
  readonly attributes: readonly RawAttribute[];
  /** The datagram. */
  readonly raw: Uint8Array;
  /** Where MESSAGE-INTEGRITY's header begins in `raw`, or -1. */
  readonly integrityOffset: number;
  /** Where MESSAGE-INTEGRITY-SHA256's header begins in `raw`, or -1. */
  readonly integritySha256Offset: number;
  /** Where FINGERPRINT's header begins in `raw`, or -1. */
  readonly fingerprintOffset: number;
}

/** Makes its view when it is asked for one: most attributes of a message are never looked at, and views are what decoding costs. */
class Attribute implements RawAttribute {
  readonly type: number;
  readonly offset: number;
  readonly length: number;
  readonly #raw: Uint8Array;

  constructor(type: number, raw: Uint8Array, offset: number, length: number) {
    this.type = type;
    this.offset = offset;
    this.length = length;
    this.#raw = raw;
  }

  get value(): Uint8Array {
    return this.#raw.subarray(this.offset, this.offset + this.length);
  }
}

class Message implements StunMessage {
  readonly raw: Uint8Array;
  readonly attributes: readonly RawAttribute[];
  readonly integrityOffset: number;
  readonly integritySha256Offset: number;
  readonly fingerprintOffset: number;

  constructor(
    raw: Uint8Array,
    attributes: readonly RawAttribute[],
    integrity: number,
    sha256: number,
    fingerprint: number,
  ) {
    this.raw = raw;
    this.attributes = attributes;
    this.integrityOffset = integrity;
    this.integritySha256Offset = sha256;
    this.fingerprintOffset = fingerprint;
  }

  get class(): StunClass {
    return classOf(this.raw);
  }

  get method(): number {
    return methodOf(this.raw);
  }

  get transactionId(): Uint8Array {
    return this.raw.subarray(8, STUN_HEADER_BYTES);
  }
}

const CLASSES = ["request", "indication", "success", "error"] as const;

/** A message with more attributes than this is not decoded: none that any standard describes comes near, and each costs memory. */
const MAX_ATTRIBUTES = 64;

/**
 * Whether a datagram has the form of a STUN message: first two bits zero, the magic cookie, a length that is a multiple of 4
 * and fits exactly (RFC 8489 §5). Cheap, for demultiplexing.
 */
export function isStun(data: Uint8Array): boolean {
  return (
    data.length >= STUN_HEADER_BYTES &&
    ((data[0] as number) & 0xc0) === 0 &&
    data[4] === 0x21 &&
    data[5] === 0x12 &&
    data[6] === 0xa4 &&
    data[7] === 0x42 &&
    ((data[3] as number) & 3) === 0 &&
    (((data[2] as number) << 8) | (data[3] as number)) === data.length - STUN_HEADER_BYTES
  );
}

/**
 * Reads one datagram that holds one STUN message. Never throws.
 * @returns null when it is malformed: not {@link isStun}, an attribute that overruns the message, integrity or fingerprint
 * attributes of a wrong size, FINGERPRINT not last, or more than 64 attributes.
 */
export function decodeStun(data: Uint8Array): StunMessage | null {
  if (!isStun(data)) return null;
  const attributes: RawAttribute[] = [];
  let integrityOffset = -1;
  let integritySha256Offset = -1;
  let fingerprintOffset = -1;
  let count = 0;
  for (let offset = STUN_HEADER_BYTES; offset < data.length; ) {
    if (fingerprintOffset >= 0 || ++count > MAX_ATTRIBUTES) return null;
    // The length is a multiple of 4, so four bytes of header are there.
    const type = ((data[offset] as number) << 8) | (data[offset + 1] as number);
    const length = ((data[offset + 2] as number) << 8) | (data[offset + 3] as number);
    const start = offset + 4;
    const next = start + ((length + 3) & ~3);
    if (next > data.length) return null;
    if (type === STUN_ATTRIBUTE.FINGERPRINT) {
      if (length !== 4) return null;
      fingerprintOffset = offset;
    } else if (type === STUN_ATTRIBUTE.MESSAGE_INTEGRITY_SHA256 && integritySha256Offset < 0) {
      // RFC 8489 §14.6: truncated by multiples of 4, at least 16 bytes.
      if (length < 16 || length > 32 || length % 4 !== 0) return null;
      integritySha256Offset = offset;
    } else if (integrityOffset >= 0 || integritySha256Offset >= 0) {
      offset = next;
      continue;
    } else if (type === STUN_ATTRIBUTE.MESSAGE_INTEGRITY) {
      if (length !== 20) return null;
      integrityOffset = offset;
    }
    attributes.push(new Attribute(type, data, start, length));
    offset = next;
  }
  return new Message(data, attributes, integrityOffset, integritySha256Offset, fingerprintOffset);
}

/** The two class bits of the message type, C1 at bit 8 and C0 at bit 4 (RFC 8489 §5, figure 3). */
function classOf(data: Uint8Array): StunClass {
  const bits = (((data[0] as number) & 1) << 1) | (((data[1] as number) >> 4) & 1);
  return CLASSES[bits] as StunClass;
}

/** The twelve method bits, which surround the class bits (RFC 8489 §5, figure 3). */
function methodOf(data: Uint8Array): number {
  const high = data[0] as number;
  const low = data[1] as number;
  return ((high & 0x3e) << 6) | ((low & 0xe0) >> 1) | (low & 0x0f);
}

/** The message type field of a class and a method: the inverse of the above. */
export function messageType(messageClass: StunClass, method: number): number {
  const bits = CLASSES.indexOf(messageClass);
  return ((method & 0xf80) << 2) | ((method & 0x070) << 1) | (method & 0x00f) | ((bits & 2) << 7) | ((bits & 1) << 4);
}

/** A map key for a transaction ID: six UTF-16 units, cheaper than hexadecimal. Not for people. */
export function transactionKey(id: Uint8Array): string {
  const unit = (i: number) => ((id[i] as number) << 8) | (id[i + 1] as number);
  return String.fromCharCode(unit(0), unit(2), unit(4), unit(6), unit(8), unit(10));
}
