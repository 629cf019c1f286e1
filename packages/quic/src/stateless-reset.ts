/**
 * Stateless reset (RFC 9000 §10.3): how a server that was started anew tells clients of its former life that their connections are gone,
 * knowing of them only that a packet came whose connection ID is not known.
 */
import { createHmac } from "node:crypto";
import { concat, type Random } from "@adit/core";

const TOKEN_BYTES = 16;

/** RFC 9000 §10.3: 5 bytes that look like a short header's beginning, and the token. */
const MIN_RESET_BYTES = 5 + TOKEN_BYTES;

/** As long as a short packet of ours with a connection ID, a packet number and the least payload: longer would tell an observer no less. */
const RESET_BYTES = 43;

/** The token of a connection ID: RFC 9000 §10.3.2, with HMAC-SHA-256 as the pseudorandom function. */
export function statelessResetToken(key: Uint8Array, connectionId: Uint8Array): Uint8Array {
  return createHmac("sha256", key).update(connectionId).digest().subarray(0, TOKEN_BYTES);
}

/**
 * A reset in answer to a packet of `length` bytes; null when that was too short. It is always shorter than the packet, so that two
 * endpoints which both know nothing do not answer each other for ever (§10.3.3), and nothing is amplified.
 */
export function statelessReset(random: Random, token: Uint8Array, length = RESET_BYTES + 1): Uint8Array | null {
  const size = Math.min(length - 1, RESET_BYTES);
  if (size < MIN_RESET_BYTES) return null;
  const noise = random.bytes(size - TOKEN_BYTES);
  noise[0] = 0x40 | ((noise[0] ?? 0) & 0x3f);
  return concat(noise, token);
}

/** As the native library takes it: a number of 128 bits, big-endian. */
export function tokenAsNumber(token: Uint8Array): bigint {
  let value = 0n;
  for (const byte of token) value = (value << 8n) | BigInt(byte);
  return value;
}
