import { lookup } from "node:dns/promises";
import {
  type Clock,
  type Deadline,
  earliest,
  FIRST_RELAY_ID,
  type Logger,
  type Millis,
  monotonicClock,
  parseIp,
  type Random,
  randomU64,
  SocketAddress,
  type SocketId,
  systemRandom,
  type Transmit,
} from "@adit/core";
import type { LocalCandidateInit, PairId } from "@adit/ice";
import { type PeerId, QuicConfig, type QuicConnection, QuicEndpoint } from "@adit/quic";
import {
  type IntermediateMessage,
  PEER_ALPN,
  SIGNALING_ALPN,
  type SignalingClientEvent,
  type SignalingMessage,
  type TurnServer,
} from "@adit/signaling";
import { Driver, type DriverComponent } from "../driver.ts";
import type { ConnectOptions, Endpoint, EndpointOptions, PeerSession } from "../endpoint.ts";
import { SessionError, type SessionErrorCode } from "../errors.ts";
import { localAddresses } from "../interfaces.ts";
import type { EndpointStatus } from "../status.ts";
import type { Incoming as Datagram } from "../udp/udp.ts";
import { AgentSession, ATTEMPT_TIMEOUT_MS } from "./agent-session.ts";
import { acceptService, ConnectorSession, refuseService } from "./connector-session.ts";
import { Demux } from "./demux.ts";
import { type BoundSocket, isWildcard, ownCandidates } from "./own-candidates.ts";
import { Relay } from "./relay.ts";
import type { ServiceStream, Session } from "./session.ts";
import type { SessionHost } from "./session-host.ts";
import { SignalingLink } from "./signaling-link.ts";

/** "Sleep: `max_idle_timeout` 10 min." */
const PEER_IDLE_TIMEOUT_MS = 600_000;
/** The signaling client pings every 15 s and gives up after 5; QUIC's own clock is the backstop. */
const SIGNALING_IDLE_TIMEOUT_MS = 45_000;
/** Sessions at once; more are refused with `too-many`. */
const MAX_SESSIONS = 1_024;
/** An unknown name is asked for again this often while `waitMs` lasts. */
const NOT_FOUND_RETRY_MS = 500;
/** How long a close waits for the relay to confirm. */
const CLOSE_TIMEOUT_MS = 300;

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: SessionError) => void;
}

/** @throws UdpBindError when the address cannot be bound. */
export async function startEndpoint(options: EndpointOptions): Promise<Endpoint> {
  const node = new EndpointNode(options);
  await node.bind();
  return node;
}

/** A running agent or connector: its sockets, its place at the intermediate, its relay, its sessions. */
class EndpointNode implements Endpoint, SessionHost, DriverComponent {
  readonly log: Logger;
  readonly random: Random;
  readonly icePolicy: "all" | "relay";
  onSession: ((session: PeerSession) => void) | null = null;
  onStopped: ((code: string, message: string) => void) | null = null;
  readonly #options: EndpointOptions;
  readonly #clock: Clock;
  readonly #driver: Driver;
  readonly #quic: QuicEndpoint;
  readonly #peerConfig: QuicConfig;
  readonly #link: SignalingLink;
  readonly #demux: Demux;
  readonly #sockets: BoundSocket[] = [];
  readonly #sessions = new Map<bigint, Session>();
  /** Those with work in this turn; and when each of them wants to be called by itself. */
  readonly #touched = new Set<Session>();
  readonly #deadlines = new Map<Session, Deadline>();
  readonly #waiters = new Set<Waiter>();
  #relay: Relay | null = null;
  #observed: SocketAddress | null = null;
  #stopped: SessionError | null = null;
  #closing = false;

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.log = options.log;
    this.random = options.random ?? systemRandom;
    this.icePolicy = options.icePolicy ?? "all";
    this.#clock = options.clock ?? monotonicClock;
    this.#driver = new Driver({ clock: this.#clock, log: options.log });
    const { identity } = options;
    const peerRole = options.role === "agent" ? "client" : "server";
    this.#peerConfig = QuicConfig.create({
      role: peerRole,
      identity,
      alpn: PEER_ALPN,
      maxIdleTimeoutMs: PEER_IDLE_TIMEOUT_MS,
    });
    this.#quic = new QuicEndpoint({
      random: this.random,
      log: options.log,
      ...(peerRole === "server" ? { server: this.#peerConfig } : {}),
    });
    this.#demux = new Demux(this.#quic, (now, socket, from) => {
      if (socket === this.#relay?.id) this.#relay.bindChannel(now, from);
    });
    this.#link = new SignalingLink({
      role: options.role,
      ...(options.name === undefined ? {} : { name: options.name }),
      host: options.intermediate.host,
      port: options.intermediate.port,
      quic: this.#quic,
      config: QuicConfig.create({
        role: "client",
        identity,
        alpn: SIGNALING_ALPN,
        maxIdleTimeoutMs: SIGNALING_IDLE_TIMEOUT_MS,
      }),
      random: this.random,
      log: options.log,
      resolve: resolveHost,
      socketFor: (family) => this.#sockets.find((socket) => socket.address.family === family) ?? null,
      checkIntermediate: options.checkIntermediate,
      onEvent: (now, event) => this.#handleSignalingEvent(now, event),
      onRefused: (reason) => this.#stop("intermediate-changed", reason),
      now: () => this.#clock.now(),
      wake: () => this.#driver.wake(),
    });
  }

  /** One socket per address family; with an address to bind to, that one only. */
  async bind(): Promise<void> {
    const { bind } = this.#options;
    const wanted = bind ? [bind] : [{ ip: "0.0.0.0", port: 0 }];
    // An IPv6 socket only where there is an IPv6 address that could lead anywhere.
    if (!bind && localAddresses({ family: 6 }).length > 0) wanted.push({ ip: "::", port: 0 });
    for (const { ip, port } of wanted) {
      const id = await this.#driver.bind({
        address: SocketAddress.of(ip, port),
        receive: (now, socket, batch) => this.#receive(now, socket, batch),
      });
      const socket = this.#driver.sockets.get(id);
      if (socket) this.#sockets.push({ id, address: socket.address });
    }
    this.#driver.add(this);
  }

  get peerId(): PeerId {
    return this.#options.identity.peerId;
  }

  get localAddresses(): readonly SocketAddress[] {
    return this.#sockets.map((socket) => socket.address);
  }

  get registered(): boolean {
    const { client } = this.#link;
    return this.#options.role === "agent" ? client.isUp : client.isRegistered;
  }

  waitRegistered(): Promise<void> {
    if (this.registered) return Promise.resolve();
    if (this.#stopped) return Promise.reject(this.#stopped);
    return new Promise((resolve, reject) => this.#waiters.add({ resolve, reject }));
  }

  status(): EndpointStatus {
    const { host, port } = this.#options.intermediate;
    const { client, remote } = this.#link;
    return {
      peerId: this.peerId,
      intermediate: {
        address: remote?.key ?? (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`),
        connected: client.isUp,
        rttMs: client.rttMs === null ? null : Math.round(client.rttMs * 100) / 100,
      },
      observedAddress: this.#observed,
      sessions: [...this.#sessions.values()]
        .filter((session) => !session.isOver)
        .reverse()
        .map((session) => session.status()),
    };
  }

  // ---- sessions of an agent

  async connect(options: ConnectOptions): Promise<PeerSession> {
    const giveUpAt = this.#clock.now() + options.waitMs;
    for (;;) {
      await this.#waitForIntermediate(giveUpAt);
      const session = this.#openSession(options);
      try {
        await session.up;
        this.onSession?.(session);
        return session;
      } catch (error) {
        const again = error instanceof SessionError && error.code === "not-found";
        if (!again || this.#clock.now() + NOT_FOUND_RETRY_MS >= giveUpAt) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, NOT_FOUND_RETRY_MS));
    }
  }

  #openSession(options: ConnectOptions): AgentSession {
    const now = this.#clock.now();
    const session = new AgentSession(now, this, randomU64(this.random), {
      target: options.target,
      expectedPeer: options.expectedPeer ?? null,
      service: options.service,
      timeoutMs: options.timeoutMs ?? ATTEMPT_TIMEOUT_MS,
      quic: this.#quic,
      config: this.#peerConfig,
      socketFor: (family) => this.#sockets.find((socket) => socket.address.family === family)?.id ?? null,
    });
    this.#addSession(session);
    if (!session.start(now)) session.close("the intermediate went out of reach");
    return session;
  }

  async #waitForIntermediate(giveUpAt: Millis): Promise<void> {
    if (this.#link.client.isUp) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => {
          const { host, port } = this.#options.intermediate;
          reject(new SessionError("intermediate-unreachable", `the intermediate ${host}:${port} does not answer`));
        },
        Math.max(0, giveUpAt - this.#clock.now()),
      );
    });
    try {
      await Promise.race([this.waitRegistered(), timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  #addSession(session: Session): void {
    this.#sessions.set(session.sessionId, session);
    this.touch(session);
    this.#demux.claimUfrags(session);
  }

  // ---- SessionHost

  now(): Millis {
    return this.#clock.now();
  }

  signal(message: SignalingMessage): boolean {
    return this.#link.send(this.#clock.now(), message as Parameters<SignalingLink["send"]>[1]);
  }

  get isGathering(): boolean {
    return this.#relay?.isAllocating ?? false;
  }

  localCandidates(): readonly LocalCandidateInit[] {
    return ownCandidates(this.#sockets, this.#observed, this.#relay?.candidate ?? null);
  }

  probeInfrastructure(now: Millis): void {
    this.#link.client.probe(now);
    this.#relay?.probe(now);
  }

  learnRoute(pair: PairId, session: Session): void {
    this.#demux.claimPair(pair, session);
  }

  claimConnection(connection: QuicConnection, session: Session): void {
    this.#demux.claimConnection(connection, session);
  }

  claimUfrags(session: Session): void {
    this.#demux.claimUfrags(session);
  }

  touch(session: Session): void {
    this.#touched.add(session);
    this.#driver.wake();
  }

  // ---- DriverComponent

  #receive(now: Millis, socket: SocketId, batch: readonly Datagram[]): void {
    for (const { data, from } of batch) {
      if (this.#link.remote?.equals(from)) this.#receiveSignaling(now, from, data);
      else if (this.#relay?.socket === socket && this.#relay.server.equals(from)) this.#receiveRelayed(now, data);
      else this.#demux.handleDatagram(now, socket, from, data);
    }
  }

  /** Packets from the signaling address never reach the peers' connections. */
  #receiveSignaling(now: Millis, from: SocketAddress, data: Uint8Array): void {
    const route = this.#quic.route(data);
    if (route.kind === "connection" && this.#link.owns(route.connection)) {
      this.#link.handleDatagram(now, route.connection, from, data);
    }
  }

  #receiveRelayed(now: Millis, data: Uint8Array): void {
    const relayed = this.#relay?.handleDatagram(now, data);
    if (relayed && this.#relay) this.#demux.handleDatagram(now, this.#relay.id, relayed.peer, relayed.data);
  }

  handleTimeout(now: Millis): void {
    this.#link.handleTimeout(now);
    this.#relay?.handleTimeout(now);
    for (const [session, { at }] of this.#deadlines) {
      if (at > now) continue;
      this.#touched.add(session);
      session.handleTimeout(now);
      if (session.isGone) this.#forget(session);
    }
  }

  #forget(session: Session): void {
    this.#sessions.delete(session.sessionId);
    this.#touched.delete(session);
    this.#deadlines.delete(session);
    this.#demux.forget(session);
  }

  pollTimeout(): Deadline | null {
    const now = this.#clock.now();
    let next = this.#link.pollTimeout(now);
    if (this.#relay) next = earliest(next, this.#relay.pollTimeout());
    // A session's deadline changes only when it is touched; then it is due for a turn anyway.
    for (const deadline of this.#deadlines.values()) next = earliest(next, deadline);
    return next;
  }

  drain(now: Millis): void {
    this.#link.pump(now);
    this.#relay?.pump(now);
    this.#demux.retryEarly(now);
    for (const session of [...this.#touched]) {
      session.pump(now);
      if (session.isOver) this.#relay?.release(session.sessionId);
      this.#setDeadline(now, session);
    }
  }

  #setDeadline(now: Millis, session: Session): void {
    const deadline = session.pollTimeout(now);
    if (deadline) this.#deadlines.set(session, deadline);
    else this.#deadlines.delete(session);
  }

  pollTransmit(): Transmit | null {
    const own = this.#link.pollTransmit() ?? this.#relay?.pollTransmit();
    if (own) return own;
    const now = this.#clock.now();
    for (const session of this.#touched) {
      for (let sent = session.pollTransmit(now); sent; sent = session.pollTransmit(now)) {
        if (sent.socket < FIRST_RELAY_ID) return sent;
        const wrapped = sent.socket === this.#relay?.id ? this.#relay.wrap(sent.to, sent.data) : null;
        if (wrapped) return wrapped;
      }
      // Sending moved its timers.
      this.#setDeadline(now, session);
      this.#touched.delete(session);
    }
    return null;
  }

  // ---- signaling

  #handleSignalingEvent(now: Millis, event: SignalingClientEvent): void {
    switch (event.type) {
      case "up":
        this.#observed = event.observed;
        this.log.debug("signaling-up", { observed: event.observed, intermediate: event.intermediateId });
        this.#useTurn(now, event.turn);
        if (this.#options.role === "agent") this.#announceRegistered();
        return;
      case "registered":
        return this.#announceRegistered();
      case "register-refused":
        this.log.warn("register-refused", { code: event.code, message: event.message, retryInMs: event.retryInMs });
        return;
      case "turn":
        return this.#useTurn(now, event.turn);
      case "observed":
        this.#observed = event.observed;
        for (const session of this.#sessions.values()) {
          for (const candidate of this.localCandidates()) session.addLocalCandidate(now, candidate);
        }
        return;
      case "rtt":
        return;
      case "message":
        return this.#handleMessage(now, event.message);
      case "down":
        this.log[this.#closing ? "debug" : "warn"]("signaling-down", {
          reason: event.reason,
          retryInMs: Math.round(event.retryInMs),
        });
        return;
      case "stopped":
        return this.#stop(stoppedCode(event.code), event.message);
    }
  }

  #announceRegistered(): void {
    const { name, role } = this.#options;
    this.log.info("registered", {
      ...(name === undefined ? {} : { name }),
      role,
      peerId: this.peerId,
      intermediate: this.#link.remote,
      observed: this.#observed,
    });
    for (const waiter of this.#waiters) waiter.resolve();
    this.#waiters.clear();
  }

  #stop(code: SessionErrorCode, message: string): void {
    this.#stopped = new SessionError(code, message);
    for (const waiter of this.#waiters) waiter.reject(this.#stopped);
    this.#waiters.clear();
    if (!this.#closing) this.onStopped?.(code, message);
  }

  /** A connector keeps an allocation ready; an agent reaches the connector's. */
  #useTurn(now: Millis, turn: TurnServer | null): void {
    if (this.#options.role !== "connector") return;
    const server = turn && this.#turnAddress(turn);
    if (turn && server && this.#relay?.server.equals(server)) return this.#relay.renew(now, turn);
    const socket = server && this.#sockets.find((bound) => bound.address.family === server.family);
    if (this.#relay) {
      this.#loseRelay(now, this.#relay.id);
      this.#relay.close(now);
      this.#relay = null;
    }
    if (!turn || !server || !socket) return;
    const id = FIRST_RELAY_ID;
    this.#relay = new Relay(now, {
      server,
      turn,
      socket: socket.id,
      id,
      random: this.random,
      log: this.log,
      onAllocated: (at, candidate) => this.#gainRelay(at, candidate),
      onLost: (at) => this.#loseRelay(at, id),
      onPermission: (at, ip) => this.#handlePermission(at, ip),
    });
  }

  #turnAddress(turn: TurnServer): SocketAddress | null {
    if (!isWildcard(turn.address)) return turn.address;
    return this.#link.remote?.withPort(turn.address.port) ?? null;
  }

  #gainRelay(now: Millis, candidate: LocalCandidateInit): void {
    for (const session of this.#sessions.values()) {
      if (session instanceof ConnectorSession) this.#relay?.permit(now, session.peerObserved.ip, session.sessionId);
      session.addLocalCandidate(now, candidate);
      session.endLocalCandidates(now);
    }
  }

  #loseRelay(now: Millis, id: SocketId): void {
    for (const session of this.#sessions.values()) session.removeLocalSocket(now, id);
  }

  #handlePermission(now: Millis, ip: string): void {
    for (const session of this.#sessions.values()) {
      if (session instanceof ConnectorSession && session.peerObserved.ip === ip) session.handlePermission(now);
    }
  }

  #handleMessage(now: Millis, message: IntermediateMessage): void {
    if (message.type === "incoming") {
      return this.#handleIncoming(now, message.sessionId, message.peerId, message.peerObserved);
    }
    if (!("sessionId" in message) || message.sessionId === null) return;
    const session = this.#sessions.get(message.sessionId);
    if (session && !session.isOver) {
      this.touch(session);
      return session.handleSignaling(now, message);
    }
    // A session that we do not know: a peer that asks for a restart of it learns that it is gone; all else is ignored.
    if (message.type === "restart" && !message.answer) {
      this.#refuse(message.sessionId, "unknown-session", "this side was started anew and does not know the session");
    }
  }

  #refuse(sessionId: bigint, code: string, message: string): void {
    this.signal({ type: "error", code, message, sessionId, requestId: null });
  }

  #handleIncoming(now: Millis, sessionId: bigint, peerId: PeerId, peerObserved: SocketAddress): void {
    if (this.#options.role !== "connector" || this.#sessions.has(sessionId)) return;
    const admit = this.#options.admit ?? (() => false);
    if (!admit(peerId)) {
      this.log.warn("peer-not-allowed", { peerId, observed: peerObserved, hint: `--allow ${peerId}` });
      const sentence = `the connector does not allow ${peerId}; on its host, add --allow ${peerId}`;
      return this.#refuse(sessionId, "not-allowed", sentence);
    }
    if (this.#sessions.size >= MAX_SESSIONS) {
      return this.#refuse(sessionId, "too-many", `the connector has ${MAX_SESSIONS} sessions, which is its limit`);
    }
    const session = new ConnectorSession(now, this, sessionId, {
      peerId,
      peerObserved,
      permission: this.#relay?.permit(now, peerObserved.ip, sessionId) ?? "none",
      admit,
      onService: (from, request) => this.#handleService(from, request),
    });
    this.#addSession(session);
  }

  #handleService(session: ConnectorSession, { stream, name, protocol }: ServiceStream): void {
    const { onService } = this.#options;
    if (!onService) return refuseService(stream, "service-unknown", "this connector offers no services");
    onService({
      session,
      name,
      protocol,
      accept: () => acceptService(stream),
      refuse: (code, reason) => refuseService(stream, code, reason),
    });
  }

  // ---- the end

  async close(reason: string): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    const now = this.#clock.now();
    for (const session of this.#sessions.values()) session.close(reason);
    this.#relay?.close(now);
    this.#link.stop(now, reason);
    this.#stop("closed", reason);
    this.#driver.wake();
    const giveUpAt = now + CLOSE_TIMEOUT_MS;
    while (this.#relay && !this.#relay.isSilent && this.#clock.now() < giveUpAt) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    this.#driver.close();
  }
}

async function resolveHost(host: string): Promise<readonly string[]> {
  if (parseIp(host)) return [host];
  const found = await lookup(host, { all: true, verbatim: true });
  return found.map(({ address }) => address);
}

function stoppedCode(code: string): SessionErrorCode {
  switch (code) {
    case "not-allowed":
    case "unsupported-version":
      return code;
    default:
      return "closed";
  }
}
