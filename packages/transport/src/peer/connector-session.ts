import { type Deadline, earliest, type Millis, type SocketAddress, type SocketId } from "@adit/core";
import { isUdpCandidate, type PairId } from "@adit/ice";
import {
  describeClose,
  type InitialHeader,
  type PeerId,
  type QuicConnection,
  type QuicEndpoint,
  type QuicStream,
  type VirtualAddress,
} from "@adit/quic";
import { ANY_SERVICE, type CandidateAnswer, type CandidateOffer, type IntermediateMessage } from "@adit/signaling";
import { SessionError } from "../errors.ts";
import { PUNCH_TIMEOUT_MS } from "../path/actions.ts";
import { type FollowerAction, FollowerPolicy } from "../path/follower.ts";
import type { PathPair } from "../path/known-pairs.ts";
import type { PolicyView } from "../path/view.ts";
import type { SessionStatus } from "../status.ts";
import { CLOSE_CODE } from "./close-code.ts";
import type { DatagramFlow } from "./flows.ts";
import { Generations } from "./generations.ts";
import type { Racer } from "./handshakes.ts";
import { answerService, readRequest, type ServiceStream } from "./service-streams.ts";
import { type RestartMessage, Session } from "./session.ts";
import type { SessionHost, SessionPeer } from "./session-host.ts";
import { AGENT_TEXT } from "./version.ts";

/** An agent that was answered and does not connect is forgotten after this long. */
const CONNECT_TIMEOUT_MS = 15_000;
/** The relay's permission for the agent is waited for this long before the answer leaves without it. */
const PERMISSION_PATIENCE_MS = 300;
/** Connections of one session: the relay's and the direct one that races it. */
const MAX_CONNECTIONS = 2;

/** ICE restarts that the agent may ask for, one in so long. */
const RESTART_INTERVAL_MS = 1_000;

export interface ConnectorSessionOptions {
  readonly peerId: PeerId;
  /** Whether a relay has not said yet if it lets the agent through. */
  readonly isPermissionPending: () => boolean;
  /** Whether there is a service of that name. */
  readonly offers: (service: string) => boolean;
  readonly onService: (session: ConnectorSession, request: ServiceStream) => void;
}

/** A session as the side sees it that is asked for, is controlled in ICE, is the QUIC server, and follows. */
export class ConnectorSession extends Session {
  readonly #options: ConnectorSessionOptions;
  readonly #generations = new Generations();
  #restartedAt = Number.NEGATIVE_INFINITY;
  readonly #policy = new FollowerPolicy();
  #racers: readonly Racer[] = [];
  /** Theirs: asked for with every packet. */
  #connections: readonly QuicConnection[] = [];
  readonly #deadline: Millis;
  #answerAt: Millis | null = null;
  #offered = false;
  #answered = false;

  constructor(now: Millis, host: SessionHost, id: bigint, options: ConnectorSessionOptions) {
    super(host, id, "controlled");
    this.#options = options;
    this.#deadline = now + CONNECT_TIMEOUT_MS;
  }

  get peer(): SessionPeer {
    return { id: this.#options.peerId, name: null };
  }

  protected get policyView(): PolicyView {
    return this.#policy;
  }

  override status(): SessionStatus {
    const status = super.status();
    const { relayedSince } = this.#policy;
    if (status.path !== "relay" || relayedSince === null || this.now < relayedSince + PUNCH_TIMEOUT_MS) return status;
    return { ...status, reason: `no direct path: ${this.network.explainNoDirect(this.ice)}` };
  }

  get connections(): readonly QuicConnection[] {
    return this.#connections;
  }

  // ---- signaling

  override handleSignaling(now: Millis, message: IntermediateMessage): void {
    if (message.type === "candidate-offer") this.#handleOffer(now, message);
    else super.handleSignaling(now, message);
  }

  #handleOffer(now: Millis, offer: CandidateOffer): void {
    if (this.#offered) return;
    this.#offered = true;
    if (offer.serviceId !== ANY_SERVICE && !this.#options.offers(offer.serviceId)) {
      const message = `this connector exposes no service named ${offer.serviceId}; on its host, add it with --expose`;
      this.host.signal({ type: "error", code: "service-unknown", message, sessionId: this.sessionId, requestId: null });
      return this.end(now, "refused", message, CLOSE_CODE.refused);
    }
    this.network.predict();
    this.addRemote(now, offer.ice, offer.candidates);
    if (this.#options.isPermissionPending()) this.#answerAt = now + PERMISSION_PATIENCE_MS;
    else this.#sendAnswer(now);
  }

  /** The relays let the agent's address in, or refused. */
  handlePermission(now: Millis): void {
    if (this.#answerAt === null) return;
    this.#sendAnswer(now);
    this.host.touch(this);
  }

  #sendAnswer(now: Millis): void {
    this.#answerAt = null;
    this.#answered = true;
    const candidates = this.announce(now);
    this.host.signal({ type: "candidate-answer", sessionId: this.sessionId, ice: this.ice.local, candidates });
    if (!this.host.isGathering) this.endLocalCandidates(now);
  }

  /** The answer to the offer, as it would be now; null before there was one. For an agent that has it already it is no news. */
  get answer(): CandidateAnswer | null {
    if (!this.#answered) return null;
    const candidates = this.ice.localCandidates.filter(isUdpCandidate);
    return { type: "candidate-answer", sessionId: this.sessionId, ice: this.ice.local, candidates };
  }

  /** The agent is announced, at one more intermediate or again. */
  handleIncoming(): void {
    this.#policy.handlePeerKnows();
  }

  protected handlePeerGone(now: Millis, reason: string): void {
    if (this.isUp) this.#policy.handlePeerGone(now);
    else this.end(now, "closed", reason, CLOSE_CODE.done);
  }

  // ---- QUIC

  /** Whether a first packet may open another connection of this session. */
  get mayAccept(): boolean {
    return this.#offered && !this.isOver && this.carrier === null && this.#racers.length < MAX_CONNECTIONS;
  }

  /** A first packet came through an open gate: the connection that it offers becomes this session's. */
  accept(
    now: Millis,
    quic: QuicEndpoint,
    header: InitialHeader,
    socket: SocketId,
    from: SocketAddress,
    data: Uint8Array,
  ): void {
    const pair = this.learn(socket, from);
    const slot = this.data.slots.bind(pair, this.keepPairs());
    if (slot === null) return;
    const { local, remote } = this.data.addresses(slot);
    const { peerId } = this.#options;
    const connection = quic.accept(now, header, local, remote, { expectedPeerId: peerId });
    if (!connection) return;
    connection.onWork = () => this.host.touch(this);
    this.host.claimConnection(connection, this);
    this.#keep([...this.#racers, { connection, pair }]);
    this.handlePacket(now, connection, socket, from, data);
  }

  protected handleConnectionEvents(now: Millis, connection: QuicConnection): void {
    let migratedTo: VirtualAddress | null = null;
    for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
      switch (event.type) {
        case "established":
          // Its key was checked before: only the announced peer's certificate gets here.
          break;
        case "stream":
          this.#handleStream(now, connection, event.stream);
          break;
        case "datagram":
          if (connection === this.carrier) this.flows.handleDatagram(event.data);
          break;
        case "path":
          if (event.event === "peer-migrated") migratedTo = event.remote;
          break;
        case "closed":
          if (connection !== this.carrier) break;
          this.end(now, "closed", event.reason || describeClose(event), CLOSE_CODE.done);
          break;
      }
    }
    // Only where it ended up counts.
    if (migratedTo && connection === this.carrier) this.#handleMigrated(now, migratedTo);
    // Until then it may have its CONNECTION_CLOSE to send.
    if (connection.state !== "closed") return;
    this.#keep(this.#racers.filter((racer) => racer.connection !== connection));
  }

  #keep(racers: readonly Racer[]): void {
    this.#racers = racers;
    this.#connections = racers.map((racer) => racer.connection);
  }

  #handleMigrated(now: Millis, remote: VirtualAddress): void {
    const slot = this.data.slots.slotAt(remote);
    const pair = slot === null ? null : this.data.slots.pairOf(slot);
    if (pair !== null) this.#policy.handleActive(now, this.#pathPair(pair));
  }

  #handleStream(now: Millis, connection: QuicConnection, stream: QuicStream): void {
    if (connection.state !== "established") return stream.reset(CLOSE_CODE.protocol);
    if (this.carrier === null && stream.id === 0) return this.#choose(now, connection, stream);
    if (connection !== this.carrier || !this.control.isAttached) {
      stream.reset(CLOSE_CODE.protocol);
      return stream.stopSending(CLOSE_CODE.protocol);
    }
    this.#readRequest(stream);
  }

  /** The agent opens its control stream on the connection that won on its side: that one is the session. */
  #choose(now: Millis, connection: QuicConnection, stream: QuicStream): void {
    const winner = this.#racers.find((racer) => racer.connection === connection);
    if (!winner) return;
    this.carrier = connection;
    this.handshakes++;
    for (const other of this.#racers) {
      if (other !== winner) other.connection.close(CLOSE_CODE.superseded, "another connection was first");
    }
    if (this.#racers.length > 1) this.data.slots.keepOnly(winner.pair);
    this.#policy.handleActive(now, this.#pathPair(winner.pair));
    this.control.attach(stream, AGENT_TEXT);
  }

  #readRequest(stream: QuicStream): void {
    readRequest(stream, this.traffic.head).then(
      (request) => this.#options.onService(this, { stream, name: request.name, protocol: request.protocol }),
      (error: Error) => this.host.log.debug("bad-service-request", { session: this.id, error: error.message }),
    );
  }

  /** The stream is the service's from then on. @throws the stream's errors, when the peer has given up. */
  async acceptService(stream: QuicStream): Promise<QuicStream> {
    await answerService(stream, { type: "accepted" }, this.traffic.head);
    return stream;
  }

  /** The stream is a flow of datagrams from then on. @throws the stream's errors, when the peer has given up. */
  async acceptFlow(stream: QuicStream): Promise<DatagramFlow> {
    if (!this.carrier) throw new SessionError("closed", "the session ended");
    // Before the answer leaves, for datagrams may come right behind it.
    const flow = this.flows.add(this.carrier, stream);
    await answerService(stream, { type: "accepted" }, this.traffic.head);
    return flow;
  }

  async refuseService(stream: QuicStream, code: string, reason: string): Promise<void> {
    try {
      await answerService(stream, { type: "refused", code, reason }, this.traffic.head);
      stream.finish();
      stream.stopSending(CLOSE_CODE.refused);
    } catch {
      // The peer has given up: nobody is left to be told.
    }
  }

  // ---- what the parts say

  protected handleHello(): void {
    if (this.isUp) return;
    this.setUp();
  }

  protected handleAnswer(now: Millis, pair: PathPair, rttMs: Millis, repeated: boolean): void {
    this.#policy.handleAnswer(now, pair, rttMs, repeated);
  }

  protected handlePairLost(now: Millis, pair: PairId): void {
    this.#policy.handlePairLost(now, pair);
  }

  protected handleHeard(now: Millis, pair: PairId): void {
    this.#policy.handleHeard(now, pair);
  }

  protected handleActivity(now: Millis): void {
    this.#policy.handleActivity(now);
  }

  handleWake(now: Millis): void {
    if (!this.isUp) return;
    this.#policy.handleWake(now);
    this.host.touch(this);
  }

  /** The agent decides; a report from it changes nothing here. */
  protected handlePathReport(): void {}

  /** The agent restarts ICE: a new generation here too, and the answer goes back. */
  protected handleRestart(now: Millis, message: RestartMessage): void {
    if (message.answer) return;
    this.#policy.handlePeerKnows();
    if (this.ice.remote?.ufrag !== message.ice.ufrag) {
      if (this.#generations.has(message.ice.ufrag)) return;
      // Each restart lets the peer send us to as many addresses again: not as often as it likes. It asks again.
      if (now < this.#restartedAt + RESTART_INTERVAL_MS) return;
      this.#restartedAt = now;
      if (this.ice.remote) this.#generations.add(this.ice.remote.ufrag);
      this.ice.restart(now);
      this.host.claimUfrags(this);
      this.network.predict();
      this.addRemote(now, message.ice, message.candidates);
    }
    // Asked again, answered again: the answer may have been lost.
    const candidates = this.ice.localCandidates.filter(isUdpCandidate);
    this.sendControl({ type: "restart", ice: this.ice.local, candidates, answer: true });
  }

  protected handleEnd(): void {}

  // ---- time and decisions

  protected handlePolicyTimeout(now: Millis): void {
    if (this.#answerAt !== null && now >= this.#answerAt) this.#sendAnswer(now);
    if (!this.isUp && now >= this.#deadline) {
      return this.end(now, "timeout", "the agent was answered and did not connect", CLOSE_CODE.done);
    }
    this.#policy.handleTimeout(now);
  }

  protected pollPolicyTimeout(): Deadline | null {
    let next = this.#policy.pollTimeout();
    if (!this.isUp) next = earliest(next, { at: this.#deadline, reason: "agent's connection" });
    if (this.#answerAt !== null) next = earliest(next, { at: this.#answerAt, reason: "permission" });
    return next;
  }

  protected pumpPolicy(now: Millis): boolean {
    let busy = false;
    for (let action = this.#policy.pollAction(); action; action = this.#policy.pollAction()) {
      this.#act(now, action);
      busy = true;
      if (this.isOver) return false;
    }
    return busy;
  }

  protected keepPairs(): readonly (PairId | null)[] {
    return this.carrier ? this.#policy.keepPairs : this.#racers.map(({ pair }) => pair);
  }

  #act(now: Millis, action: FollowerAction): void {
    switch (action.type) {
      case "check":
        this.ice.probe(now, action.pair);
        return;
      case "report":
        this.sendControl({
          type: "path-report",
          path: action.path,
          alive: false,
          silentMs: Math.round(action.silentMs),
        });
        this.host.probeInfrastructure(now);
        return;
      case "ping":
        if (this.carrier?.state === "established") this.carrier.sendAckEliciting();
        return;
      case "retry":
        return this.ice.retry(now);
      case "changed":
        if (action.from === "connecting") return;
        return this.record.change(
          this.peer,
          { ...action, gapMs: null },
          action.pair === null ? null : this.ice.pair(action.pair),
        );
      case "end":
        return this.end(now, action.code, action.reason, CLOSE_CODE.done);
    }
  }

  #pathPair(pair: PairId): PathPair {
    const known = this.ice.pair(pair);
    return { id: pair, kind: known?.direct ? "direct" : "relay", priority: known?.priority ?? 0n };
  }
}
