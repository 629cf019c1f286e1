/** The long-term credential mechanism on the server's side (RFC 8489 §9.2.4). */
import { equalBytes, type Millis, type SocketAddress } from "@adit/core";
import {
  getBytes,
  getNonce,
  getRealm,
  getUsername,
  hasAttribute,
  PASSWORD_ALGORITHM,
  STUN_ATTRIBUTE,
  STUN_ERROR,
  type StunBuildOptions,
  type StunMessage,
  verifyIntegrity,
  verifyIntegritySha256,
} from "@adit/ice";
import type { CredentialMatch, Credentials } from "./credentials.ts";
import type { Nonces } from "./nonces.ts";

export type AuthResult =
  /** `sign`: how the response proves itself. */
  | { readonly kind: "ok"; readonly match: CredentialMatch; readonly sign: StunBuildOptions }
  /** `challenge`: the error carries REALM, PASSWORD-ALGORITHMS and a fresh NONCE. */
  | { readonly kind: "refused"; readonly code: number; readonly challenge: boolean };

/** PASSWORD-ALGORITHMS (RFC 8489 §14.11), the preferred one first: each an algorithm and the length of its parameters, none. */
export const PASSWORD_ALGORITHMS = Uint8Array.of(0, PASSWORD_ALGORITHM.SHA256, 0, 0, 0, PASSWORD_ALGORITHM.MD5, 0, 0);

const refused = (code: number, challenge: boolean): AuthResult => ({ kind: "refused", code, challenge });

/** The checks in the order of §9.2.4, so that a foreign client meets the answers it was written for. */
export function authenticate(
  now: Millis,
  request: StunMessage,
  from: SocketAddress,
  { credentials, nonces }: { readonly credentials: Credentials; readonly nonces: Nonces },
): AuthResult {
  const sha256 = request.integritySha256Offset >= 0;
  if (!sha256 && request.integrityOffset < 0) return refused(STUN_ERROR.UNAUTHENTICATED, true);
  const username = getUsername(request);
  const nonce = getNonce(request);
  if (username === null || nonce === null || !hasAttribute(request, STUN_ATTRIBUTE.REALM)) {
    return refused(STUN_ERROR.BAD_REQUEST, false);
  }
  const algorithm = passwordAlgorithm(request);
  if (algorithm === null) return refused(STUN_ERROR.BAD_REQUEST, false);
  if (!nonces.check(now, from, nonce)) return refused(STUN_ERROR.STALE_NONCE, true);
  if (getRealm(request) === credentials.realm) {
    for (const match of credentials.lookup(username)) {
      const key = match.key(algorithm);
      if (!(sha256 ? verifyIntegritySha256(request, key) : verifyIntegrity(request, key))) continue;
      const fingerprint = request.fingerprintOffset >= 0;
      return { kind: "ok", match, sign: sha256 ? { sha256Key: key, fingerprint } : { key, fingerprint } };
    }
  }
  return refused(STUN_ERROR.UNAUTHENTICATED, true);
}

/**
 * What the password was hashed with; null for a bad request. §9.2.4: with neither attribute "the request is processed as though
 * PASSWORD-ALGORITHM were MD5", as clients of RFC 5389 send it; a list that is not the one we sent was shortened on the way.
 */
function passwordAlgorithm(request: StunMessage): "md5" | "sha256" | null {
  const offered = getBytes(request, STUN_ATTRIBUTE.PASSWORD_ALGORITHMS);
  const chosen = getBytes(request, STUN_ATTRIBUTE.PASSWORD_ALGORITHM);
  if (!offered && !chosen) return "md5";
  if (!offered || !chosen || !equalBytes(offered, PASSWORD_ALGORITHMS)) return null;
  if (chosen.length !== 4 || chosen[0] !== 0 || chosen[2] !== 0 || chosen[3] !== 0) return null;
  if (chosen[1] === PASSWORD_ALGORITHM.SHA256) return "sha256";
  return chosen[1] === PASSWORD_ALGORITHM.MD5 ? "md5" : null;
}
