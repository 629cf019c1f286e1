import {
  type Clock,
  type Deadline,
  earliest,
  FIRST_RELAY_ID,
  type Logger,
  type Millis,
  monotonicClock,
  type Random,
  SocketAddress,
  systemRandom,
  type Transmit,
} from "@adit/core";
import type { LocalCandidateInit, PairId } from "@adit/ice";
import { type PeerId, type QuicConfig, type QuicConnection, QuicEndpoint } from "@adit/quic";
import type { IntermediateMessage } from "@adit/signaling";
import { Driver, type DriverComponent } from "../driver.ts";
import type { ConnectOptions, Endpoint, EndpointOptions, PeerSession, Surroundings } from "../endpoint.ts";
import { describeAddresses, placesToBind } from "../interfaces.ts";
import type { NetworkSense, PredictionListener, Seen } from "../nat/network-sense.ts";
import type { NetworkView } from "../nat/network-view.ts";
import { senseOnDriver } from "../nat/sense-on-driver.ts";
import type { SessionSample } from "../sample.ts";
import type { EndpointStatus } from "../status.ts";
import { canSendUnfragmented } from "../udp/socket-calls.ts";
import { Demux } from "./demux.ts";
import { Dialer } from "./dialer.ts";
import { Introductions } from "./introductions.ts";
import { MappedPort } from "./mapped-port.ts";
import { type NetworkNews, NetworkWatch } from "./network-watch.ts";
import type { BoundSocket } from "./own-candidates.ts";
import type { Presence } from "./presence.ts";
import { Presences, type PresencesOptions } from "./presences.ts";
import { peerConfig, signalingConfig } from "./quic-configs.ts";
import { Reception } from "./reception.ts";
import { resolveHost } from "./resolve.ts";
import type { Session } from "./session.ts";
import type { SessionHost, SessionSignal } from "./session-host.ts";
import { SessionSet } from "./session-set.ts";
import { Switchboard } from "./switchboard.ts";

/** How long a close waits for the relays to confirm, and for what was said over TLS to arrive. */
const CLOSE_TIMEOUT_MS = 500;

/** @throws UdpBindError when the address cannot be bound. */
export async function startEndpoint(options: EndpointOptions): Promise<Endpoint> {
  const node = new EndpointNode(options);
  await node.bind();
  return node;
}

/** A running agent or connector: its sockets, its places at the intermediates, its sessions. */
class EndpointNode implements Endpoint, SessionHost, DriverComponent {
  readonly log: Logger;
  readonly random: Random;
  readonly icePolicy: "all" | "relay";
  sendsWhole = false;
  onSession: ((session: PeerSession) => void) | null = null;
  onStopped: ((code: string, message: string) => void) | null = null;
  readonly #options: EndpointOptions;
  readonly #clock: Clock;
  readonly #driver: Driver;
  readonly #quic: QuicEndpoint;
  readonly #peerConfig: QuicConfig;
  readonly #presences: Presences;
  readonly #introductions: Introductions;
  readonly #sense: NetworkSense;
  readonly #watch: NetworkWatch;
  readonly #demux: Demux;
  readonly #switchboard: Switchboard;
  readonly #dialer: Dialer;
  readonly #sockets: BoundSocket[] = [];
  readonly #sessions = new SessionSet();
  /** Null for an agent. */
  readonly #reception: Reception | null;
  #mappedPort: MappedPort | null = null;
  #lastRelayId = FIRST_RELAY_ID - 1;
  #closing = false;
  /** The intermediates have nothing more to be sent before the next {@link drain}: they are not asked again for each packet of a session. */
  #presencesSilent = false;
  readonly #wrap = (sent: Transmit): Transmit | null => this.#switchboard.wrap(sent);
  /** Why this ends, until the intermediates are told. */
  #farewell: string | null = null;

  constructor(options: EndpointOptions) {
    const { role, log } = options;
    this.#options = options;
    this.log = log;
    this.random = options.random ?? systemRandom;
    this.icePolicy = options.icePolicy ?? "all";
    this.#clock = options.clock ?? monotonicClock;
    this.#driver = new Driver({ clock: this.#clock, log });
    this.#peerConfig = peerConfig(options);
    const server = role === "connector" ? { server: this.#peerConfig } : {};
    this.#quic = new QuicEndpoint({ random: this.random, log, ...server });
    this.#demux = new Demux(this.#quic, (now, socket, from) => {
      if (socket >= FIRST_RELAY_ID) this.#presences.relay(socket)?.bindChannel(now, from);
    });
    this.#presences = new Presences(this.#presencesOptions());
    this.#introductions = new Introductions({
      presences: this.#presences,
      sessions: this.#sessions,
      random: this.random,
      log,
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
    this.#switchboard = new Switchboard({
      presences: this.#presences,
      sense: this.#sense,
      demux: this.#demux,
      quic: this.#quic,
    });
    this.#dialer = this.#openDialer();
    this.#watch = new NetworkWatch(this.#clock.now(), { addresses: describeAddresses, wallNow: Date.now });
    this.#reception = role === "connector" ? this.#openReception() : null;
  }

  #presencesOptions(): PresencesOptions {
    const { role, name, identity, intermediate, checkIntermediate, log } = this.#options;
    return {
      role,
      ...(name === undefined ? {} : { name }),
      places: Array.isArray(intermediate) ? intermediate : [intermediate],
      checkIntermediate,
      sockets: this.#sockets,
      identity,
      quic: this.#quic,
      config: signalingConfig(identity),
      random: this.random,
      log,
      resolve: resolveHost,
      now: () => this.#clock.now(),
      wake: () => this.#driver.wake(),
      newId: () => ++this.#lastRelayId,
      addSocket: (open) =>
        this.#driver.addSocket(open, (now, socket, batch) => this.#switchboard.receive(now, socket, batch)),
      removeSocket: (id) => this.#driver.removeSocket(id),
      isInUse: (relay) => [...this.#sessions].some(({ activePair }) => activePair?.startsWith(`${relay}|`)),
      onMessage: (now, from, message) => this.#handleMessage(now, from, message),
      onCandidates: (now, from) => this.#handleCandidates(now, from),
      onSeen: (now, seen) => this.#handleSeen(now, seen),
      onRelayLost: (now, socket) => {
        for (const session of this.#sessions) session.removeLocalSocket(now, socket);
      },
      onPermission: (now, from, answer) => this.#introductions.handlePermission(now, from, answer),
      onIntroduce: (now, at) => {
        this.#mappedPort?.refresh();
        this.#introductions.handleUp(now, at);
      },
      onStopped: (error) => this.onStopped?.(error.code, error.message),
    };
  }

  #openDialer(): Dialer {
    return new Dialer({
      host: this,
      peerId: this.peerId,
      presences: this.#presences,
      introductions: this.#introductions,
      sockets: this.#sockets,
      quic: this.#quic,
      config: this.#peerConfig,
      random: this.random,
      clock: this.#clock,
      onSession: (session) => this.#addSession(session),
    });
  }

  #openReception(): Reception {
    const { admit = () => false, offers = () => true, onService, log } = this.#options;
    return new Reception({
      host: this,
      sessions: this.#sessions,
      log,
      admit,
      wallClock: Date.now,
      offers,
      onService,
      isPermissionPending: (session) => this.#introductions.isPermissionPending(session),
      refuse: (at, session, code, message) => this.#refuse(at, session, code, message),
      onSession: (session) => this.#addSession(session),
      onIncoming: (now, at, session, observed) => this.#introductions.handleIncoming(now, at, session, observed),
    });
  }

  async bind(): Promise<void> {
    this.sendsWhole = await canSendUnfragmented();
    for (const { ip, port } of placesToBind(this.#options.bind)) {
      const id = await this.#driver.bind({
        address: SocketAddress.of(ip, port),
        dontFragment: true,
        borrows: true,
        receive: (now, socket, batch) => this.#switchboard.receive(now, socket, batch),
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
      onCandidate: (now) => {
        this.#tellCandidates(now);
        this.#driver.wake();
      },
      // Until we send, nobody reaches us where we were.
      onRestart: (now) => this.#presences.probe(now),
    });
  }

  get peerId(): PeerId {
    return this.#options.identity.peerId;
  }

  get localAddresses(): readonly SocketAddress[] {
    return this.#sockets.map((socket) => socket.address);
  }

  get registered(): boolean {
    return this.#presences.isRegistered;
  }

  waitRegistered(): Promise<void> {
    return this.#presences.wait();
  }

  status(): EndpointStatus {
    return {
      peerId: this.peerId,
      ...this.#presences.status(),
      portMapping: this.#mappedPort?.status ?? null,
      sessions: this.#sessions.status(),
      totals: this.#sessions.totals(),
      dropped: this.#sessions.dropped(this.#demux.drops),
    };
  }

  samples(limit: number): readonly SessionSample[] {
    return this.#sessions.samples(limit);
  }

  isServer(address: SocketAddress): boolean {
    return this.#presences.stunServers.some((server) => server.equals(address));
  }

  surroundings(): Surroundings {
    return { network: this.#sense.view, stunServers: this.#presences.stunServers };
  }

  // ---- sessions of an agent

  async connect(options: ConnectOptions): Promise<PeerSession> {
    const session = await this.#dialer.connect(options);
    this.onSession?.(session);
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

  signal(message: SessionSignal): boolean {
    return this.#introductions.signal(this.#clock.now(), message);
  }

  get network(): NetworkView {
    return this.#sense.view;
  }

  predictPorts(listener: PredictionListener): void {
    this.#sense.predict(listener);
  }

  get isGathering(): boolean {
    return this.#presences.isGathering;
  }

  localCandidates(): readonly LocalCandidateInit[] {
    const mapped = this.#mappedPort?.candidate;
    return mapped ? [...this.#presences.candidates(), mapped] : this.#presences.candidates();
  }

  probeInfrastructure(now: Millis): void {
    this.#presences.probe(now);
    this.#watch.hurry(now);
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

  handleTimeout(now: Millis): void {
    const news = this.#watch.handleTimeout(now);
    if (news) this.#handleNews(now, news);
    this.#presences.handleTimeout(now);
    this.#introductions.handleTimeout(now);
    this.#sessions.handleTimeout(now);
  }

  pollTimeout(): Deadline | null {
    const signaling = earliest(this.#presences.pollTimeout(this.#clock.now()), this.#introductions.pollTimeout());
    return earliest(earliest(signaling, this.#watch.pollTimeout()), this.#sessions.pollTimeout());
  }

  drain(now: Millis): void {
    this.#presencesSilent = false;
    this.#presences.pump(now);
    this.#demux.retryEarly(now);
    this.#sessions.drain(now, (session) => {
      if (session.isGone) this.#forget(session);
    });
  }

  #forget(session: Session): void {
    this.#sessions.delete(session);
    // Not before: its CONNECTION_CLOSE may leave over the relay.
    this.#presences.release(session.sessionId);
    this.#introductions.forget(session);
    this.#demux.forget(session);
    for (const connection of session.connections) this.#quic.forget(connection);
  }

  pollTransmit(): Transmit | null {
    const signaled = this.#presencesSilent ? null : this.#presences.pollTransmit();
    if (signaled) return signaled;
    this.#presencesSilent = true;
    const now = this.#clock.now();
    const sent = this.#sessions.pollTransmit(now, this.#wrap);
    if (sent || this.#farewell === null) return sent;
    // The sessions have said their last: only now the relays that carried it may go.
    this.#presences.close(now, this.#farewell);
    this.#farewell = null;
    this.#presencesSilent = false;
    return this.#presences.pollTransmit();
  }

  // ---- signaling

  /** Over TLS it says nothing of UDP, which is no news while another intermediate is reached over that. */
  #handleSeen(now: Millis, seen: Seen): void {
    if (seen.observed || this.#presences.udpReach === "blocked") this.#sense.handleSeen(now, seen);
  }

  /** Everything is asked at once, before anybody waits for it. */
  #handleNews(now: Millis, news: NetworkNews): void {
    this.log.info("network-news", { ...news });
    this.#mappedPort?.refresh();
    this.#presences.probe(now);
    this.#tellCandidates(now);
    for (const session of this.#sessions) session.handleWake(now);
  }

  #handleCandidates(now: Millis, from: Presence): void {
    this.#introductions.handleRelay(now, from);
    this.#tellCandidates(now);
  }

  #tellCandidates(now: Millis): void {
    this.#sessions.tellCandidates(now, this.localCandidates(), !this.isGathering);
  }

  #handleMessage(now: Millis, from: Presence, message: IntermediateMessage): void {
    if (message.type === "incoming") return this.#reception?.handleIncoming(now, from, message);
    if (!("sessionId" in message) || message.sessionId === null) return;
    const session = this.#sessions.get(message.sessionId);
    if (session && !session.isOver) {
      this.touch(session);
      if (this.#introductions.admits(now, from, session, message)) session.handleSignaling(now, message);
      return;
    }
    if (message.type === "candidate-offer") return this.#reception?.handleOffer(now, from, message);
    // A session that we do not know: a peer that asks for a restart of it learns that it is gone; all else is ignored.
    if (message.type === "restart" && !message.answer) {
      this.#refuse(from, message.sessionId, "session-gone", "this side was started anew and does not know the session");
    }
  }

  #refuse(at: Presence, sessionId: bigint, code: string, message: string): void {
    at.link.send(this.#clock.now(), { type: "error", code, message, sessionId, requestId: null });
  }

  // ---- the end

  async close(reason: string): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    const now = this.#clock.now();
    for (const session of this.#sessions) session.close(reason);
    this.#sense.close();
    this.#farewell = reason;
    this.#driver.wake();
    const unmapped = this.#mappedPort?.close();
    const giveUpAt = now + CLOSE_TIMEOUT_MS;
    while ((this.#farewell !== null || !this.#presences.isSilent) && this.#clock.now() < giveUpAt) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await unmapped;
    this.#driver.close();
  }
}
