import type { CloseReason } from "./errors.ts";
import type { PeerId } from "./identity.ts";
import type { QuicStream } from "./stream.ts";

/** An address as QUIC sees it: a real one, or a slot (docs/architecture.md). `host` is an IP address. */
export interface VirtualAddress {
  readonly host: string;
  readonly port: number;
}

/** A packet in the buffer that was given to {@link QuicConnection.send}. */
export interface SentPacket {
  readonly length: number;
  readonly local: VirtualAddress;
  readonly remote: VirtualAddress;
}

export type PathEventKind =
  | "new" // the peer showed up on it (server)
  | "validated" // RFC 9000 §8.2
  | "failed" // its validation did
  | "closed" // forgotten to make room
  | "peer-migrated"; // the client's packets come this way now, and so do ours

export type QuicEvent =
  /** The handshake is over and the peer's certificate was checked. A server may still refuse a client that says this (see DESIGN). */
  | { readonly type: "established"; readonly peerId: PeerId; readonly alpn: string }
  /** The peer opened it. */
  | { readonly type: "stream"; readonly stream: QuicStream }
  | {
      readonly type: "path";
      readonly event: PathEventKind;
      readonly local: VirtualAddress;
      readonly remote: VirtualAddress;
    }
  /** RFC 9221. Unreliable. */
  | { readonly type: "datagram"; readonly data: Uint8Array }
  /** The last event. */
  | ({ readonly type: "closed" } & CloseReason);

export type QuicConnectionState = "handshaking" | "established" | "closing" | "draining" | "closed";

export interface QuicStats {
  readonly packetsSent: number;
  readonly packetsReceived: number;
  readonly packetsLost: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly lostBytes: number;
  readonly paths: number;
  readonly streams: number;
  /** Streams that are over here but not yet forgotten by the native library. */
  readonly lingeringStreams: number;
  /**
   * How many more streams the peer lets us open in the life of this connection, as of now. It grows as streams end, except those that the
   * peer's quiche never forgets. When it goes down towards a thousand, it is time for a new connection.
   */
  readonly peerStreamsLeft: number;
  /** Connection IDs that the peer gave us and no path uses. */
  readonly spareConnectionIds: number;
  /** Datagrams that the native library refused, and sends that it failed. */
  readonly receiveErrors: number;
  readonly sendErrors: number;
}

export interface QuicPathStats {
  readonly local: VirtualAddress;
  readonly remote: VirtualAddress;
  /** Whether what is not a probe leaves here. */
  readonly active: boolean;
  /** Smoothed; whole milliseconds. On a slot that was bound to another pair meanwhile it is stale. */
  readonly rttMs: number;
  readonly congestionWindowBytes: number;
  readonly packetsSent: number;
  readonly packetsReceived: number;
  readonly packetsLost: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
}
