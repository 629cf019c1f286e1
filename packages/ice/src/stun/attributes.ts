import { fromUtf8, type SocketAddress } from "@adit/core";
import { readAddress } from "./address-codec.ts";
import type { RawAttribute, StunMessage } from "./message.ts";
import { isComprehensionRequired, STUN_ATTRIBUTE, STUN_LIMITS } from "./tables.ts";

/** The value of the first attribute of a type, a view; null when there is none. */
export function getBytes(message: StunMessage, type: number): Uint8Array | null {
  return find(message, type)?.value ?? null;
}

/** Whether there is an attribute of a type. */
export function hasAttribute(message: StunMessage, type: number): boolean {
  return find(message, type) !== null;
}

/** An address attribute that is XORed, such as XOR-MAPPED-ADDRESS or XOR-PEER-ADDRESS; null when absent or malformed. */
export function getXorAddress(message: StunMessage, type: number): SocketAddress | null {
  const value = getBytes(message, type);
  return value && readAddress(value, message.transactionId);
}

/** Every XORed address attribute of this type, in order; null when one of them is malformed. */
export function getXorAddresses(message: StunMessage, type: number): readonly SocketAddress[] | null {
  const out: SocketAddress[] = [];
  for (const attribute of message.attributes) {
    if (attribute.type !== type) continue;
    const address = readAddress(attribute.value, message.transactionId);
    if (!address) return null;
    out.push(address);
  }
  return out;
}

/** A plain address attribute, such as MAPPED-ADDRESS, ALTERNATE-SERVER or OTHER-ADDRESS; null when absent or malformed. */
export function getAddress(message: StunMessage, type: number): SocketAddress | null {
  const value = getBytes(message, type);
  return value && readAddress(value, null);
}

/** A text attribute; null when absent, not UTF-8 or longer than `maxBytes`. */
export function getString(
  message: StunMessage,
  type: number,
  maxBytes: number = STUN_LIMITS.TEXT_BYTES_RECEIVED,
): string | null {
  const value = getBytes(message, type);
  return value && readText(value, maxBytes);
}

/** USERNAME; null when absent, not UTF-8 or longer than 508 bytes (RFC 8489 §14.3). */
export function getUsername(message: StunMessage): string | null {
  return getString(message, STUN_ATTRIBUTE.USERNAME, STUN_LIMITS.USERNAME_BYTES);
}

/** REALM; null when absent, not UTF-8 or longer than 763 bytes (RFC 8489 §14.9). */
export function getRealm(message: StunMessage): string | null {
  return getString(message, STUN_ATTRIBUTE.REALM);
}

/** NONCE; null when absent, not UTF-8 or longer than 763 bytes (RFC 8489 §14.10). */
export function getNonce(message: StunMessage): string | null {
  return getString(message, STUN_ATTRIBUTE.NONCE);
}

/** A 32-bit attribute, such as PRIORITY or LIFETIME; null when absent or not 4 bytes. */
export function getU32(message: StunMessage, type: number): number | null {
  const found = find(message, type);
  return found?.length === 4 ? u32At(message.raw, found.offset) : null;
}

/** A 64-bit attribute, such as ICE-CONTROLLING; null when absent or not 8 bytes. */
export function getU64(message: StunMessage, type: number): bigint | null {
  const found = find(message, type);
  if (found?.length !== 8) return null;
  eightBytes.setUint32(0, u32At(message.raw, found.offset));
  eightBytes.setUint32(4, u32At(message.raw, found.offset + 4));
  return eightBytes.getBigUint64(0);
}

/**
 * A byte that comes with reserved bytes behind it, such as REQUESTED-TRANSPORT and REQUESTED-ADDRESS-FAMILY, or alone, such as
 * EVEN-PORT; null when absent or neither 1 nor 4 bytes.
 */
export function getU8(message: StunMessage, type: number): number | null {
  const value = getBytes(message, type);
  if (value?.length !== 4 && value?.length !== 1) return null;
  return value[0] as number;
}

/** CHANNEL-NUMBER: 16 bits and two reserved bytes (RFC 8656 §18.1); null when absent or malformed. The range is not checked. */
export function getChannelNumber(message: StunMessage): number | null {
  const value = getBytes(message, STUN_ATTRIBUTE.CHANNEL_NUMBER);
  if (value?.length !== 4) return null;
  return ((value[0] as number) << 8) | (value[1] as number);
}

/** What ERROR-CODE says (RFC 8489 §14.8). */
export interface StunErrorCode {
  /** 300..699 */
  readonly code: number;
  /** For people; empty when there is none. */
  readonly reason: string;
}

/** ERROR-CODE (RFC 8489 §14.8); null when absent, malformed or out of range. A reason that is no text is empty. */
export function getErrorCode(message: StunMessage): StunErrorCode | null {
  const value = getBytes(message, STUN_ATTRIBUTE.ERROR_CODE);
  if (!value || value.length < 4) return null;
  const hundreds = (value[2] as number) & 7;
  const rest = value[3] as number;
  if (hundreds < 3 || hundreds > 6 || rest > 99) return null;
  return { code: hundreds * 100 + rest, reason: readText(value.subarray(4), STUN_LIMITS.TEXT_BYTES_RECEIVED) ?? "" };
}

/** UNKNOWN-ATTRIBUTES: a list of 16-bit types (RFC 8489 §14.13); null when absent or of odd length. */
export function getUnknownAttributes(message: StunMessage): number[] | null {
  const value = getBytes(message, STUN_ATTRIBUTE.UNKNOWN_ATTRIBUTES);
  if (!value || value.length % 2 !== 0) return null;
  const types: number[] = [];
  for (let i = 0; i < value.length; i += 2) types.push(((value[i] as number) << 8) | (value[i + 1] as number));
  return types;
}

const NONE: readonly number[] = [];

/**
 * The comprehension-required attribute types in the message that are not in `known`; empty when all is understood. The
 * integrity attributes are the codec's own and always known. What to do: RFC 8489 §6.3.1 (420 to a request), §6.3.2, §6.3.3.
 */
export function unknownComprehensionRequired(message: StunMessage, known: ReadonlySet<number>): readonly number[] {
  let unknown: number[] | null = null;
  for (const { type } of message.attributes) {
    if (!isComprehensionRequired(type) || known.has(type)) continue;
    if (type === STUN_ATTRIBUTE.MESSAGE_INTEGRITY || type === STUN_ATTRIBUTE.MESSAGE_INTEGRITY_SHA256) continue;
    unknown ??= [];
    if (!unknown.includes(type)) unknown.push(type);
  }
  return unknown ?? NONE;
}

/** By index: this is the receive path, and there are few attributes. */
function find({ attributes }: StunMessage, type: number): RawAttribute | null {
  for (let i = 0; i < attributes.length; i++) {
    const attribute = attributes[i];
    if (attribute?.type === type) return attribute;
  }
  return null;
}

// Numbers are read where they stand: a view of each would cost more than the rest of its decoding.

function u32At(raw: Uint8Array, at: number): number {
  const high = ((raw[at] as number) << 24) | ((raw[at + 1] as number) << 16);
  return (high | ((raw[at + 2] as number) << 8) | (raw[at + 3] as number)) >>> 0;
}

/** Holds a 64-bit value for a moment, on its way from two halves to a bigint. */
const eightBytes = new DataView(new ArrayBuffer(8));

function readText(value: Uint8Array, maxBytes: number): string | null {
  if (value.length > maxBytes) return null;
  try {
    return fromUtf8(value);
  } catch {
    return null;
  }
}
