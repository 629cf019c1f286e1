/** The long-term credential mechanism on the server's side (RFC 8489 §9.2.4). */
import type { Millis, SocketAddress } from "@adit/core";
import {
  getNonce,
  getRealm,
  getUsername,
  hasAttribute,
  STUN_ATTRIBUTE,
  STUN_ERROR,
  type StunMessage,
  verifyIntegrity,
} from "@adit/ice";
import type { CredentialMatch, Credentials } from "./credentials.ts";
import type { Nonces } from "./nonces.ts";

export type AuthResult =
  | { readonly kind: "ok"; readonly match: CredentialMatch }
  /** `challenge`: the error carries REALM and a fresh NONCE. */
  | { readonly kind: "refused"; readonly code: number; readonly challenge: boolean };

const refused = (code: number, challenge: boolean): AuthResult => ({ kind: "refused", code, challenge });

/** The checks in the order of §9.2.4, so that a foreign client meets the answers it was written for. */
export function authenticate(
  now: Millis,
  request: StunMessage,
  from: SocketAddress,
  { credentials, nonces }: { readonly credentials: Credentials; readonly nonces: Nonces },
): AuthResult {
  if (request.integrityOffset < 0) return refused(STUN_ERROR.UNAUTHENTICATED, true);
  const username = getUsername(request);
  const nonce = getNonce(request);
  if (username === null || nonce === null || !hasAttribute(request, STUN_ATTRIBUTE.REALM)) {
    return refused(STUN_ERROR.BAD_REQUEST, false);
  }
  if (!nonces.check(now, from, nonce)) return refused(STUN_ERROR.STALE_NONCE, true);
  if (getRealm(request) === credentials.realm) {
    for (const match of credentials.lookup(username)) {
      if (verifyIntegrity(request, match.key)) return { kind: "ok", match };
    }
  }
  return refused(STUN_ERROR.UNAUTHENTICATED, true);
}
