/** The messages inside `adit-peer/1`: on the control stream, and at the head of each service stream. Bytes: docs/protocol.md. */
import type { Goodbye, Hello, PathReport, Ping, Pong, Restart, TrickledCandidate } from "./messages.ts";

/** ALPN of the connection between two peers. */
export const PEER_ALPN = "adit-peer/1";

/** First on the control stream, from both sides. The session is up for an agent only when the connector's has arrived. */
export type ControlHello = Omit<Hello, "role">;

/** {@link StreamEnd.bytes} from here on, more than a stream can have (RFC 9000 §4.5), are a reset: what is above it is the code. */
export const STREAM_RESET_FROM = 2n ** 62n;

/**
 * A service stream is over on the sender's side, both ways, and `bytes` bytes were written to it before FIN, or it was reset. There are QUIC
 * implementations that forget a stream whose bytes are acknowledged, and with it a last FIN or RESET_STREAM that was lost; this one is not.
 */
export interface StreamEnd {
  readonly type: "stream-end";
  /** The QUIC stream ID. */
  readonly streamId: bigint;
  readonly bytes: bigint;
}

/**
 * What the sender knows of its own network, so that both sides can say why a session is relayed. For people only: nothing is
 * decided by it. Each word is one of those named, or one that a newer peer knows.
 */
export interface NetworkView {
  readonly type: "network-view";
  /** What the sender lets its candidates be: `all` or `relay`. */
  readonly policy: string;
  /** Whether UDP gets out and back: `open`, `blocked`, `unknown`. */
  readonly udp: string;
  /** RFC 4787 §4.1: `eim` (one mapping for all destinations), `apdm` (another for each), `unknown`. */
  readonly mapping: string;
  /** How an `apdm` NAT chooses ports: `sequential`, `random`, `unknown`. */
  readonly ports: string;
}

/** The signaling messages of the same names, without `sessionId`: the connection is the session. */
export type ControlMessage =
  | ControlHello
  | Omit<TrickledCandidate, "sessionId">
  | Omit<Restart, "sessionId">
  | Omit<PathReport, "sessionId">
  | Ping
  | Pong
  | Goodbye
  | StreamEnd
  | NetworkView;

/** The first frame on a service stream, from whoever opened it; bytes of the service may follow at once. */
export interface OpenService {
  readonly type: "open-service";
  readonly name: string;
  readonly protocol: "tcp" | "udp";
}

/** The first frame back; after `accepted` the service's bytes follow. */
export type ServiceReply =
  | { readonly type: "accepted" }
  | {
      readonly type: "refused";
      /** `service-unknown`, `service-unavailable`, `not-allowed`, `too-many`, or one that a newer peer knows. */
      readonly code: string;
      readonly reason: string;
    };
