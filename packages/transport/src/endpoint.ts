import type { Clock, Logger, Random, SocketAddress } from "@adit/core";
import type { Congestion, Identity, PeerId, QuicStream } from "@adit/quic";
import type { NetworkView } from "./nat/network-view.ts";
import type { DatagramFlow } from "./peer/flows.ts";
import type { SessionSample } from "./sample.ts";
import type { EndpointStatus, SessionPath, SessionStatus } from "./status.ts";
import type { Ticket } from "./ticket.ts";

/** What a connector's endpoint hands up for each stream that asks for a service. Exactly one of its calls is made. */
export interface IncomingService {
  readonly session: SessionHandle;
  readonly name: string;
  readonly protocol: "tcp" | "udp";
  /** The stream of a `tcp` request. @throws when the peer has given up meanwhile. */
  accept(): Promise<QuicStream>;
  /** The flow of a `udp` request. @throws as {@link accept}. */
  acceptFlow(): Promise<DatagramFlow>;
  refuse(code: string, reason: string): Promise<void>;
}

/** Where an intermediate is. */
export interface Place {
  readonly host: string;
  readonly port: number;
}

export interface EndpointOptions {
  readonly identity: Identity;
  readonly role: "agent" | "connector";
  /** The name a connector registers. */
  readonly name?: string;
  /** One, or several in the order of preference (4 at most): it is registered at all of them. Resolved anew at each connection attempt. */
  readonly intermediate: Place | readonly Place[];
  /** Null when the key is the expected one, else the sentence why not; then the endpoint stops. */
  readonly checkIntermediate: (peerId: PeerId, address: string) => string | null;
  readonly bind?: { readonly ip: string; readonly port: number };
  readonly icePolicy?: "all" | "relay";
  /** What this side sends to its peers by; DEFAULT_CONGESTION of @adit/quic by default. */
  readonly congestion?: Congestion;
  /** Asks the router for a port that leads to the UDP socket (PCP, NAT-PMP, UPnP); not unless asked for, nor with the policy `relay`. */
  readonly portMapping?: boolean;
  /**
   * A connector's admission: asked before any packet goes to the peer. Nobody by default. Who is not let in by it still is by a ticket
   * that this endpoint's key signed.
   */
  readonly admit?: (peerId: PeerId) => boolean;
  /** Whether a connector has a service of that name: a session for another one is refused at once. All by default. */
  readonly offers?: (service: string) => boolean;
  readonly onService?: (request: IncomingService) => void;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface ConnectOptions {
  /** A connector's name or PeerId. */
  readonly target: string;
  /** The PeerId that the name must lead to. */
  readonly expectedPeer?: PeerId;
  /** What lets us in where our key is on no list. */
  readonly ticket?: Ticket;
  /** What the session is for; ANY_SERVICE of @adit/signaling for nothing in particular. */
  readonly service: string;
  /** How long an unknown name is asked for again, ms. */
  readonly waitMs: number;
  /** One attempt, from Connect to a session that is up, ms. */
  readonly timeoutMs?: number;
}

/** A session with one peer, as both sides see it. */
export interface SessionHandle {
  /** 16 hexadecimal digits, the same on both sides and in the logs. */
  readonly id: string;
  readonly peer: { readonly id: PeerId; readonly name: string | null };
  readonly path: SessionPath;
  /** Round trip of a control message over the active path, ms. */
  ping(): Promise<number>;
  readonly closed: Promise<{ readonly code: string; readonly reason: string }>;
  status(): SessionStatus;
  close(reason?: string): void;
}

/** A session on the side that asked for it. */
export interface PeerSession extends SessionHandle {
  /** Resolves when another session should take over, since this one's streams are nearly used up; it ends with its last stream. */
  readonly retiring: Promise<void>;
  /**
   * Resolves when the connector accepted. `onRequested`: the request was written; bytes may follow it at once, and are void where it is
   * refused. The stream's callbacks are not the caller's before it resolves. @throws ServiceRefusedError, SessionError `closed`.
   */
  openService(name: string, onRequested?: (stream: QuicStream) => void): Promise<QuicStream>;
  /** The same for a `udp` service: a flow of datagrams. @throws as {@link openService}. */
  openFlow(name: string): Promise<DatagramFlow>;
}

/** What an endpoint knows of the network around it. */
export interface Surroundings {
  readonly network: NetworkView;
  /** Where the intermediates answer STUN requests, as far as they have said. */
  readonly stunServers: readonly SocketAddress[];
}

export interface Endpoint {
  readonly peerId: PeerId;
  readonly localAddresses: readonly SocketAddress[];
  readonly registered: boolean;
  /** Resolves once registered (connector) or welcomed (agent). @throws SessionError when it never will be. */
  waitRegistered(): Promise<void>;
  /** @throws SessionError */
  connect(options: ConnectOptions): Promise<PeerSession>;
  status(): EndpointStatus;
  /** For diagnosis. */
  surroundings(): Surroundings;
  /** Of the sessions that are up, the `limit` that have been so longest; for traces. */
  samples(limit: number): readonly SessionSample[];
  onSession: ((session: PeerSession) => void) | null;
  /** The intermediate said no for good (replaced, not-allowed, intermediate-changed, unsupported-version). */
  onStopped: ((code: string, message: string) => void) | null;
  /** Streams finish or are reset, allocations are released; bounded in time. */
  close(reason: string): Promise<void>;
}
