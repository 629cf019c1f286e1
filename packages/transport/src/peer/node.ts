import {
  type Clock,
  type Deadline,
  earliest,
  FIRST_RELAY_ID,
  type Logger,
  type Millis,
  monotonicClock,
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
  type ClientMessage,
  type IntermediateMessage,
  PEER_ALPN,
  SIGNALING_ALPN,
  type SignalingMessage,
} from "@adit/signaling";
import { Driver, type DriverComponent } from "../driver.ts";
import type { ConnectOptions, Endpoint, EndpointOptions, PeerSession } from "../endpoint.ts";
import { SessionError } from "../errors.ts";
import { localAddresses } from "../interfaces.ts";
import type { NetworkSense, PredictionListener } from "../nat/network-sense.ts";
import type { NetworkView } from "../nat/network-view.ts";
import { senseOnDriver } from "../nat/sense-on-driver.ts";
import type { SessionSample } from "../sample.ts";
import type { EndpointStatus } from "../status.ts";
import type { Incoming as Datagram } from "../udp/udp.ts";
import { AgentSession, ATTEMPT_TIMEOUT_MS } from "./agent-session.ts";
import { ConnectorSession } from "./connector-session.ts";
import { Demux } from "./demux.ts";
import { MappedPort } from "./mapped-port.ts";
import type { BoundSocket } from "./own-candidates.ts";
import { round } from "./pair-words.ts";
import { hostPort, Presence } from "./presence.ts";
import { Reception } from "./reception.ts";
import { resolveHost } from "./resolve.ts";
import type { Session } from "./session.ts";
import type { SessionHost } from "./session-host.ts";
import { SessionSet } from "./session-set.ts";

/** "Sleep: `max_idle_timeout` 10 min." */
const PEER_IDLE_TIMEOUT_MS = 600_000;
/** The signaling client pings every 15 s and gives up after 5; QUIC's own clock is the backstop. */
const SIGNALING_IDLE_TIMEOUT_MS = 45_000;
/** An unknown name is asked for again this often while `waitMs` lasts. */
const NOT_FOUND_RETRY_MS = 500;
/** How long a close waits for the relay to confirm. */
const CLOSE_TIMEOUT_MS = 300;

/** @throws UdpBindError when the address cannot be bound. */
export async function startEndpoint(options: EndpointOptions): Promise<Endpoint> {
  const node = new EndpointNode(options);
  await node.bind();
  return node;
}

/** A running agent or connector: its sockets, its place at the intermediate, its sessions. */
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
  readonly #presence: Presence;
  readonly #sense: NetworkSense;
  readonly #demux: Demux;
  readonly #sockets: BoundSocket[] = [];
  readonly #sessions = new SessionSet();
  /** Null for an agent. */
  readonly #reception: Reception | null;
  #mappedPort: MappedPort | null = null;
  #closing = false;

  constructor(options: EndpointOptions) {
    const { identity, role, log, name } = options;
    this.#options = options;
    this.log = log;
    this.random = options.random ?? systemRandom;
    this.icePolicy = options.icePolicy ?? "all";
    this.#clock = options.clock ?? monotonicClock;
    this.#driver = new Driver({ clock: this.#clock, log });
    this.#peerConfig = QuicConfig.create({
      role: role === "agent" ? "client" : "server",
      identity,
      alpn: PEER_ALPN,
      maxIdleTimeoutMs: PEER_IDLE_TIMEOUT_MS,
    });
    const server = role === "connector" ? { server: this.#peerConfig } : {};
    this.#quic = new QuicEndpoint({ random: this.random, log, ...server });
    this.#demux = new Demux(this.#quic, (now, socket, from) => {
      if (socket === this.#presence.relay?.id) this.#presence.relay.bindChannel(now, from);
    });
    this.#presence = new Presence({
      role,
      ...(name === undefined ? {} : { name }),
      ...options.intermediate,
      checkIntermediate: options.checkIntermediate,
      sockets: this.#sockets,
      identity,
      quic: this.#quic,
      config: QuicConfig.create({
        role: "client",
        identity,
        alpn: SIGNALING_ALPN,
        maxIdleTimeoutMs: SIGNALING_IDLE_TIMEOUT_MS,
      }),
      random: this.random,
      log,
      resolve: resolveHost,
      now: () => this.#clock.now(),
      wake: () => this.#driver.wake(),
      onMessage: (now, message) => this.#handleMessage(now, message),
      onCandidate: (now, candidate, last) => this.#handleCandidate(now, candidate, last),
      onSeen: (now, seen) => this.#sense.handleSeen(now, seen),
      onRelayLost: (now, socket) => {
        for (const session of this.#sessions) session.removeLocalSocket(now, socket);
      },
      onPermission: (now, ip) => this.#handlePermission(now, ip),
      onIntroduce: (now) => {
        this.#mappedPort?.refresh();
        for (const session of this.#sessions) {
          if (session instanceof AgentSession) session.introduceAgain(now);
        }
      },
      onRegistered: (observed) => this.#logRegistered(observed),
      onStopped: (error) => this.onStopped?.(error.code, error.message),
    });
    this.#sense = senseOnDriver({
      driver: this.#driver,
      sockets: this.#sockets,
      policy: this.icePolicy,
      random: this.random,
      log,
      now: () => this.#clock.now(),
      onView: () => {
        for (const session of this.#sessions) if (session.isUp) session.network.tell();
      },
    });
    this.#reception = role === "connector" ? this.#openReception() : null;
  }

  #openReception(): Reception {
    const { admit = () => false, offers = () => true, onService, log } = this.#options;
    return new Reception({
      host: this,
      sessions: this.#sessions,
      log,
      admit,
      offers,
      onService,
      permit: (now, ip, session) => this.#presence.relay?.permit(now, ip, session) ?? "none",
      refuse: (session, code, message) => this.#refuse(session, code, message),
      onSession: (session) => this.#addSession(session),
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
    if (this.#options.portMapping && this.icePolicy === "all") this.#mapPort();
  }

  #mapPort(): void {
    const { role, name, log } = this.#options;
    this.#mappedPort = MappedPort.of(this.#sockets, {
      description: `adit ${name ?? role}`,
      clock: this.#clock,
      log,
      onCandidate: (now, candidate) => {
        this.#handleCandidate(now, candidate, false);
        this.#driver.wake();
      },
    });
  }

  get peerId(): PeerId {
    return this.#options.identity.peerId;
  }

  get localAddresses(): readonly SocketAddress[] {
    return this.#sockets.map((socket) => socket.address);
  }

  get registered(): boolean {
    return this.#presence.isRegistered;
  }

  waitRegistered(): Promise<void> {
    return this.#presence.wait();
  }

  status(): EndpointStatus {
    const { host, port } = this.#options.intermediate;
    const { client, remote } = this.#presence.link;
    const sessions = [...this.#sessions].filter((session) => !session.isOver).reverse();
    return {
      peerId: this.peerId,
      intermediate: {
        address: remote?.key ?? hostPort(host, port),
        connected: client.isUp,
        rttMs: round(client.rttMs),
      },
      observedAddress: this.#presence.observed,
      portMapping: this.#mappedPort?.status ?? null,
      sessions: sessions.map((session) => session.status()),
    };
  }

  samples(limit: number): readonly SessionSample[] {
    const samples: SessionSample[] = [];
    for (const session of this.#sessions) {
      if (samples.length >= limit) break;
      if (session.isUp) samples.push(session.sample());
    }
    return samples;
  }

  // ---- sessions of an agent

  async connect(options: ConnectOptions): Promise<PeerSession> {
    const giveUpAt = this.#clock.now() + options.waitMs;
    for (;;) {
      await this.#presence.waitFor(giveUpAt - this.#clock.now());
      const session = this.#openSession(options);
      try {
        await session.up;
        this.onSession?.(session);
        return session;
      } catch (error) {
        // Lost packets make a first attempt fail too: while there is time it is made again.
        const again = error instanceof SessionError && (error.code === "not-found" || error.code === "timeout");
        if (!again || this.#clock.now() >= giveUpAt) throw error;
      }
      const pauseMs = Math.min(NOT_FOUND_RETRY_MS, giveUpAt - this.#clock.now());
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
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

  #addSession(session: Session): void {
    this.#sessions.add(session);
    this.#driver.wake();
    this.#demux.add(session);
  }

  // ---- SessionHost

  now(): Millis {
    return this.#clock.now();
  }

  signal(message: SignalingMessage): boolean {
    return this.#presence.link.send(this.#clock.now(), message as ClientMessage);
  }

  get network(): NetworkView {
    return this.#sense.view;
  }

  predictPorts(listener: PredictionListener): void {
    this.#sense.predict(listener);
  }

  get isGathering(): boolean {
    return this.#presence.relay?.isAllocating ?? false;
  }

  localCandidates(): readonly LocalCandidateInit[] {
    const mapped = this.#mappedPort?.candidate;
    return mapped ? [...this.#presence.candidates(), mapped] : this.#presence.candidates();
  }

  probeInfrastructure(now: Millis): void {
    this.#presence.probe(now);
  }

  learnRoute(pair: PairId, session: Session): void {
    this.#demux.claimPair(pair, session);
  }

  forgetRoute(pair: PairId, session: Session): void {
    this.#demux.unclaimPair(pair, session);
  }

  claimConnection(connection: QuicConnection, session: Session): void {
    this.#demux.claimConnection(connection, session);
  }

  claimUfrags(session: Session): void {
    this.#demux.claimUfrags(session);
  }

  touch(session: Session): void {
    this.#sessions.touch(session);
    this.#driver.wake();
  }

  // ---- DriverComponent

  #receive(now: Millis, socket: SocketId, batch: readonly Datagram[]): void {
    const { link, relay } = this.#presence;
    for (const { data, from } of batch) {
      if (link.remote?.equals(from)) this.#receiveSignaling(now, data);
      else if (this.#sense.handleDatagram(socket, from, data)) continue;
      else if (relay?.socket === socket && relay.server.equals(from)) {
        const relayed = relay.handleDatagram(now, data);
        if (relayed) this.#demux.handleDatagram(now, relay.id, relayed.peer, relayed.data);
      } else this.#demux.handleDatagram(now, socket, from, data);
    }
  }

  /** Packets from the signaling address never reach the peers' connections. */
  #receiveSignaling(now: Millis, data: Uint8Array): void {
    const { link } = this.#presence;
    const route = this.#quic.route(data);
    if (route.kind === "connection" && link.owns(route.connection)) {
      link.handleDatagram(now, route.connection, data);
    } else if (route.kind === "drop" && route.reason === "unknown-connection") link.handleStray(now, data);
  }

  handleTimeout(now: Millis): void {
    this.#presence.handleTimeout(now);
    this.#sessions.handleTimeout(now);
  }

  pollTimeout(): Deadline | null {
    return earliest(this.#presence.pollTimeout(this.#clock.now()), this.#sessions.pollTimeout());
  }

  drain(now: Millis): void {
    this.#presence.pump(now);
    this.#demux.retryEarly(now);
    this.#sessions.drain(now, (session) => {
      if (session.isOver) this.#presence.relay?.release(session.sessionId);
      if (session.isGone) this.#forget(session);
    });
  }

  #forget(session: Session): void {
    this.#sessions.delete(session);
    this.#demux.forget(session);
    for (const connection of session.connections) this.#quic.forget(connection);
  }

  pollTransmit(): Transmit | null {
    return this.#presence.pollTransmit() ?? this.#sessions.pollTransmit(this.#clock.now(), this.#wrap);
  }

  /** What leaves from a relay is wrapped for it; null when the relay would not let it out, or is gone. */
  readonly #wrap = (sent: Transmit): Transmit | null => {
    if (sent.socket < FIRST_RELAY_ID) return sent;
    const { relay } = this.#presence;
    return sent.socket === relay?.id ? relay.wrap(sent.to, sent.data) : null;
  };

  // ---- signaling

  #logRegistered(observed: SocketAddress): void {
    const { name, role } = this.#options;
    this.log.info("registered", {
      ...(name === undefined ? {} : { name }),
      role,
      peerId: this.peerId,
      intermediate: this.#presence.link.remote,
      observed,
    });
  }

  #handleCandidate(now: Millis, candidate: LocalCandidateInit, last: boolean): void {
    for (const session of this.#sessions) {
      if (session.isOver) continue;
      if (session instanceof ConnectorSession) {
        this.#presence.relay?.permit(now, session.peerObserved.ip, session.sessionId);
      }
      session.addLocalCandidate(now, candidate);
      if (last) session.endLocalCandidates(now);
    }
  }

  #handlePermission(now: Millis, ip: string): void {
    for (const session of this.#sessions) {
      if (session instanceof ConnectorSession && session.peerObserved.ip === ip) session.handlePermission(now);
    }
  }

  #handleMessage(now: Millis, message: IntermediateMessage): void {
    if (message.type === "incoming") {
      return this.#reception?.handleIncoming(now, message.sessionId, message.peerId, message.peerObserved);
    }
    if (!("sessionId" in message) || message.sessionId === null) return;
    const session = this.#sessions.get(message.sessionId);
    if (session && !session.isOver) {
      this.touch(session);
      return session.handleSignaling(now, message);
    }
    // A session that we do not know: a peer that asks for a restart of it learns that it is gone; all else is ignored.
    if (message.type === "restart" && !message.answer) {
      this.#refuse(message.sessionId, "session-gone", "this side was started anew and does not know the session");
    }
  }

  #refuse(sessionId: bigint, code: string, message: string): void {
    this.signal({ type: "error", code, message, sessionId, requestId: null });
  }

  // ---- the end

  async close(reason: string): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    const now = this.#clock.now();
    for (const session of this.#sessions) session.close(reason);
    this.#sense.close();
    this.#presence.close(now, reason);
    this.#driver.wake();
    const unmapped = this.#mappedPort?.close();
    const giveUpAt = now + CLOSE_TIMEOUT_MS;
    while (!this.#presence.isSilent && this.#clock.now() < giveUpAt) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await unmapped;
    this.#driver.close();
  }
}
