import type { SocketAddress } from "@adit/core";
import type { CandidateType, PortMapProtocol } from "@adit/ice";

/** Where a session's bytes go now. It is `relay` when either side's candidate is relayed. */
export type SessionPath = "connecting" | "relay" | "direct" | "suspended";

/** One session in `GET /status`. What is unknown is null, never absent. */
export interface SessionStatus {
  readonly id: string;
  readonly peer: { readonly id: string; readonly name: string | null };
  readonly path: SessionPath;
  readonly local: SocketAddress | null;
  readonly remote: SocketAddress | null;
  readonly localType: CandidateType | null;
  readonly remoteType: CandidateType | null;
  /** Round trip of the active path, ms. */
  readonly rttMs: number | null;
  /** Round trip of the relay path, ms, also while it is on standby. */
  readonly relayRttMs: number | null;
  /** The largest datagram that is proved on the active path, UDP payload in bytes; null while there is none. */
  readonly datagramBytes: number | null;
  /** Application bytes, not packets. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Completed QUIC handshakes: 1 for the whole life of a session. */
  readonly handshakes: number;
  /** Path changes after `connecting`. */
  readonly migrations: number;
  /** Why the session is on the path it is on. */
  readonly reason: string;
}

/** What all sessions together did since the start, those that have ended included. */
export interface SessionTotals {
  /** That came up. */
  readonly sessions: number;
  readonly handshakes: number;
  readonly migrations: number;
  /** Application bytes. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Of QUIC. */
  readonly packetsSent: number;
  readonly packetsReceived: number;
  readonly packetsLost: number;
}

/** The port of the router that leads here. What is unknown is null. */
export interface PortMappingStatus {
  readonly gateway: string | null;
  readonly protocol: PortMapProtocol | null;
  readonly external: SocketAddress | null;
  /** False: the router's own address is private or a carrier's, so that the world does not reach it. */
  readonly public: boolean | null;
  /** Why there is a mapping, or none. */
  readonly reason: string;
}

/** Whether UDP gets out of this network and back. */
export type UdpReach = "open" | "blocked" | "unknown";

/** One of the intermediates that a program was given. */
export interface IntermediateStatus {
  readonly address: string;
  readonly connected: boolean;
  readonly rttMs: number | null;
  /** What signaling goes over; `tls` where UDP does not get through. Null while not connected. */
  readonly transport: "quic" | "tls" | null;
  /** Our address on its relay; null without an allocation. */
  readonly relay: SocketAddress | null;
}

/** What the endpoint knows of itself: `GET /status` without what only a program knows (listeners). */
export interface EndpointStatus {
  readonly peerId: string;
  /** The one in use: the first that is connected, in the order in which they were given. */
  readonly intermediate: { readonly address: string; readonly connected: boolean; readonly rttMs: number | null };
  readonly intermediates: readonly IntermediateStatus[];
  /** As far as the intermediates tell. */
  readonly udpReach: UdpReach;
  readonly observedAddress: SocketAddress | null;
  /** Null: switched off, or nothing to map (loopback, IPv6 alone). */
  readonly portMapping: PortMappingStatus | null;
  /** Newest first; ended sessions are not in it. */
  readonly sessions: readonly SessionStatus[];
  readonly totals: SessionTotals;
  /** Datagrams of peers, or of who pretends to be one, that were not let in or out, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
}
