/**
 * Signaling over TLS on TCP shares its port with TURN over TLS, so that one open port is enough where a network lets nothing else
 * through. ALPN (RFC 7301) says which of the two a client wants: `SIGNALING_ALPN`, or this (RFC 7443 §2).
 */
export const TURN_ALPN = "stun.turn";

/**
 * The server name (RFC 6066 §3) by which our own programs ask for the intermediate's identity certificate, whose key they pin: the
 * same port may show others a certificate of an authority. RFC 6761 §6.4: nobody's name.
 */
export const IDENTITY_SERVER_NAME = "identity.adit.invalid";
