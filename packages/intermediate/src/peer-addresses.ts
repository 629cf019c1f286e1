import type { SocketAddress } from "@adit/core";
import { getXorAddress, STUN_ATTRIBUTE, type StunMessage } from "@adit/ice";

/** Every XOR-PEER-ADDRESS of a CreatePermission request (RFC 8656 §10.1 allows several); null when one is malformed. */
export function peerAddresses(message: StunMessage): readonly SocketAddress[] | null {
  const out: SocketAddress[] = [];
  for (const attribute of message.attributes) {
    if (attribute.type !== STUN_ATTRIBUTE.XOR_PEER_ADDRESS) continue;
    const address = getXorAddress({ ...message, attributes: [attribute] }, STUN_ATTRIBUTE.XOR_PEER_ADDRESS);
    if (!address) return null;
    out.push(address);
  }
  return out;
}
