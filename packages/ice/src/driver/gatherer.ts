import {
  type Deadline,
  earliest,
  FIRST_RELAY_ID,
  type Logger,
  type Millis,
  type Random,
  type SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import type { LocalCandidateInit } from "../agent-types.ts";
import { MIN_TA_MS } from "../parameters.ts";
import { getAddress, getXorAddress } from "../stun/attributes.ts";
import { StunBuilder } from "../stun/builder.ts";
import { decodeStun } from "../stun/message.ts";
import { ServerTimeouts } from "../stun/server-timeouts.ts";
import { STUN_ATTRIBUTE, STUN_ERROR, STUN_METHOD } from "../stun/tables.ts";
import { StunTransactions } from "../stun/transaction.ts";
import { TurnClient } from "../turn/client.ts";
import type { RelayFamily, TurnTransport } from "../turn/options.ts";

/** A TURN server that an address is known of. */
export interface TurnServer {
  /** Where it listens. */
  readonly address: SocketAddress;
  /** Of long-term credentials (RFC 8489 §9.2). */
  readonly username: string;
  /** Of long-term credentials; never logged. */
  readonly password: string;
  /** How it is reached; UDP unless given. */
  readonly transport?: TurnTransport;
}

/**
 * When gathering is said to be over, whatever is still awaited: a dead server costs the others nothing. Each server is asked on by
 * its own clock (RFC 8489 §6.2.1), and what it says later is still announced, as the peer's checks go on for as long.
 */
export const GATHERING_LIMIT_MS = 5_000;

/**
 * RFC 8445 §5.1.1.2: "Every time Ta expires, the agent can generate another new STUN or TURN transaction." It is the least that §14.2
 * lets be: the servers are few, and the peer waits for what they say.
 */
export const GATHERING_TA_MS = MIN_TA_MS;

/**
 * RFC 8445 §5.1.1.4: "For server-reflexive candidates learned through a Binding request, the bindings MUST be kept alive by additional
 * Binding requests to the server", until ICE has concluded; so often, as §11 has it for the pairs.
 */
export const BINDING_KEEPALIVE_MS = 15_000;

export type GathererEvent =
  | { readonly type: "candidate"; readonly candidate: LocalCandidateInit }
  /** An allocation is gone, with its candidates. */
  | { readonly type: "socket-lost"; readonly socket: SocketId }
  /** Every server has answered or been given up. */
  | { readonly type: "done" };

export interface GathererServers {
  readonly stunServers: readonly SocketAddress[];
  /** Reached by UDP, from each socket. Others come by {@link Gatherer.addStream}. */
  readonly turnServers: readonly TurnServer[];
  /** Streams to further servers that are being made: gathering waits for their outcome. */
  readonly awaitedStreams: number;
  /** Of relayed addresses; null: IPv4, without saying so (RFC 5766 has no word for it). */
  readonly relayFamily: RelayFamily | null;
  readonly random: Random;
  readonly log: Logger;
}

/** Peers that later allocations let in at once; more than a session has remote candidates. Beyond it the oldest is forgotten. */
const MAX_PERMITTED = 256;

interface Turn {
  readonly client: TurnClient;
  readonly base: SocketAddress;
  /** The address that the server sees is one that a peer can reach. */
  readonly isUdp: boolean;
  settled: boolean;
}

interface Query {
  readonly socket: SocketId;
  readonly base: SocketAddress;
  readonly server: SocketAddress;
}

/** Server-reflexive and relayed candidates (RFC 8445 §5.1.1.2) for some sockets; keeps the allocations, which act as sockets. Sans-IO. */
export class Gatherer {
  readonly #queries: StunTransactions<Query>;
  readonly #servers: GathererServers;
  readonly #timeouts = new ServerTimeouts();
  /** By the socket that each allocation acts as. As many as sockets and servers make, 16 each in the driver. */
  readonly #turns = new Map<SocketId, Turn>();
  #nextRelay: SocketId = FIRST_RELAY_ID;
  /** Sockets that went while queries from them were under way. */
  readonly #gone = new Set<SocketId>();
  readonly #events: GathererEvent[] = [];
  /** IP addresses that every allocation lets in, those to come too. */
  readonly #permitted = new Set<string>();
  /** Those that servers are asked from by UDP, with the address of each. */
  readonly #sockets = new Map<SocketId, SocketAddress>();
  #awaitedStreams: number;
  /** Transactions that wait for their turn: as many as sockets and servers make. */
  readonly #starts: { readonly socket: SocketId; readonly start: (now: Millis) => void }[] = [];
  #nextStartAt: Millis = Number.NEGATIVE_INFINITY;
  #endsAt: Millis | null = null;
  /** Bindings that servers told us, with when to ask again: one for each socket and server. */
  #bindings: { readonly query: Query; readonly at: Millis }[] = [];
  #isConcluded = false;

  constructor(o: GathererServers & { readonly sockets: ReadonlyMap<SocketId, SocketAddress>; readonly now: Millis }) {
    this.#servers = o;
    this.#queries = new StunTransactions();
    this.#awaitedStreams = o.awaitedStreams;
    for (const [socket, base] of o.sockets) this.#gather(o.now, socket, base);
    this.#endsAt = o.now + GATHERING_LIMIT_MS;
    this.#startNext(o.now);
    this.#settle(o.now);
  }

  /** A network has come up: the servers are asked from there, too. */
  addSocket(now: Millis, socket: SocketId, base: SocketAddress): void {
    this.#gone.delete(socket);
    this.#gather(now, socket, base);
    this.#endsAt ??= now + GATHERING_LIMIT_MS;
    this.#startNext(now);
    this.#settle(now);
  }

  /** A connection to a TURN server stands; `base` is our end of it. */
  addStream(now: Millis, socket: SocketId, base: SocketAddress, server: TurnServer): void {
    this.#awaitedStreams--;
    this.#allocate(now, socket, base, server);
    this.#startNext(now);
    this.#settle(now);
  }

  /** There is none: it could not be made. */
  streamFailed(now: Millis): void {
    this.#awaitedStreams--;
    this.#settle(now);
  }

  /** A network is gone, with what was got through it; the relays find out by themselves. */
  removeSocket(now: Millis, socket: SocketId): void {
    this.#sockets.delete(socket);
    if (this.#queries.size > 0) this.#gone.add(socket);
    const waiting = this.#starts.filter((one) => one.socket !== socket);
    this.#starts.splice(0, this.#starts.length, ...waiting);
    this.#bindings = this.#bindings.filter(({ query }) => query.socket !== socket);
    for (const [relaySocket, { client }] of this.#turns) {
      if (client.socket !== socket) continue;
      this.#turns.delete(relaySocket);
      this.#events.push({ type: "socket-lost", socket: relaySocket });
    }
    this.#settle(now);
  }

  /** ICE has its pair, or has failed: bindings are no longer kept. */
  conclude(): void {
    this.#isConcluded = true;
    this.#bindings = [];
  }

  /** ICE begins anew: every STUN server is asked again what it sees, as bindings were not kept since it concluded. */
  restart(now: Millis): void {
    if (!this.#isConcluded) return;
    this.#isConcluded = false;
    for (const [socket, base] of this.#sockets) this.#askServers(socket, base);
    this.#startNext(now);
  }

  /** Whatever is held is asked for at once: the machine slept, or the network behind a socket changed. */
  probe(now: Millis): void {
    for (const { client } of this.#turns.values()) client.probe(now);
  }

  /** The allocation that a relay socket names. */
  allocation(relaySocket: SocketId): TurnClient | null {
    return this.#turns.get(relaySocket)?.client ?? null;
  }

  /** Lets a peer's address reach every allocation, also those to come. */
  permit(now: Millis, peer: SocketAddress): void {
    for (const { client } of this.#turns.values()) client.addPermission(now, peer.ip);
    this.#permitted.delete(peer.ip);
    this.#permitted.add(peer.ip);
    if (this.#permitted.size <= MAX_PERMITTED) return;
    for (const oldest of this.#permitted) {
      this.#permitted.delete(oldest);
      return;
    }
  }

  /**
   * `consumed`: it was for the gatherer. `relayed`: it came through an allocation, from `peer`. `other`: not from or for a server.
   */
  handleDatagram(
    now: Millis,
    socket: SocketId,
    from: SocketAddress,
    data: Uint8Array,
  ):
    | { readonly kind: "consumed" | "other" }
    | {
        readonly kind: "relayed";
        readonly socket: SocketId;
        readonly peer: SocketAddress;
        readonly data: Uint8Array;
      } {
    if (this.#handleAnswer(now, socket, from, data)) return { kind: "consumed" };
    let fromServer = false;
    for (const { client } of this.#turns.values()) {
      if (client.socket !== socket || !client.server.equals(from)) continue;
      fromServer = true;
      const relayed = client.handleDatagram(now, data);
      this.#drainTurns();
      this.#settle(now);
      if (relayed) return { kind: "relayed", socket: client.relaySocket, ...relayed };
    }
    return { kind: fromServer ? "consumed" : "other" };
  }

  handleTimeout(now: Millis): void {
    this.#renewBindings(now);
    this.#startNext(now);
    for (const { context } of this.#queries.handleTimeout(now)) this.#timeouts.unanswered(context.server.ip);
    for (const { client } of this.#turns.values()) client.handleTimeout(now);
    this.#drainTurns();
    this.#settle(now);
  }

  pollTimeout(): Deadline | null {
    let deadline = this.#queries.pollTimeout();
    if (this.#starts.length > 0) deadline = earliest(deadline, { at: this.#nextStartAt, reason: "gathering-pace" });
    for (const { client } of this.#turns.values()) deadline = earliest(deadline, client.pollTimeout());
    for (const { at } of this.#bindings) deadline = earliest(deadline, { at, reason: "binding-keepalive" });
    return this.#endsAt === null ? deadline : earliest(deadline, { at: this.#endsAt, reason: "gathering-limit" });
  }

  pollTransmit(): Transmit | null {
    for (let query = this.#queries.pollTransmit(); query; query = this.#queries.pollTransmit()) {
      const { socket, server } = query.context;
      if (!this.#gone.has(socket)) return { data: query.request, socket, to: server };
    }
    for (const { client } of this.#turns.values()) {
      const transmit = client.pollTransmit();
      if (transmit) return transmit;
    }
    return null;
  }

  pollEvent(): GathererEvent | null {
    return this.#events.shift() ?? null;
  }

  /** Gives the allocations back; what `pollTransmit` has then is the last. */
  close(now: Millis): void {
    this.#queries.clear();
    this.#starts.length = 0;
    this.#events.length = 0;
    this.#endsAt = null;
    this.conclude();
    for (const { client } of this.#turns.values()) client.close(now);
  }

  #gather(now: Millis, socket: SocketId, base: SocketAddress): void {
    this.#sockets.set(socket, base);
    this.#askServers(socket, base);
    for (const server of this.#servers.turnServers) {
      if (server.address.family === base.family) this.#allocate(now, socket, base, server);
    }
  }

  #askServers(socket: SocketId, base: SocketAddress): void {
    for (const server of this.#servers.stunServers) {
      if (server.family === base.family) this.#askInTurn({ socket, base, server });
    }
  }

  #askInTurn(query: Query): void {
    this.#starts.push({ socket: query.socket, start: (at) => this.#ask(at, query) });
  }

  #allocate(now: Millis, socket: SocketId, base: SocketAddress, server: TurnServer): void {
    const { random, log, relayFamily: family } = this.#servers;
    const { address, username, password, transport = "udp" } = server;
    const relaySocket = this.#nextRelay++;
    const client = new TurnClient({
      server: address,
      transport,
      socket,
      relaySocket,
      username,
      password,
      ...(family === null ? {} : { family }),
      followAlternate: true,
      timeouts: this.#timeouts,
      random,
      log,
    });
    this.#starts.push({ socket, start: (at) => client.start(at) });
    for (const ip of this.#permitted) client.addPermission(now, ip);
    this.#turns.set(relaySocket, { client, base, isUdp: transport === "udp", settled: false });
  }

  /** The next transaction, when its time has come. */
  #startNext(now: Millis): void {
    if (now < this.#nextStartAt) return;
    const next = this.#starts.shift();
    if (!next) return;
    this.#nextStartAt = now + GATHERING_TA_MS;
    next.start(now);
  }

  #ask(now: Millis, query: Query): void {
    const request = new StunBuilder("request", STUN_METHOD.BINDING, this.#servers.random.bytes(12));
    const rtoMs = this.#timeouts.rtoMs(now, query.server.ip);
    this.#queries.start(now, request.build({ fingerprint: true }), query, { rtoMs });
  }

  #keepBinding(now: Millis, query: Query): void {
    if (this.#isConcluded) return;
    const others = this.#bindings.filter(
      (one) => one.query.socket !== query.socket || !one.query.server.equals(query.server),
    );
    this.#bindings = [...others, { query, at: now + BINDING_KEEPALIVE_MS }];
  }

  #renewBindings(now: Millis): void {
    const due = this.#bindings.filter(({ at }) => at <= now);
    if (due.length === 0) return;
    this.#bindings = this.#bindings.filter(({ at }) => at > now);
    for (const { query } of due) this.#askInTurn(query);
  }

  /** Whether it was the answer of a STUN server that was asked. */
  #handleAnswer(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): boolean {
    if (this.#queries.size === 0) return false;
    const message = decodeStun(data);
    const pending = message && this.#queries.match(message);
    if (!message || !pending) return false;
    const { context: query } = pending;
    if (query.socket !== socket || !query.server.equals(from)) return false;
    this.#queries.finish(pending);
    this.#timeouts.answered(now, from.ip, pending.transaction);
    const mapped =
      getXorAddress(message, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS) ?? getAddress(message, STUN_ATTRIBUTE.MAPPED_ADDRESS);
    if (message.class === "success" && mapped) {
      this.#announceReflexive(query, mapped);
      this.#keepBinding(now, query);
    }
    this.#settle(now);
    return true;
  }

  #announceReflexive({ socket, base, server }: Query, address: SocketAddress): void {
    this.#events.push({ type: "candidate", candidate: { type: "srflx", address, socket, base, server } });
  }

  #drainTurns(): void {
    for (const turn of this.#turns.values()) {
      const { client, base, isUdp } = turn;
      const { server, socket, relaySocket } = client;
      for (let event = client.pollEvent(); event; event = client.pollEvent()) {
        if (event.type === "allocated") {
          turn.settled = true;
          if (event.mapped && isUdp) this.#announceReflexive({ socket, base, server }, event.mapped);
          const related = event.mapped ?? base;
          for (const address of [event.relayed, event.additional]) {
            if (!address) continue;
            const candidate = { type: "relay", address, socket: relaySocket, server, related } as const;
            this.#events.push({ type: "candidate", candidate });
          }
        } else if (event.type === "lost") {
          this.#events.push({ type: "socket-lost", socket: relaySocket });
        } else if (event.type === "failed") {
          turn.settled = true;
          // §5.1.1.2: "the agent SHOULD instead send a Binding request to obtain a server-reflexive candidate."
          if (isUdp && isOutOfResources(event.code)) this.#askInTurn({ socket, base, server });
        }
      }
    }
  }

  #settle(now: Millis): void {
    if (this.#queries.size === 0) this.#gone.clear();
    if (this.#endsAt === null) return;
    const all =
      this.#starts.length === 0 &&
      this.#queries.size === 0 &&
      this.#awaitedStreams <= 0 &&
      [...this.#turns.values()].every(({ settled }) => settled);
    if (!all && now < this.#endsAt) return;
    this.#endsAt = null;
    this.#events.push({ type: "done" });
  }
}

/** "If the Allocate request is rejected because the server lacks resources to fulfill it" (RFC 8445 §5.1.1.2). */
const isOutOfResources = (code: number | null): boolean =>
  code === STUN_ERROR.INSUFFICIENT_CAPACITY || code === STUN_ERROR.ALLOCATION_QUOTA_REACHED;
