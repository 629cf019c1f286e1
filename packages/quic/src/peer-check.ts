import { type PeerId, peerIdFromCertificate } from "./identity.ts";
import type { NativeConnection } from "./native.ts";

/** Who the peer has to be. */
export interface PeerCheck {
  /** Any other peer's connection is closed before anything is read from it. */
  readonly expectedPeerId?: PeerId | undefined;
  /** Likewise when it says false. */
  readonly admit?: ((peerId: PeerId) => boolean) | undefined;
}

/** The peer of an established connection, or why it is none: a transport error code, and a sentence for this side. */
export type CheckedPeer = { readonly peerId: PeerId } | { readonly code: number; readonly reason: string };

/** TLS alerts as transport error codes (RFC 9001 §4.8). */
const BAD_CERTIFICATE = 0x12a;
const ACCESS_DENIED = 0x131;

export function checkPeer(native: NativeConnection, check: PeerCheck): CheckedPeer {
  const { expectedPeerId, admit } = check;
  const chain = native.peerCertChain();
  const certificate = chain?.[0];
  const peerId = certificate && chain?.length === 1 ? peerIdFromCertificate(certificate) : null;
  if (!peerId) return { code: BAD_CERTIFICATE, reason: "the certificate is not a self-signed Ed25519 certificate" };
  if (expectedPeerId !== undefined && peerId !== expectedPeerId) {
    return { code: BAD_CERTIFICATE, reason: `the peer is ${peerId}, not ${expectedPeerId}` };
  }
  return !admit || admit(peerId) ? { peerId } : { code: ACCESS_DENIED, reason: `${peerId} is not allowed here` };
}
