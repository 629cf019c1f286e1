import {
  type Clock,
  classifyIp,
  type Logger,
  monotonicClock,
  nullLogger,
  type SocketAddress,
  type SocketId,
  systemRandom,
} from "@adit/core";
import type { Candidate } from "../candidate.ts";
import { isMdnsName } from "../mdns/message.ts";
import { MdnsResolver } from "../mdns/resolver.ts";
import type { PairInfo } from "../pair.ts";
import type { IceParameters } from "../parameters.ts";
import { PortMapping } from "../portmap/driver.ts";
import { Rules } from "../rules.ts";
import { candidateOf, parseCandidateAttribute } from "../sdp.ts";
import { type CandidateStats, candidateStats } from "./candidate-stats.ts";
import { DatagramQueue } from "./datagram-queue.ts";
import { IceConnectionError } from "./errors.ts";
import type { TurnServer } from "./gatherer.ts";
import { GatheringAgent, NO_TRAFFIC, type Traffic } from "./gathering-agent.ts";
import { hostAddresses, MAX_SOCKETS } from "./host-addresses.ts";
import { LocalSockets, type OpenSocket, type OpenStream } from "./local-sockets.ts";
import { type NetworkChange, NetworkWatch, WATCH_INTERVAL_MS } from "./network-watch.ts";
import type { IceConnectionOptions } from "./options.ts";
import { parseServer, type ResolvedTurnServers, resolveAll, resolveTurnServers } from "./resolve.ts";
import { TurnStreams } from "./turn-streams.ts";

/**
 * Binds and begins to gather.
 * @throws IceConnectionError `bind-failed`, `bad-server`, `closed`; IceRuleError `bad-rule`; AddressError `bad-address` for what `bind` cannot mean.
 */
export async function createIceConnection(options: IceConnectionOptions): Promise<IceConnection> {
  const log = options.log ?? nullLogger;
  const [stun, turn] = await Promise.all([
    Promise.all((options.stunServers ?? []).map((text) => resolveAll(parseServer(text, "stun")))),
    resolveTurnServers(options.turnServers ?? []),
  ]);
  new Rules(options.rules); // whoever cannot be understood is told before anything is open
  const receiver: { current: IceConnection | null } = { current: null };
  const sockets = new LocalSockets({
    tcp: options.tcp === true && options.policy !== "relay",
    onDatagram: (socket, data, from) => receiver.current?.handleDatagram(socket, from, data),
    onClosed: (socket, remote) => receiver.current?.handleClosed(socket, remote),
    isKnown: (socket, remote) => receiver.current?.isKnown(socket, remote) ?? false,
    log,
  });
  try {
    for (const text of bindAddresses(options)) await sockets.open(text);
    if (options.signal?.aborted) throw new IceConnectionError("closed", "the connection was aborted");
  } catch (error) {
    await sockets.close();
    throw error;
  }
  receiver.current = new IceConnection(options, sockets, stun.flat(), turn);
  return receiver.current;
}

type State =
  | { readonly kind: "open" }
  | { readonly kind: "failed"; readonly reason: string }
  | { readonly kind: "closed"; readonly done: Promise<void> };

/** Candidates that wait for {@link IceConnection.onCandidate} to be set; there are no more of them. */
const MAX_UNHEARD_CANDIDATES = 128;

/**
 * Datagrams between two peers over the best path that ICE finds. Iterate it to receive; one reader. A datagram that has the form
 * of a STUN message is taken for one (RFC 7983), so protocols on top must be tellable from STUN, as QUIC, DTLS and RTP are.
 */
export class IceConnection implements AsyncIterable<Uint8Array> {
  readonly #machine: GatheringAgent;
  readonly #turnStreams: TurnStreams;
  readonly #mdns: MdnsResolver;
  readonly #sockets: LocalSockets;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #received = new DatagramQueue();
  readonly #signal: AbortSignal | null;
  readonly #onAbort = (): void => void this.close();
  readonly #unheard: (Candidate | null)[] = [];
  #onCandidate: ((candidate: Candidate | null) => void) | null = null;
  #waiters: { resolve(pair: PairInfo): void; reject(error: Error): void }[] = [];
  /** Of the sockets that leave through a router; as many as sockets at most. */
  readonly #mapsPorts: boolean;
  readonly #mappings = new Map<SocketId, PortMapping>();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #watchTimer: ReturnType<typeof setInterval> | null = null;
  #state: State = { kind: "open" };

  /** @internal Made by {@link createIceConnection}. */
  constructor(
    options: IceConnectionOptions,
    sockets: LocalSockets,
    stunServers: readonly SocketAddress[],
    turnServers: ResolvedTurnServers,
  ) {
    const { role, policy, rules, taMs, random = systemRandom, log = nullLogger } = options;
    this.#sockets = sockets;
    this.#log = log;
    this.#clock = options.clock ?? monotonicClock;
    this.#machine = new GatheringAgent(this.#clock.now(), {
      role,
      random,
      log,
      sockets: new Map(sockets.all.filter(({ tcpType }) => !tcpType).map(({ id, address }) => [id, address])),
      stunServers,
      turnServers: turnServers.udp,
      awaitedStreams: turnServers.streams.length,
      ...(policy === undefined ? {} : { policy }),
      ...(rules === undefined ? {} : { rules }),
      ...(taMs === undefined ? {} : { taMs }),
    });
    this.#turnStreams = this.#openStreams(turnServers);
    const localIps = () => sockets.all.filter(({ tcpType }) => !tcpType).map(({ address }) => address.ip);
    this.#mdns = new MdnsResolver({ localIps, random, log });
    this.#signal = options.signal ?? null;
    this.#signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#mapsPorts = options.portMapping === true && policy !== "relay";
    for (const socket of sockets.all) {
      if (socket.tcpType) this.#addTcp(socket);
      else this.#mapPort(socket);
    }
    if (options.watchNetwork ?? options.bind === undefined) this.#watch(options);
    this.#turn();
  }

  /** What the peer needs to know, once: user name fragment and password. */
  get local(): IceParameters {
    return this.#machine.agent.local;
  }

  /** The pair that data goes over: the nominated one, until then the best valid one; null when there is none. */
  get path(): PairInfo | null {
    return this.#state.kind === "closed" ? null : this.#machine.path;
  }

  /** Datagrams that arrived faster than they were read, and were dropped. */
  get droppedDatagrams(): number {
    return this.#received.dropped;
  }

  /** Gets each local candidate, to be carried to the peer as it comes (RFC 8838); null is the end of them. Earlier ones come at once. */
  set onCandidate(listener: (candidate: Candidate | null) => void) {
    this.#onCandidate = listener;
    for (const candidate of this.#unheard.splice(0)) listener(candidate);
  }

  /** The peer's {@link local}. False when malformed, or different from what was set before. */
  setRemoteParameters(parameters: IceParameters): boolean {
    const accepted = this.#machine.agent.setRemoteParameters(this.#clock.now(), parameters);
    this.#turn();
    return accepted;
  }

  /** The candidates found so far. */
  get localCandidates(): readonly Candidate[] {
    return this.#machine.agent.localCandidates;
  }

  /**
   * Begins a new generation (RFC 8445 §9), for instance when a path went bad: both sides call it, then tell each other what it
   * returns and their {@link localCandidates}. Data goes on over the old path until the new generation has one.
   */
  restart(): IceParameters {
    const parameters = this.#machine.restart(this.#clock.now());
    this.#turn();
    return parameters;
  }

  /** A candidate from the peer's {@link onCandidate}, null included. False: refused (unusable, known, or too many). */
  addRemoteCandidate(candidate: Candidate | null): boolean {
    if (this.#state.kind === "closed") return false;
    const accepted = this.#machine.addRemoteCandidate(this.#clock.now(), candidate);
    this.#turn();
    return accepted;
  }

  /**
   * The same from its text (RFC 8839), whose address may be an mDNS name as browsers have: it is resolved, and taken when that succeeds.
   * @returns whether it was taken; false also when it is malformed or of no use.
   */
  async addRemoteCandidateText(text: string): Promise<boolean> {
    const attribute = parseCandidateAttribute(text);
    if (!attribute) return false;
    if (!isMdnsName(attribute.address)) return this.#addRemote(candidateOf(attribute));
    const ip = await this.#mdns.resolve(attribute.address);
    const candidate = ip === null ? null : candidateOf({ ...attribute, address: ip });
    return this.#addRemote(candidate && { ...candidate, mdnsName: attribute.address });
  }

  #addRemote(candidate: Candidate | null): boolean {
    return candidate !== null && this.addRemoteCandidate(candidate);
  }

  /** Every pair: its state, round trip and requests, why it failed or was nominated, and what it carried. */
  get stats(): readonly (PairInfo & Traffic)[] {
    const { agent, traffic } = this.#machine;
    return agent.pairs().map((pair) => ({ ...NO_TRAFFIC, ...traffic.get(pair.id), ...pair }));
  }

  /** Every candidate of both sides: what its pairs came to, and why they failed. */
  get candidateStats(): readonly CandidateStats[] {
    const { localCandidates, remoteCandidates } = this.#machine.agent;
    return candidateStats(localCandidates, remoteCandidates, this.stats);
  }

  /** Asks every path and relay at once whether it still stands, for who knows that the network changed or the machine slept. */
  probe(): void {
    if (this.#state.kind !== "open") return;
    this.#machine.probe(this.#clock.now());
    this.#turn();
  }

  /** Resolves once there is a {@link path}. @throws IceConnectionError `failed`, `closed`. */
  connected(): Promise<PairInfo> {
    const { path } = this;
    if (path) return Promise.resolve(path);
    if (this.#state.kind !== "open") return Promise.reject(this.#error());
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Sends a datagram over {@link path}; false when there is none (nothing is queued). */
  send(data: Uint8Array): boolean {
    if (this.#state.kind !== "open") return false;
    const out = this.#machine.wrap(data);
    if (out) this.#sockets.send(out.socket, out.data, out.to);
    return out !== null;
  }

  /** The datagrams that come, each a view that is the reader's; ends when the connection is closed. One reader; what it is too slow for is dropped. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return this.#received;
  }

  /** Gives allocations back and closes sockets and timer. What arrived before can still be read. */
  close(): Promise<void> {
    if (this.#state.kind === "closed") return this.#state.done;
    const done = this.#shutDown();
    this.#state = { kind: "closed", done };
    this.#received.end();
    this.#rejectWaiters();
    return done;
  }

  /** @internal */
  handleDatagram(socket: SocketId, from: SocketAddress, data: Uint8Array): void {
    if (this.#state.kind === "closed") return;
    const received = this.#machine.handleDatagram(this.#clock.now(), socket, from, data);
    // Sockets and relays hand out views on memory of theirs.
    if (received) this.#received.push(received.slice());
    this.#turn();
  }

  /** @internal A TCP connection could not be made, or is gone. */
  handleClosed(socket: SocketId, remote: SocketAddress): void {
    if (this.#state.kind === "closed") return;
    const now = this.#clock.now();
    if (this.#turnStreams.ended(socket)) this.#machine.removeSocket(now, socket);
    else this.#machine.agent.connectionClosed(now, socket, remote);
    this.#turn();
  }

  /** @internal Whether an authentic check came over a TCP connection. */
  isKnown(socket: SocketId, remote: SocketAddress): boolean {
    return this.#machine.agent.pairByPath(socket, remote) !== null;
  }

  /** After every change: passes on what happened, sends what is to be sent, arms the one timer. */
  #turn(): void {
    if (this.#state.kind === "closed") return;
    this.#drainEvents();
    const machine = this.#machine;
    for (let out = machine.pollTransmit(); out; out = machine.pollTransmit()) {
      this.#sockets.send(out.socket, out.data, out.to);
    }
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const deadline = machine.pollTimeout();
    if (!deadline) return;
    const waitMs = Math.min(2 ** 31 - 1, Math.max(0, deadline.at - this.#clock.now()));
    this.#timer = setTimeout(() => {
      machine.handleTimeout(this.#clock.now());
      this.#turn();
    }, waitMs);
  }

  #drainEvents(): void {
    const now = this.#clock.now();
    for (let event = this.#machine.pollEvent(now); event; event = this.#machine.pollEvent(now)) {
      switch (event.type) {
        case "local-candidate":
          this.#announce(event.candidate);
          break;
        case "gathered":
          this.#announce(null);
          break;
        case "pair-valid":
          for (const waiter of this.#waiters.splice(0)) waiter.resolve(event.pair);
          break;
        case "pair-failed":
        case "pair-expired":
          this.#sockets.drop(event.pair.socket, event.pair.remote.address);
          break;
        case "failed":
          this.#state = { kind: "failed", reason: event.reason };
          this.#received.end(this.#error());
          this.#rejectWaiters();
          break;
      }
    }
  }

  #watch({ interfaces, readInterfaces }: IceConnectionOptions): void {
    const read = () => hostAddresses(readInterfaces?.(), interfaces);
    const watch = new NetworkWatch(this.#clock.now(), Date.now(), read());
    this.#watchTimer = setInterval(() => {
      const change = watch.look(this.#clock.now(), Date.now(), read());
      if (change) void this.#adapt(change);
    }, WATCH_INTERVAL_MS);
    this.#watchTimer.unref();
  }

  /** Paths that work are left alone. */
  async #adapt({ added, removed, slept }: NetworkChange): Promise<void> {
    this.#log.debug("ice-network-changed", { added: added.join(" "), removed: removed.join(" "), slept });
    for (const id of removed.flatMap((ip) => this.#sockets.remove(ip))) {
      this.#machine.removeSocket(this.#clock.now(), id);
      void this.#mappings.get(id)?.close();
      this.#mappings.delete(id);
    }
    for (const ip of added.slice(0, this.#sockets.room)) {
      try {
        const opened = await this.#sockets.open(ip);
        if (this.#state.kind !== "open") return void (await this.#sockets.close());
        for (const socket of opened) {
          if (socket.tcpType) this.#addTcp(socket);
          else this.#addUdp(socket);
        }
      } catch (error) {
        // An address that is tentative, or gone again.
        this.#log.debug("ice-bind-failed", { ip, message: error instanceof Error ? error.message : String(error) });
      }
    }
    for (const mapping of this.#mappings.values()) mapping.refresh();
    if (this.#state.kind === "open") this.#machine.probe(this.#clock.now());
    this.#turn();
  }

  #openStreams({ streams }: ResolvedTurnServers): TurnStreams {
    const events = {
      onOpen: ({ id, address }: OpenStream, server: TurnServer) => {
        this.#machine.addTurnStream(this.#clock.now(), id, address, server);
        this.#turn();
      },
      onFailed: () => {
        this.#machine.turnStreamFailed(this.#clock.now());
        this.#turn();
      },
    };
    return new TurnStreams(streams, this.#sockets, events, this.#log);
  }

  #addTcp({ id, address, tcpType }: OpenSocket): void {
    if (tcpType) this.#machine.addTcpSocket(this.#clock.now(), id, address, tcpType);
  }

  #addUdp(socket: OpenSocket): void {
    this.#machine.addSocket(this.#clock.now(), socket.id, socket.address);
    this.#mapPort(socket);
  }

  #mapPort({ id, address }: OpenSocket): void {
    if (!this.#mapsPorts || address.family !== 4 || classifyIp(address.ip) === "loopback") return;
    const mapping = new PortMapping({
      internalPort: address.port,
      boundIp: address.ip,
      log: this.#log,
      onChange: ({ lease }) => {
        if (!lease?.isPublic || this.#state.kind !== "open") return;
        this.#machine.addMapping(this.#clock.now(), id, lease);
        this.#turn();
      },
    });
    this.#mappings.set(id, mapping);
  }

  #announce(candidate: Candidate | null): void {
    if (this.#onCandidate) this.#onCandidate(candidate);
    else if (this.#unheard.length < MAX_UNHEARD_CANDIDATES) this.#unheard.push(candidate);
  }

  #error(): IceConnectionError {
    if (this.#state.kind !== "failed") return new IceConnectionError("closed", "the connection is closed");
    return new IceConnectionError("failed", `no path to the peer: ${this.#state.reason}`);
  }

  #rejectWaiters(): void {
    const error = this.#error();
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  async #shutDown(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#watchTimer) clearInterval(this.#watchTimer);
    this.#watchTimer = null;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#turnStreams.close();
    this.#mdns.close();
    this.#machine.close(this.#clock.now());
    const leaving: Promise<void>[] = [];
    for (let out = this.#machine.pollTransmit(); out; out = this.#machine.pollTransmit()) {
      const { socket, data, to } = out;
      leaving.push(new Promise((sent) => this.#sockets.send(socket, data, to, sent)));
    }
    await Promise.all([...leaving, ...[...this.#mappings.values()].map((mapping) => mapping.close())]);
    await this.#sockets.close();
  }
}

function bindAddresses(options: IceConnectionOptions): readonly string[] {
  const wanted = options.bind ?? hostAddresses(options.readInterfaces?.(), options.interfaces);
  return (wanted.length > 0 ? wanted : ["127.0.0.1"]).slice(0, MAX_SOCKETS);
}
