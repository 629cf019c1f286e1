import {
  type Deadline,
  earliest,
  isRelaySocket,
  type Millis,
  nullLogger,
  SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import { IceAgent } from "../agent.ts";
import type { IceAgentOptions, IceEvent } from "../agent-types.ts";
import type { Candidate } from "../candidate.ts";
import type { PairId, PairInfo } from "../pair.ts";
import type { IceParameters } from "../parameters.ts";
import type { PortLease } from "../portmap/types.ts";
import { isStun } from "../stun/message.ts";
import type { RelayFamily } from "../turn/options.ts";
import { Gatherer, type TurnServer } from "./gatherer.ts";

/** What a {@link GatheringAgent} is made of. */
export interface GatheringAgentOptions extends IceAgentOptions {
  /** The address that each UDP socket is bound to: a host candidate each. */
  readonly sockets: ReadonlyMap<SocketId, SocketAddress>;
  /** Asked for server-reflexive candidates, from each socket of their family. */
  readonly stunServers?: readonly SocketAddress[];
  /** Asked for allocations over UDP, from each socket of their family. */
  readonly turnServers?: readonly TurnServer[];
  /** Of how many more servers {@link GatheringAgent.addTurnStream} or {@link GatheringAgent.turnStreamFailed} will tell. */
  readonly awaitedStreams?: number;
}

/** What an {@link IceAgent} says, and the end of gathering: no more local candidates for now. */
export type GatheringEvent = IceEvent | { readonly type: "gathered" };

/** Application data of one pair. */
export interface Traffic {
  /** Bytes of application data sent. */
  readonly sentBytes: number;
  /** Datagrams sent. */
  readonly sentDatagrams: number;
  /** Bytes of application data received. */
  readonly receivedBytes: number;
  /** Datagrams received. */
  readonly receivedDatagrams: number;
}

export const NO_TRAFFIC: Traffic = { sentBytes: 0, sentDatagrams: 0, receivedBytes: 0, receivedDatagrams: 0 };

/** More than a generation has pairs. */
const MAX_HEARD = 256;

/** Pairs whose traffic is remembered, those that are gone too; beyond it the oldest is forgotten. */
const MAX_COUNTED_PAIRS = 256;

/**
 * An agent with what it gathers: host, server-reflexive and relayed candidates, the allocations, and the data of one session.
 * Sans-IO like its parts; whoever drives it sees real sockets only, since what belongs to a relay is wrapped and unwrapped here.
 */
export class GatheringAgent {
  /** The agent inside, for what has no call here. */
  readonly agent: IceAgent;
  /** Of ours: as many as were given, and one for each stream. */
  readonly #servers: SocketAddress[] = [];
  readonly #gatherer: Gatherer;
  /**
   * Paths from which an authentic check came: data is taken from them before our own check is answered. {@link MAX_HEARD} at most, as pairs
   * of TCP connections and of earlier generations go without a word; beyond it the oldest is forgotten until its next check.
   */
  readonly #heard = new Set<PairId>();
  readonly #traffic = new Map<PairId, Traffic>();
  /** `unsaid`: the end of gathering waits to be fetched. */
  #gathering: "under-way" | "unsaid" | "over" = "under-way";

  constructor(now: Millis, options: GatheringAgentOptions) {
    const { sockets, stunServers = [], turnServers = [], awaitedStreams = 0, rules } = options;
    const { random, log = nullLogger } = options;
    this.agent = new IceAgent({
      ...options,
      isServer: (address) => this.#servers.some((one) => one.equals(address)) || options.isServer?.(address) === true,
    });
    for (const address of [...stunServers, ...turnServers.map((server) => server.address)]) this.#servers.push(address);
    for (const [socket, address] of sockets) this.agent.addLocalCandidate(now, { type: "host", address, socket });
    const families = rules?.families ?? [4, 6];
    const relayFamily: RelayFamily | null = families.includes(6) ? (families.includes(4) ? "both" : 6) : null;
    const servers = { stunServers, turnServers, awaitedStreams, relayFamily };
    this.#gatherer = new Gatherer({ sockets, ...servers, random, log, now });
    this.#takeGathered(now);
  }

  /** The pair that data goes over: the nominated one, until then the best valid one; null when there is none. */
  get path(): PairInfo | null {
    const { nominated } = this.agent;
    if (nominated) return nominated;
    let best: PairInfo | null = null;
    for (const pair of this.agent.pairs()) {
      if (pair.valid && (best === null || isPreferred(pair, best))) best = pair;
    }
    return best;
  }

  /** A candidate from the peer; null is the end of them. False: refused. */
  addRemoteCandidate(now: Millis, candidate: Candidate | null): boolean {
    const accepted = candidate === null || this.agent.addRemoteCandidate(now, candidate);
    if (candidate === null) this.agent.endOfRemoteCandidates(now);
    else if (accepted && candidate.mdnsName === undefined) this.#gatherer.permit(now, candidate.address);
    return accepted;
  }

  /** A host candidate over TCP (RFC 6544), off a socket of its own. Servers are not asked from there. */
  addTcpSocket(now: Millis, socket: SocketId, address: SocketAddress, tcpType: "active" | "passive"): void {
    this.agent.addLocalCandidate(now, { type: "host", address, socket, tcpType });
    if (this.#gathering !== "under-way") this.agent.endOfLocalCandidates(now);
  }

  /** A network has come up. What works is not touched; the peer is told of new candidates as they are found. */
  addSocket(now: Millis, socket: SocketId, address: SocketAddress): void {
    this.agent.addLocalCandidate(now, { type: "host", address, socket });
    this.#gatherer.addSocket(now, socket, address);
    this.#takeGathered(now);
  }

  /** The router has given a socket a port of its own: a server-reflexive candidate, with the router as the server that told it. */
  addMapping(now: Millis, socket: SocketId, { external, gateway }: Pick<PortLease, "external" | "gateway">): void {
    const server = SocketAddress.of(gateway, 0);
    this.agent.addLocalCandidate(now, { type: "srflx", address: external, socket, server });
    if (this.#gathering !== "under-way") this.agent.endOfLocalCandidates(now);
  }

  /** A connection to a TURN server stands, off a socket of its own. */
  addTurnStream(now: Millis, socket: SocketId, base: SocketAddress, server: TurnServer): void {
    if (!this.#servers.some((one) => one.equals(server.address))) this.#servers.push(server.address);
    this.#gatherer.addStream(now, socket, base, server);
    this.#takeGathered(now);
  }

  /** A TURN server cannot be reached by the stream that it is to be reached by: nobody waits for it any more. */
  turnStreamFailed(now: Millis): void {
    this.#gatherer.streamFailed(now);
    this.#takeGathered(now);
  }

  /** Begins a new generation, as {@link IceAgent.restart}; what servers told us is asked for again. */
  restart(now: Millis): IceParameters {
    const parameters = this.agent.restart(now);
    this.#gatherer.restart(now);
    return parameters;
  }

  /** A network is gone: its candidates and pairs go, also those of allocations that were made through it. */
  removeSocket(now: Millis, socket: SocketId): void {
    this.agent.removeLocalSocket(now, socket);
    this.#gatherer.removeSocket(now, socket);
    this.#takeGathered(now);
  }

  /** The machine slept, or the network may have changed unseen: every valid pair and every allocation is asked for at once. */
  probe(now: Millis): void {
    for (const { valid, id } of this.agent.pairs()) if (valid) this.agent.probe(now, id);
    this.#gatherer.probe(now);
  }

  /** What each pair carried, by pair; those that carried nothing are left out. */
  get traffic(): ReadonlyMap<PairId, Traffic> {
    return this.#traffic;
  }

  /** The datagram that carries `data` over {@link path}; null when there is none. */
  wrap(data: Uint8Array): Transmit | null {
    const { path } = this;
    const out = path && this.#outer({ data, socket: path.socket, to: path.remote.address });
    if (out) this.#count(path.id, { sentBytes: data.length, sentDatagrams: 1 });
    return out;
  }

  /** Returns what is the application's, a view on `data`; null when there is nothing for it. */
  handleDatagram(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): Uint8Array | null {
    const taken = this.#gatherer.handleDatagram(now, socket, from, data);
    let received: Uint8Array | null = null;
    if (taken.kind === "relayed") received = this.#receive(now, taken.socket, taken.peer, taken.data);
    else if (taken.kind === "other") received = this.#receive(now, socket, from, data);
    this.#takeGathered(now);
    return received;
  }

  /** Does what is due; to be called when {@link pollTimeout} says, or any time. */
  handleTimeout(now: Millis): void {
    this.#gatherer.handleTimeout(now);
    this.agent.handleTimeout(now);
    this.#takeGathered(now);
  }

  /** When {@link handleTimeout} is to be called, on the clock of `now`, and why; null: not before something else happens. */
  pollTimeout(): Deadline | null {
    return earliest(this.#gatherer.pollTimeout(), this.agent.pollTimeout());
  }

  /** The next datagram to be sent, from a real socket; null when there is none. */
  pollTransmit(): Transmit | null {
    const own = this.#gatherer.pollTransmit();
    if (own) return own;
    for (let out = this.agent.pollTransmit(); out; out = this.agent.pollTransmit()) {
      const outer = this.#outer(out);
      if (outer) return outer;
    }
    return null;
  }

  /** What happened next; null when nothing more did. */
  pollEvent(now: Millis): GatheringEvent | null {
    const event = this.agent.pollEvent();
    if (event) {
      // A channel spares the relay and us 32 bytes a datagram.
      if (event.type === "nominated") {
        this.#gatherer.allocation(event.pair.socket)?.bindChannel(now, event.pair.remote.address);
      } else if (event.type === "pair-expired") {
        this.#heard.delete(event.pair.id);
      } else if (event.type === "completed" || event.type === "failed") {
        this.#gatherer.conclude();
      }
      return event;
    }
    if (this.#gathering !== "unsaid") return null;
    this.#gathering = "over";
    return { type: "gathered" };
  }

  /** Gives the allocations back; what `pollTransmit` has then is the last. */
  close(now: Millis): void {
    this.agent.close();
    this.#gatherer.close(now);
    this.#heard.clear();
    this.#gathering = "over";
  }

  #receive(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): Uint8Array | null {
    if (isStun(data)) {
      const receipt = this.agent.handleDatagram(now, socket, from, data);
      if (receipt.kind === "request" && receipt.pair !== null) this.#hear(receipt.pair);
      return null;
    }
    const pair = this.agent.pairByPath(socket, from);
    if (!pair || !(pair.valid || this.#heard.has(pair.id))) return null;
    this.#count(pair.id, { receivedBytes: data.length, receivedDatagrams: 1 });
    return data;
  }

  #hear(id: PairId): void {
    this.#heard.delete(id);
    this.#heard.add(id);
    if (this.#heard.size <= MAX_HEARD) return;
    for (const oldest of this.#heard) {
      this.#heard.delete(oldest);
      return;
    }
  }

  #count(id: PairId, more: Partial<Traffic>): void {
    const now = this.#traffic.get(id) ?? NO_TRAFFIC;
    if (now === NO_TRAFFIC && this.#traffic.size >= MAX_COUNTED_PAIRS) {
      for (const oldest of this.#traffic.keys()) {
        this.#traffic.delete(oldest);
        break;
      }
    }
    this.#traffic.set(id, {
      sentBytes: now.sentBytes + (more.sentBytes ?? 0),
      sentDatagrams: now.sentDatagrams + (more.sentDatagrams ?? 0),
      receivedBytes: now.receivedBytes + (more.receivedBytes ?? 0),
      receivedDatagrams: now.receivedDatagrams + (more.receivedDatagrams ?? 0),
    });
  }

  /** As it leaves a real socket; null when its allocation is gone. */
  #outer(inner: Transmit): Transmit | null {
    if (!isRelaySocket(inner.socket)) return inner;
    const client = this.#gatherer.allocation(inner.socket);
    if (client?.state !== "allocated") return null;
    return { data: client.send(inner.to, inner.data), socket: client.socket, to: client.server };
  }

  #takeGathered(now: Millis): void {
    for (let event = this.#gatherer.pollEvent(); event; event = this.#gatherer.pollEvent()) {
      switch (event.type) {
        case "candidate":
          this.agent.addLocalCandidate(now, event.candidate);
          // A server that spoke up late: the peer may have it, but nobody waits for more.
          if (this.#gathering !== "under-way") this.agent.endOfLocalCandidates(now);
          break;
        case "socket-lost":
          this.agent.removeLocalSocket(now, event.socket);
          break;
        case "done":
          this.agent.endOfLocalCandidates(now);
          this.#gathering = "unsaid";
          break;
      }
    }
  }
}

function isPreferred(pair: PairInfo, best: PairInfo): boolean {
  if (pair.direct !== best.direct) return pair.direct;
  return pair.priority > best.priority;
}
