import type { Logger, Millis, Random, SocketAddress } from "@adit/core";
import type { LocalCandidateInit, PairId } from "@adit/ice";
import type { PeerId, QuicConnection } from "@adit/quic";
import type { ClientMessage } from "@adit/signaling";
import type { PredictionListener } from "../nat/network-sense.ts";
import type { NetworkView } from "../nat/network-view.ts";
import type { Session } from "./session.ts";

/** What is said of one session. */
export type SessionSignal = Extract<ClientMessage, { readonly sessionId: bigint | null }> & {
  readonly sessionId: bigint;
};

/** What a session needs of the endpoint it lives in. */
export interface SessionHost {
  readonly peerId: PeerId;
  readonly log: Logger;
  readonly random: Random;
  readonly icePolicy: "all" | "relay";
  /** Whether an address is that of an intermediate's STUN server: no check goes there. */
  isServer(address: SocketAddress): boolean;
  /** Whether our datagrams are never fragmented. */
  readonly sendsWhole: boolean;
  /** What is known of our own network. */
  readonly network: NetworkView;
  now(): Millis;
  /** Through every intermediate that knows the session. False when none is within reach. */
  signal(message: SessionSignal): boolean;
  /** The candidates of our own sockets and allocations, as far as they are known. */
  localCandidates(): readonly LocalCandidateInit[];
  /** Whether more local candidates may come by themselves. */
  readonly isGathering: boolean;
  /** Calls `listener` once if it can be predicted which ports our NAT will use next, else never. */
  predictPorts(listener: PredictionListener): void;
  /** Silence on a session's path: do signaling and relay still answer? */
  probeInfrastructure(now: Millis): void;
  /** A datagram of this session may come from there. */
  learnRoute(pair: PairId, session: Session): void;
  /** Nothing of the session comes from there any more. */
  forgetRoute(pair: PairId, session: Session): void;
  /** Packets for that connection are this session's. */
  claimConnection(connection: QuicConnection, session: Session): void;
  /** The session's username fragments changed. */
  claimUfrags(session: Session): void;
  /** The session has work: it is pumped and polled in this turn, or in one that comes soon. */
  touch(session: Session): void;
}

export interface SessionPeer {
  readonly id: PeerId;
  readonly name: string | null;
}
