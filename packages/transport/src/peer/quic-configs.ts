import { type Identity, QuicConfig } from "@adit/quic";
import { PEER_ALPN, SIGNALING_ALPN } from "@adit/signaling";
import type { EndpointOptions } from "../endpoint.ts";
import { MAX_DATAGRAM_BYTES } from "../path/datagram-size.ts";

/** "Sleep: `max_idle_timeout` 10 min." */
const PEER_IDLE_TIMEOUT_MS = 600_000;
/** The signaling client pings every 15 s and gives up after 5; QUIC's own clock is the backstop. */
const SIGNALING_IDLE_TIMEOUT_MS = 45_000;

/** Of all connections to peers. */
export const peerConfig = ({
  role,
  identity,
  congestion,
}: Pick<EndpointOptions, "role" | "identity" | "congestion">): QuicConfig =>
  QuicConfig.create({
    role: role === "agent" ? "client" : "server",
    identity,
    alpn: PEER_ALPN,
    maxIdleTimeoutMs: PEER_IDLE_TIMEOUT_MS,
    maxDatagramSizeBytes: MAX_DATAGRAM_BYTES,
    repeatsHandshake: true, // ICE's gates bound what goes to an address that has not answered a check
    waitsForAnswers: true,
    ...(congestion && { congestion }),
  });

/** Of the connections to intermediates. */
export const signalingConfig = (identity: Identity): QuicConfig =>
  QuicConfig.create({
    role: "client",
    identity,
    alpn: SIGNALING_ALPN,
    maxIdleTimeoutMs: SIGNALING_IDLE_TIMEOUT_MS,
  });
