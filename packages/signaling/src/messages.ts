/**
 * The signaling messages as the program sees them. Their bytes are laid out in `layout.ts` and described in docs/protocol.md.
 * Identifiers of 64 bits are bigint; addresses are parsed, so that an invalid one never gets past the decoder.
 */
import type { SocketAddress } from "@adit/core";

/** The version that `Hello` carries. An intermediate that does not speak it answers `Error{unsupported-version}` and closes. */
export const PROTOCOL_VERSION = 1;

/** ALPN of the connection between a peer and its intermediate. */
export const SIGNALING_ALPN = "adit-signal/1";

/** What a client is: who asks for a service, or who offers it. */
export type Role = "agent" | "connector";

export type CandidateKind = "host" | "srflx" | "prflx" | "relay";

/** An ICE candidate as it is signalled (RFC 8839 §5.1): the same shape as the ICE agent's. */
export interface SignaledCandidate {
  /** 1..32 ice-chars. */
  readonly foundation: string;
  readonly component: 1;
  readonly transport: "udp";
  /** u32. */
  readonly priority: number;
  readonly address: SocketAddress;
  readonly type: CandidateKind;
  /** The address it was derived from (`raddr`/`rport`); null for host candidates, or when it is not told. */
  readonly related: SocketAddress | null;
}

/** The short-term credential of one ICE generation (RFC 8445 §5.3) and its ice-options. */
export interface SignaledIceParameters {
  /** 4..256 ice-chars. */
  readonly ufrag: string;
  /** 22..256 ice-chars. */
  readonly pwd: string;
  /** At most 8, such as `trickle`, `ice2`, `renomination`. */
  readonly options: readonly string[];
}

/** A TURN server and the short-lived credentials for it (RFC 8656, long-term credential mechanism). */
export interface TurnServer {
  /** Where it listens for UDP. An unspecified IP stands for the IP that this signaling connection goes to. */
  readonly address: SocketAddress;
  readonly username: string;
  readonly password: string;
  readonly realm: string;
  /** Seconds from receipt. */
  readonly expiresInS: number;
}

/** Client to intermediate, first of all. */
export interface Hello {
  readonly type: "hello";
  readonly version: number;
  /** Program and version for people, such as `adit/0.1.0`. */
  readonly agent: string;
  readonly role: Role;
}

/** The intermediate's answer to Hello; sent again, unasked, with fresh TURN credentials before the old ones expire. */
export interface Welcome {
  readonly type: "welcome";
  readonly version: number;
  /** The intermediate's PeerId. */
  readonly peerId: string;
  /** Where the client's packets come from, as the intermediate sees it: a server-reflexive candidate. */
  readonly observed: SocketAddress;
  readonly turn: TurnServer | null;
}

/** A connector takes a name. */
export interface Register {
  readonly type: "register";
  readonly requestId: bigint;
  readonly name: string;
}

export interface Registered {
  readonly type: "registered";
  readonly requestId: bigint;
  readonly name: string;
}

/** An agent asks for a connector, by name or PeerId. */
export interface Connect {
  readonly type: "connect";
  /** Chosen by the agent at random; names the session from here on. */
  readonly sessionId: bigint;
  readonly target: string;
  /** The PeerId that the name is pinned to: another one is refused with `peer-changed`. */
  readonly expectedPeer: string | null;
}

/** To the agent: the connector was found. */
export interface Connected {
  readonly type: "connected";
  readonly sessionId: bigint;
  readonly peerId: string;
  /** The connector's registered name, if it has one. */
  readonly name: string | null;
  /** The unspecified address with port 0 until the connector has answered; then the message comes again. */
  readonly peerObserved: SocketAddress;
}

/** To the connector, always before the offer. */
export interface Incoming {
  readonly type: "incoming";
  readonly sessionId: bigint;
  readonly peerId: string;
  readonly peerObserved: SocketAddress;
}

/** The service of an offer that is for none in particular, or for several. A connector refuses any other name that it does not expose. */
export const ANY_SERVICE = "any";

/** Agent to connector, right behind Connect. */
export interface CandidateOffer {
  readonly type: "candidate-offer";
  readonly sessionId: bigint;
  readonly serviceId: string;
  readonly ice: SignaledIceParameters;
  /** At most 64. */
  readonly candidates: readonly SignaledCandidate[];
  /** The proof of a ticket that the connector signed, in base32: for who is not on its list. */
  readonly ticket: string | null;
}

/** Connector to agent. */
export interface CandidateAnswer {
  readonly type: "candidate-answer";
  readonly sessionId: bigint;
  readonly ice: SignaledIceParameters;
  readonly candidates: readonly SignaledCandidate[];
}

/** One trickled candidate (RFC 8838), or null: no more of this generation. */
export interface TrickledCandidate {
  readonly type: "candidate";
  readonly sessionId: bigint;
  /** The sender's ufrag: which generation the candidate belongs to. */
  readonly ufrag: string;
  readonly candidate: SignaledCandidate | null;
}

/** To both sides at once: raise the pace of checks `targetTimeMs` after receipt. Nothing waits for it. */
export interface StartPunching {
  readonly type: "start-punching";
  readonly sessionId: bigint;
  /** A delay from receipt, 0..1000 ms; never a wall clock. */
  readonly targetTimeMs: number;
  readonly peerCandidates: readonly SignaledCandidate[];
}

/** How the session went, for the intermediate's counters. */
export interface PunchingResult {
  readonly type: "punching-result";
  readonly sessionId: bigint;
  readonly outcome: "direct" | "relay" | "failed";
  readonly detail: string;
}

/** To a client whose address, as seen by the intermediate, changed. */
export interface ObservedAddress {
  readonly type: "observed-address";
  readonly observed: SocketAddress;
}

/** An ICE restart (RFC 8445 §9): `answer` false asks, true answers. */
export interface Restart {
  readonly type: "restart";
  readonly sessionId: bigint;
  readonly ice: SignaledIceParameters;
  readonly candidates: readonly SignaledCandidate[];
  readonly answer: boolean;
}

/** What the sender sees of the active path: a claim that the receiver verifies by checks before it acts. */
export interface PathReport {
  readonly type: "path-report";
  readonly sessionId: bigint;
  readonly path: "direct" | "relay";
  readonly alive: boolean;
  /** How long nothing came, ms. */
  readonly silentMs: number;
}

export interface Ping {
  readonly type: "ping";
  readonly id: bigint;
}

export interface Pong {
  readonly type: "pong";
  readonly id: bigint;
}

/** Something was refused. Without a session or request it is about the connection, which closes. */
export interface ErrorMessage {
  readonly type: "error";
  /** One of {@link WIRE_ERROR_CODES}, or one that a newer peer knows. */
  readonly code: string;
  /** A sentence for people. */
  readonly message: string;
  readonly sessionId: bigint | null;
  readonly requestId: bigint | null;
}

/** The sender closes the connection and says why: `replaced`, `shutdown`, ... */
export interface Goodbye {
  readonly type: "goodbye";
  readonly reason: string;
}

/** What an intermediate says of a session when a party's key came back on another connection: it may be a new process, or have slept. */
export const PEER_CONNECTED_ANEW = "peer-connected-anew";

/** One session is over; the connection stays. Of a session that stands it is a hint. */
export interface SessionEnd {
  readonly type: "session-end";
  readonly sessionId: bigint;
  readonly reason: string;
}

export type SignalingMessage =
  | Hello
  | Welcome
  | Register
  | Registered
  | Connect
  | Connected
  | Incoming
  | CandidateOffer
  | CandidateAnswer
  | TrickledCandidate
  | StartPunching
  | PunchingResult
  | ObservedAddress
  | Restart
  | PathReport
  | Ping
  | Pong
  | ErrorMessage
  | Goodbye
  | SessionEnd;

export type SignalingType = SignalingMessage["type"];

/** What only the intermediate says. */
export type IntermediateOnly = Welcome | Registered | Connected | Incoming | StartPunching | ObservedAddress;

/** What only a client says. */
export type ClientOnly = Hello | Register | Connect | PunchingResult;

export type ClientMessage = Exclude<SignalingMessage, IntermediateOnly>;
export type IntermediateMessage = Exclude<SignalingMessage, ClientOnly>;
