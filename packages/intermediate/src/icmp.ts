/** Data indications that carry an ICMP error instead of data (RFC 8656 §11.5, §18.13). */
import type { IpFamily, Random, SocketAddress } from "@adit/core";
import { STUN_ATTRIBUTE, STUN_METHOD, StunBuilder } from "@adit/ice";

/** ICMP type and code (RFC 792, RFC 4443 §3.1) of the errors that a system reports of an unconnected UDP socket. */
const ICMP: Readonly<Record<string, Readonly<Record<IpFamily, readonly [type: number, code: number]>>>> = {
  ECONNREFUSED: { 4: [3, 3], 6: [1, 4] },
  EHOSTUNREACH: { 4: [3, 1], 6: [1, 3] },
  ENETUNREACH: { 4: [3, 0], 6: [1, 0] },
};

/** Null for an error that stands for no ICMP message. */
export function icmpIndication(peer: SocketAddress, errorCode: string, random: Random): Uint8Array | null {
  const icmp = ICMP[errorCode]?.[peer.family];
  if (!icmp) return null;
  const [type, code] = icmp;
  // 16 bits reserved, 7 bits type, 9 bits code, 32 bits error data: 0, for these types have none.
  const value = new Uint8Array(8);
  new DataView(value.buffer).setUint16(2, (type << 9) | code);
  return new StunBuilder("indication", STUN_METHOD.DATA, random.bytes(12))
    .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, peer)
    .add(STUN_ATTRIBUTE.ICMP, value)
    .build();
}
