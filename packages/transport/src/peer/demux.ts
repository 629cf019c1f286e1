import { Counters, type Millis, type SocketAddress, type SocketId, toHex } from "@adit/core";
import { IceAgent, isStun, type PairId, pairId } from "@adit/ice";
import type { QuicConnection, QuicEndpoint } from "@adit/quic";
import { ConnectorSession } from "./connector-session.ts";
import type { Session } from "./session.ts";
import { sessionTag } from "./session-tag.ts";

/** "Initials that overtake their check wait, at most 4 per session, 200 ms." */
export const EARLY_PER_SESSION = 4;
export const EARLY_FOR_MS = 200;
/** Of the source connection ID, which ends in the session's tag. */
const TAG_BYTES = 8;
/** Of first packets that wait, for all sessions together. */
const MAX_EARLY = 64;

export type DemuxDrop =
  | "empty"
  | "unknown-protocol"
  | "check-for-nobody"
  | "answer-to-nobody"
  | "quic-from-stranger"
  | "quic-not-ours"
  | "early-overflow"
  | "early-expired";

interface Early {
  readonly at: Millis;
  readonly session: ConnectorSession;
  readonly socket: SocketId;
  readonly from: SocketAddress;
  readonly data: Uint8Array;
}

/**
 * Finds the session that a peer's datagram is for (RFC 7983 as updated by RFC 9443; what comes from the intermediate was taken
 * out before). STUN goes by username fragment or transaction, QUIC by connection ID, a first QUIC packet by the session that it names.
 */
export class Demux {
  readonly drops = new Counters<DemuxDrop>();
  readonly #quic: QuicEndpoint;
  readonly #byUfrag = new Map<string, Session>();
  readonly #byPair = new Map<PairId, Set<Session>>();
  /** By what the end of an agent's first source connection ID says. */
  readonly #byTag = new Map<string, ConnectorSession>();
  readonly #byConnection = new WeakMap<QuicConnection, Session>();
  readonly #onRelayedPeer: (now: Millis, socket: SocketId, from: SocketAddress) => void;
  #early: Early[] = [];

  /** `onAuthenticated`: an authenticated check came from there. */
  constructor(quic: QuicEndpoint, onAuthenticated: (now: Millis, socket: SocketId, from: SocketAddress) => void) {
    this.#quic = quic;
    this.#onRelayedPeer = onAuthenticated;
  }

  /** First packets may ask for that session from now on. */
  add(session: Session): void {
    this.claimUfrags(session);
    if (session instanceof ConnectorSession) this.#byTag.set(toHex(sessionTag(session.sessionId)), session);
  }

  /** The session answers to these username fragments now. */
  claimUfrags(session: Session): void {
    const current = session.ice.localUfrags;
    for (const [ufrag, owner] of this.#byUfrag) {
      if (owner === session && !current.includes(ufrag)) this.#byUfrag.delete(ufrag);
    }
    for (const ufrag of current) this.#byUfrag.set(ufrag, session);
  }

  claimPair(pair: PairId, session: Session): void {
    const sessions = this.#byPair.get(pair);
    if (!sessions) this.#byPair.set(pair, new Set([session]));
    else if (!sessions.has(session)) sessions.add(session);
  }

  unclaimPair(pair: PairId, session: Session): void {
    const sessions = this.#byPair.get(pair);
    if (sessions?.delete(session) && sessions.size === 0) this.#byPair.delete(pair);
  }

  claimConnection(connection: QuicConnection, session: Session): void {
    this.#byConnection.set(connection, session);
  }

  forget(session: Session): void {
    this.#byTag.delete(toHex(sessionTag(session.sessionId)));
    for (const [ufrag, owner] of this.#byUfrag) if (owner === session) this.#byUfrag.delete(ufrag);
    for (const [pair, sessions] of this.#byPair) {
      if (sessions.delete(session) && sessions.size === 0) this.#byPair.delete(pair);
    }
  }

  handleDatagram(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): void {
    if (data.length === 0) this.drops.add("empty");
    else if (isStun(data)) this.#handleStun(now, socket, from, data);
    // RFC 9000 §17: the fixed bit. Greased ones (RFC 9287) are not offered.
    else if (((data[0] as number) & 0x40) !== 0) this.#handleQuic(now, socket, from, data);
    else this.drops.add("unknown-protocol");
  }

  /** First packets whose check has come meanwhile go to their session; those that waited too long go. */
  retryEarly(now: Millis): void {
    if (this.#early.length === 0) return;
    const waiting = this.#early;
    this.#early = [];
    for (const early of waiting) {
      if (now >= early.at + EARLY_FOR_MS) this.drops.add("early-expired");
      else this.#handleQuic(early.at, early.socket, early.from, early.data, now);
    }
  }

  #handleStun(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): void {
    const ufrag = IceAgent.localUfragOf(data);
    const session =
      ufrag !== null ? this.#byUfrag.get(ufrag) : this.#ownerOf(pairId(socket, from), data.subarray(8, 20));
    if (!session) return this.drops.add(ufrag !== null ? "check-for-nobody" : "answer-to-nobody");
    if (!session.handleStun(now, socket, from, data)) return;
    this.#onRelayedPeer(now, socket, from);
    this.retryEarly(now);
  }

  #ownerOf(pair: PairId, transactionId: Uint8Array): Session | undefined {
    for (const session of this.#byPair.get(pair) ?? []) {
      if (session.ice.ownsTransaction(transactionId)) return session;
    }
    return undefined;
  }

  /** `arrivedAt` is earlier than `now` for a packet that waited. */
  #handleQuic(arrivedAt: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array, now = arrivedAt): void {
    const route = this.#quic.route(data);
    switch (route.kind) {
      case "connection": {
        const session = this.#byConnection.get(route.connection);
        if (!session) return this.drops.add("quic-not-ours");
        return session.handlePacket(now, route.connection, socket, from, data);
      }
      case "initial": {
        const session = this.#byTag.get(toHex(route.header.sourceId.subarray(-TAG_BYTES)));
        if (!session?.mayAccept) return this.drops.add("quic-from-stranger");
        if (session.data.gates.isOpen(now, pairId(socket, from))) {
          return session.accept(now, this.#quic, route.header, socket, from, data);
        }
        return this.#hold({ at: arrivedAt, session, socket, from, data });
      }
      case "drop":
        return this.drops.add("quic-from-stranger");
    }
  }

  #hold(early: Early): void {
    const ofSession = this.#early.filter(({ session }) => session === early.session).length;
    if (ofSession >= EARLY_PER_SESSION || this.#early.length >= MAX_EARLY) this.drops.add("early-overflow");
    else this.#early.push(early);
  }
}
