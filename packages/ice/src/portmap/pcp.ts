import { equalBytes, parseIp } from "@adit/core";
import { ip16, readIp, viewOf } from "./bytes.ts";
import type { MapRequest, PmpAnswer, PmpCodec } from "./pmp-codec.ts";

const VERSION = 2;
const RESPONSE = 0x80;
const OPCODE = { announce: 0, map: 1 } as const;
const PROTOCOL_UDP = 17;
const HEADER_BYTES = 24;
const MAP_BYTES = 36;
/** RFC 6887 §7: a message has 1100 octets at most, a multiple of four. */
const MAX_BYTES = 1_100;

/** RFC 6887 §7.4. */
const RESULT: Readonly<Record<number, string>> = {
  1: "unsupported version",
  2: "not authorized: port mapping is switched off in the router",
  3: "malformed request",
  4: "unsupported opcode",
  5: "unsupported option",
  6: "malformed option",
  7: "network failure: the router has no external address",
  8: "no resources",
  9: "unsupported protocol",
  10: "this host has used up its quota of mappings",
  11: "the suggested external address or port cannot be provided",
  12: "address mismatch: there is another NAT between this host and the router that answers",
  13: "too many remote peers",
};
const UNSUPPORTED_VERSION = 1;
/** §15: an error that is to last longer than half an hour counts as half an hour. */
const MAX_ERROR_SECONDS = 1_800;
const MIN_ERROR_SECONDS = 10;

/**
 * PCP (RFC 6887), the opcodes ANNOUNCE and MAP. A request is version, opcode, reserved u16, lifetime u32 and the client's address (16
 * bytes); MAP adds the nonce (12 bytes), protocol, 3 reserved bytes, internal and suggested external port, and the suggested external
 * address. The answer has reserved u8, result u8, lifetime u32, epoch u32 and 12 reserved bytes in the header's place.
 * @param nonce 96 random bits that tie renewals, removal and answers to the first request (§11.2).
 */
export function pcp(localIp: string, nonce: Uint8Array): PmpCodec {
  const header = (data: Uint8Array, opcode: number, lifetimeSeconds: number): Uint8Array => {
    data[0] = VERSION;
    data[1] = opcode;
    viewOf(data).setUint32(4, lifetimeSeconds);
    data.set(ip16(localIp), 8);
    return data;
  };
  return {
    protocol: "pcp",
    // §8.1.1: "IRT: Initial retransmission time, SHOULD be 3 seconds".
    firstWaitMs: 3_000,
    // §11.2.1: "renewal requests MUST NOT be sent less than four seconds apart".
    renewalGapMs: 4_000,
    maxRequests: 3,
    asksAddressFirst: false,
    probe: () => header(new Uint8Array(HEADER_BYTES), OPCODE.announce, 0),
    map: ({ internalPort, externalPort, externalIp, lifetimeSeconds }: MapRequest) => {
      const data = header(new Uint8Array(HEADER_BYTES + MAP_BYTES), OPCODE.map, lifetimeSeconds);
      const view = viewOf(data);
      data.set(nonce, HEADER_BYTES);
      data[HEADER_BYTES + 12] = PROTOCOL_UDP;
      view.setUint16(HEADER_BYTES + 16, internalPort);
      view.setUint16(HEADER_BYTES + 18, externalPort);
      // §11.1: without a wish, the unspecified address of the family that is wanted.
      data.set(ip16(externalIp ?? unspecified(localIp)), HEADER_BYTES + 20);
      return data;
    },
    read: (data) => readPcp(data, nonce),
  };
}

const unspecified = (ip: string): string => (parseIp(ip)?.length === 4 ? "0.0.0.0" : "::");

function readPcp(data: Uint8Array, nonce: Uint8Array): PmpAnswer | null {
  // §9: a server that speaks only NAT-PMP answers in its own version, with its own code for "unsupported version".
  if (data.length >= 4 && data[0] === 0 && ((data[1] as number) & RESPONSE) !== 0) {
    return viewOf(data).getUint16(2) === UNSUPPORTED_VERSION ? { kind: "unsupported" } : null;
  }
  if (data.length < HEADER_BYTES || data.length > MAX_BYTES || data.length % 4 !== 0) return null;
  const opcode = (data[1] as number) ^ RESPONSE;
  if (data[0] !== VERSION || (opcode !== OPCODE.announce && opcode !== OPCODE.map)) return null;
  const view = viewOf(data);
  const result = data[3] as number;
  const lifetimeSeconds = view.getUint32(4);
  const epochSeconds = view.getUint32(8);
  // To NAT-PMP's question; ours has the version that this answer has.
  if (result === UNSUPPORTED_VERSION) return null;
  if (opcode === OPCODE.announce) {
    // A server without ANNOUNCE is a server all the same.
    return { kind: "alive", epochSeconds, externalIp: null };
  }
  if (data.length < HEADER_BYTES + MAP_BYTES || data[HEADER_BYTES + 12] !== PROTOCOL_UDP) return null;
  if (!equalBytes(data.subarray(HEADER_BYTES, HEADER_BYTES + 12), nonce)) return null;
  if (result !== 0) {
    const why = RESULT[result] ?? `error ${result}`;
    const seconds = Math.min(MAX_ERROR_SECONDS, Math.max(MIN_ERROR_SECONDS, lifetimeSeconds));
    return { kind: "refused", to: "map", why, retryAfterMs: seconds * 1000 };
  }
  return {
    kind: "mapped",
    epochSeconds,
    externalIp: readIp(data, HEADER_BYTES + 20, 16),
    internalPort: view.getUint16(HEADER_BYTES + 16),
    externalPort: view.getUint16(HEADER_BYTES + 18),
    lifetimeSeconds,
  };
}
