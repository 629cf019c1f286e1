import { SocketAddress } from "@adit/core";
import { STUN_MAGIC_COOKIE } from "./tables.ts";

/** The length of a (XOR-)MAPPED-ADDRESS value: family, port, and 4 or 16 bytes (RFC 8489 §14.1). */
export const addressBytes = (address: SocketAddress): number => (address.family === 4 ? 8 : 20);

const FAMILY_IPV4 = 0x01;
const FAMILY_IPV6 = 0x02;

const COOKIE = [0x21, 0x12, 0xa4, 0x42] as const;

/**
 * Writes an address value at `offset`, XORed with the magic cookie and the transaction ID when one is given (RFC 8489 §14.2).
 * @returns the offset behind it.
 */
export function writeAddress(
  out: Uint8Array,
  offset: number,
  address: SocketAddress,
  transactionId: Uint8Array | null,
): number {
  const bytes = address.bytes;
  const port = transactionId ? address.port ^ (STUN_MAGIC_COOKIE >>> 16) : address.port;
  out[offset] = 0;
  out[offset + 1] = bytes.length === 4 ? FAMILY_IPV4 : FAMILY_IPV6;
  out[offset + 2] = port >> 8;
  out[offset + 3] = port & 0xff;
  const start = offset + 4;
  for (let i = 0; i < bytes.length; i++) {
    out[start + i] = (bytes[i] as number) ^ (transactionId ? mask(transactionId, i) : 0);
  }
  return start + bytes.length;
}

/** Reads an address value; null when its family or length is wrong. */
export function readAddress(value: Uint8Array, transactionId: Uint8Array | null): SocketAddress | null {
  const length = value[1] === FAMILY_IPV4 ? 4 : value[1] === FAMILY_IPV6 ? 16 : 0;
  if (length === 0 || value.length !== 4 + length) return null;
  const rawPort = ((value[2] as number) << 8) | (value[3] as number);
  if (!transactionId) return SocketAddress.fromBytes(value.subarray(4), rawPort);
  const port = rawPort ^ (STUN_MAGIC_COOKIE >>> 16);
  if (length === 4) {
    const at = (i: number) => (value[4 + i] as number) ^ (COOKIE[i] as number);
    return SocketAddress.of(`${at(0)}.${at(1)}.${at(2)}.${at(3)}`, port);
  }
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 16; i++) bytes[i] = (value[4 + i] as number) ^ mask(transactionId, i);
  return SocketAddress.fromBytes(bytes, port);
}

/** Byte i of the magic cookie followed by the transaction ID. */
const mask = (transactionId: Uint8Array, i: number): number => (i < 4 ? COOKIE[i] : transactionId[i - 4]) as number;
