import { readIp, viewOf } from "./bytes.ts";
import type { MapRequest, PmpAnswer, PmpCodec } from "./pmp-codec.ts";
import { RETRY_MS } from "./types.ts";

const VERSION = 0;
const RESPONSE = 128;
const OPCODE = { address: 0, mapUdp: 1 } as const;

/** RFC 6886 §3.5. */
const RESULT: Readonly<Record<number, string>> = {
  1: "unsupported version",
  2: "not authorized: port mapping is switched off in the router",
  3: "network failure: the router has no external address",
  4: "out of resources",
  5: "unsupported opcode",
};
const UNSUPPORTED_VERSION = 1;
/**
 * NAT-PMP (RFC 6886). Requests of 2 bytes (external address: version, opcode) and 12 (mapping: version, opcode, reserved u16, internal port u16,
 * suggested external port u16, lifetime u32); answers repeat the opcode + 128, then result u16 and the seconds since the router's start u32.
 */
export const natPmp: PmpCodec = {
  protocol: "nat-pmp",
  // §3.1: 250 ms, doubling. It ends after nine requests and 64 s there; a LAN that loses four in a row has no use for a mapping.
  firstWaitMs: 250,
  renewalGapMs: 0,
  maxRequests: 4,
  asksAddressFirst: true,
  probe: () => Uint8Array.of(VERSION, OPCODE.address),
  map: ({ internalPort, externalPort, lifetimeSeconds }: MapRequest) => {
    const data = new Uint8Array(12);
    const view = viewOf(data);
    data[1] = OPCODE.mapUdp;
    view.setUint16(4, internalPort);
    // §3.4: to delete, both the suggested port and the lifetime are zero.
    view.setUint16(6, lifetimeSeconds === 0 ? 0 : externalPort);
    view.setUint32(8, lifetimeSeconds);
    return data;
  },
  read: readNatPmp,
};

function readNatPmp(data: Uint8Array): PmpAnswer | null {
  // RFC 6887 §9: a server that speaks only PCP answers in its own version, with PCP's code for "unsupported version".
  if (data.length >= 4 && data[0] !== VERSION) {
    return (data[1] as number) >= RESPONSE && data[3] === UNSUPPORTED_VERSION ? { kind: "unsupported" } : null;
  }
  if (data.length < 8) return null;
  const view = viewOf(data);
  const opcode = (data[1] as number) - RESPONSE;
  const result = view.getUint16(2);
  const epochSeconds = view.getUint32(4);
  if (opcode !== OPCODE.address && opcode !== OPCODE.mapUdp) return null;
  // To PCP's question, which comes to the same port; ours cannot be meant.
  if (result === UNSUPPORTED_VERSION) return null;
  if (result !== 0) {
    const why = RESULT[result] ?? `error ${result}`;
    // Errors do not say when to come again.
    return { kind: "refused", to: opcode === OPCODE.address ? "probe" : "map", why, retryAfterMs: RETRY_MS };
  }
  if (opcode === OPCODE.address) {
    return data.length < 12 ? null : { kind: "alive", epochSeconds, externalIp: readIp(data, 8, 4) };
  }
  if (data.length < 16) return null;
  return {
    kind: "mapped",
    epochSeconds,
    externalIp: null,
    internalPort: view.getUint16(8),
    externalPort: view.getUint16(10),
    lifetimeSeconds: view.getUint32(12),
  };
}
