import { type CertificateFault, type PeerId, readCertificate } from "./identity.ts";
import type { NativeConnection } from "./native.ts";

/** Who the peer has to be. */
export interface PeerCheck {
  /** Any other peer's connection is closed before anything is read from it. */
  readonly expectedPeerId?: PeerId | undefined;
  /** Likewise when it says false. */
  readonly admit?: ((peerId: PeerId) => boolean) | undefined;
}

/** Nothing is asked. */
export const NO_CHECK: PeerCheck = {};

/** The peer of an established connection, or why it is none: a transport error code, and a sentence for this side. */
export type CheckedPeer = { readonly peerId: PeerId } | { readonly code: number; readonly reason: string };

/** TLS alerts (RFC 8446 §6.2) as transport error codes (RFC 9001 §4.8). */
const BAD_CERTIFICATE = 0x12a;
const UNSUPPORTED_CERTIFICATE = 0x12b;
const CERTIFICATE_EXPIRED = 0x12d;
const ACCESS_DENIED = 0x131;
const CERTIFICATE_REQUIRED = 0x174;

const FAULTS: Readonly<Record<CertificateFault, { readonly code: number; readonly reason: string }>> = {
  malformed: { code: BAD_CERTIFICATE, reason: "the peer's certificate is malformed" },
  "not-ed25519": { code: UNSUPPORTED_CERTIFICATE, reason: "the key of the peer's certificate is not Ed25519" },
  "not-self-signed": { code: BAD_CERTIFICATE, reason: "the peer's certificate is not signed by its own key" },
  expired: { code: CERTIFICATE_EXPIRED, reason: "the peer's certificate has expired; is this side's clock right?" },
  "not-yet-valid": {
    code: CERTIFICATE_EXPIRED,
    reason: "the peer's certificate is not valid yet; is this side's clock right?",
  },
};

export function checkPeer(native: NativeConnection, check: PeerCheck): CheckedPeer {
  const { expectedPeerId, admit } = check;
  const [certificate, ...more] = native.peerCertChain() ?? [];
  if (!certificate) return { code: CERTIFICATE_REQUIRED, reason: "the peer showed no certificate" };
  if (more.length > 0)
    return { code: BAD_CERTIFICATE, reason: "the peer showed a chain of certificates, not its own alone" };
  const peerId = readCertificate(certificate);
  if (typeof peerId !== "string") return FAULTS[peerId.fault];
  if (expectedPeerId !== undefined && peerId !== expectedPeerId) {
    return { code: BAD_CERTIFICATE, reason: `the peer is ${peerId}, not ${expectedPeerId}` };
  }
  return !admit || admit(peerId) ? { peerId } : { code: ACCESS_DENIED, reason: `${peerId} is not allowed here` };
}
