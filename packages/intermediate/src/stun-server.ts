/** The STUN Binding service (RFC 8489 §12): tells anybody who asks which address the question came from. */
import type { SocketAddress } from "@adit/core";
import {
  STUN_ATTRIBUTE,
  STUN_ERROR,
  STUN_METHOD,
  StunBuilder,
  type StunMessage,
  unknownComprehensionRequired,
} from "@adit/ice";

/** Credentials are not asked for here, and those that come along do not matter. */
const KNOWN: ReadonlySet<number> = new Set([STUN_ATTRIBUTE.USERNAME, STUN_ATTRIBUTE.REALM, STUN_ATTRIBUTE.NONCE]);

/** The response to a Binding request that came from `from`. */
export function answerBinding(request: StunMessage, from: SocketAddress): Uint8Array {
  const fingerprint = request.fingerprintOffset >= 0;
  const unknown = unknownComprehensionRequired(request, KNOWN);
  if (unknown.length > 0) {
    return new StunBuilder("error", STUN_METHOD.BINDING, request.transactionId)
      .errorCode(STUN_ERROR.UNKNOWN_ATTRIBUTE)
      .unknownAttributes(unknown)
      .build({ fingerprint });
  }
  return new StunBuilder("success", STUN_METHOD.BINDING, request.transactionId)
    .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, from)
    .build({ fingerprint });
}
