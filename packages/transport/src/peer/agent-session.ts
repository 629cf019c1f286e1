import { type Deadline, earliest, type Millis, type SocketAddress, type SocketId } from "@adit/core";
import { type Candidate, type PairId, pairId } from "@adit/ice";
import {
  describeClose,
  type PeerId,
  type QuicConfig,
  type QuicConnection,
  type QuicEndpoint,
  type QuicStream,
} from "@adit/quic";
import {
  type CandidateAnswer,
  type Connect,
  type Connected,
  type ErrorMessage,
  type IntermediateMessage,
  PEER_CONNECTED_ANEW,
} from "@adit/signaling";
import { refusalCode, SessionError, type SessionErrorCode } from "../errors.ts";
import type { PathAction } from "../path/actions.ts";
import type { PathPair } from "../path/known-pairs.ts";
import { PathPolicy } from "../path/policy.ts";
import { HandshakeRace } from "../path/race.ts";
import type { PolicyView } from "../path/view.ts";
import { CLOSE_CODE } from "./close-code.ts";
import { Destination } from "./destination.ts";
import type { DatagramFlow } from "./flows.ts";
import { Handshakes } from "./handshakes.ts";
import { checkLostPairs } from "./lost-pairs.ts";
import { PathMover } from "./path-mover.ts";
import { RelayedTargets } from "./relayed-targets.ts";
import { Restarts } from "./restarts.ts";
import { ServiceOpener } from "./service-opener.ts";
import { type RestartMessage, Session } from "./session.ts";
import type { SessionHost, SessionPeer } from "./session-host.ts";
import { AGENT_TEXT } from "./version.ts";

export interface AgentSessionOptions {
  readonly target: string;
  readonly expectedPeer: PeerId | null;
  readonly service: string;
  /** The proof of a ticket, null when there is none. */
  readonly prove: (sessionId: bigint, ufrag: string) => string | null;
  readonly timeoutMs: Millis;
  /** What a round trip over the relay takes at least, as far as this side can know. */
  readonly relayRttMs: Millis;
  readonly quic: QuicEndpoint;
  readonly config: QuicConfig;
  /** The socket or relay of ours that reaches that relayed address; null when there is none so far. */
  readonly socketTo: (relayed: SocketAddress) => SocketId | null;
  /** Whether that address is on the relay of an intermediate where the session is known. */
  readonly knowsUs: (session: AgentSession, relayed: SocketAddress) => boolean;
}

/** A session as the side sees it that asks for it, controls ICE, is the QUIC client, and migrates. */
export class AgentSession extends Session {
  /** Resolves when the connector's first control message has come. */
  readonly up: Promise<void>;
  readonly #options: AgentSessionOptions;
  readonly #policy: PathPolicy;
  readonly #race: HandshakeRace;
  readonly #handshakes: Handshakes;
  readonly #mover: PathMover;
  readonly #deadline: Millis;
  readonly #destination: Destination;
  #answered = false;
  readonly #restarts = new Restarts(this.ice);
  readonly #relayed = new RelayedTargets();
  readonly #services: ServiceOpener;
  #resolveUp: () => void = () => {};
  #rejectUp: (error: SessionError) => void = () => {};

  constructor(now: Millis, host: SessionHost, id: bigint, options: AgentSessionOptions) {
    super(host, id, "controlling");
    this.#options = options;
    this.#destination = new Destination(options.target, options.expectedPeer);
    this.#deadline = now + options.timeoutMs;
    this.#race = new HandshakeRace(options.relayRttMs);
    this.#policy = new PathPolicy(now, {
      slots: this.data.slots,
      random: host.random,
      explainNoDirect: () => this.network.explainNoDirect(this.ice),
    });
    this.#mover = new PathMover({
      session: this.id,
      slots: this.data.slots,
      policy: this.#policy,
      mayProbe: (now, connection, slot) => this.data.mayProbe(now, connection, slot),
      log: host.log,
    });
    this.#services = new ServiceOpener({
      session: this.id,
      head: this.traffic.head,
      log: host.log,
      connection: () => (this.isUp ? this.carrier : null),
      isOver: () => this.isOver,
      onAsked: (now) => this.#policy.handleActivity(now, false),
    });
    this.#handshakes = new Handshakes({
      sessionId: id,
      data: this.data,
      quic: options.quic,
      config: options.config,
      onConnection: (connection) => {
        connection.onWork = () => host.touch(this);
        host.claimConnection(connection, this);
      },
    });
    this.up = new Promise((resolve, reject) => {
      this.#resolveUp = resolve;
      this.#rejectUp = reject;
    });
    this.up.catch(() => {});
  }

  get peer(): SessionPeer {
    return this.#destination.peer;
  }

  protected get policyView(): PolicyView {
    return this.#policy;
  }

  get connections(): readonly QuicConnection[] {
    return this.#handshakes.connections;
  }

  // ---- signaling

  /** Sends Connect and the offer, one behind the other: nothing waits for an answer in between. */
  start(now: Millis): boolean {
    const { service, prove } = this.#options;
    const candidates = this.announce(now);
    const sent =
      this.host.signal(this.#destination.request(this.sessionId)) &&
      this.host.signal({
        type: "candidate-offer",
        sessionId: this.sessionId,
        serviceId: service,
        ice: this.ice.local,
        candidates,
        ticket: prove(this.sessionId, this.ice.local.ufrag),
      });
    this.network.predict();
    if (sent && !this.host.isGathering) this.endLocalCandidates(now);
    return sent;
  }

  /** What introduces the session to an intermediate: the connector is known by its key from when it was found. */
  get introduction(): Connect {
    return this.#destination.introduction(this.sessionId);
  }

  override handleSignaling(now: Millis, message: IntermediateMessage): void {
    switch (message.type) {
      case "connected":
        return this.#handleConnected(now, message);
      case "candidate-answer":
        return this.#handleAnswerMessage(now, message);
      case "error":
        return this.#handleError(now, message);
      default:
        return super.handleSignaling(now, message);
    }
  }

  #handleConnected(now: Millis, message: Connected): void {
    // What the intermediate says of a session that stands changes nothing any more.
    if (this.isUp) return;
    const refusal = this.#destination.handleFound(message);
    if (refusal !== null) this.end(now, "peer-changed", refusal, CLOSE_CODE.refused);
  }

  #handleAnswerMessage(now: Millis, message: CandidateAnswer): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#restarts.handleFirst(message.ice);
    this.addRemote(now, message.ice, message.candidates);
    for (const candidate of message.candidates) this.#noticeRelay(now, candidate);
  }

  override handleTrickle(now: Millis, ufrag: string, candidate: Candidate | null): void {
    super.handleTrickle(now, ufrag, candidate);
    if (candidate && this.ice.remote?.ufrag === ufrag) this.#noticeRelay(now, candidate);
  }

  /** The intermediate or the connector refuses. */
  #handleError(now: Millis, message: ErrorMessage): void {
    // The connector was started anew: a hint, the checks tell.
    if (this.isUp && message.code === "session-gone") this.#policy.handlePeerGone(now);
    if (this.isUp) return;
    this.end(now, refusalCode(message.code), message.message, CLOSE_CODE.refused);
  }

  /** Signaling says that the other side is gone or new. While the session is up this is a hint only. */
  protected handlePeerGone(now: Millis, reason: string): void {
    if (!this.isUp) this.end(now, "closed", `the connector is gone: ${reason}`, CLOSE_CODE.done);
    else if (reason === PEER_CONNECTED_ANEW) this.#policy.handlePeerAnew(now);
    else this.#policy.handlePeerGone(now);
  }

  #noticeRelay(now: Millis, candidate: Candidate): void {
    if (candidate.type !== "relay" || this.carrier) return;
    this.#relayed.add(candidate);
    this.launch(now);
  }

  /** The first check to the connector's relayed candidate and the QUIC Initial leave together, as soon as something leads there. */
  launch(now: Millis): void {
    if (this.carrier) return;
    const { knowsUs, socketTo } = this.#options;
    const target = this.#relayed.take((relayed) => knowsUs(this, relayed), socketTo);
    if (!target) return;
    const { socket, address } = target;
    const pair = pairId(socket, address);
    this.data.learn(socket, address);
    this.host.learnRoute(pair, this);
    this.data.gates.allowInitial(pair);
    this.#race.handleRelayPair(now, pair);
    this.host.touch(this);
  }

  // ---- QUIC

  protected handleConnectionEvents(now: Millis, connection: QuicConnection): void {
    for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
      switch (event.type) {
        case "established":
          this.#handleEstablished(now, connection);
          break;
        case "stream":
          // A connector opens no streams towards an agent.
          event.stream.reset(CLOSE_CODE.protocol);
          event.stream.stopSending(CLOSE_CODE.protocol);
          break;
        case "datagram":
          if (connection === this.carrier) this.flows.handleDatagram(event.data);
          break;
        case "path": {
          const slot = this.data.slots.slotAt(event.remote);
          if (slot === null || connection !== this.carrier) break;
          if (event.event === "validated") this.#policy.handleValidated(now, slot);
          if (event.event === "closed") this.#policy.handleValidationFailed(now, slot);
          break;
        }
        case "closed": {
          const lost = connection === this.carrier || this.#handshakes.allFailed;
          if (!lost || this.isOver) break;
          const refused = event.isApp && event.code === CLOSE_CODE.refused;
          this.end(now, refused ? "refused" : "closed", event.reason || describeClose(event), CLOSE_CODE.done);
          break;
        }
      }
    }
    // Until then it may have its CONNECTION_CLOSE to send.
    if (connection.state === "closed") this.#handshakes.forget(connection);
  }

  #handleEstablished(now: Millis, connection: QuicConnection): void {
    if (this.carrier) return connection.close(CLOSE_CODE.superseded, "another connection was first");
    const pair = this.#handshakes.choose(connection);
    if (pair === null) return;
    this.carrier = connection;
    this.handshakes++;
    const reason = this.#race.handleEstablished(pair);
    this.control.attach(connection.openStream(), AGENT_TEXT);
    const known = this.ice.pair(pair);
    const kind = known?.direct ? "direct" : "relay";
    this.#policy.handleEstablished(now, { id: pair, kind, priority: known?.priority ?? 0n }, reason);
  }

  #startHandshake(now: Millis, pair: PairId): void {
    const { peerId } = this.#destination;
    if (peerId === null) return;
    try {
      this.#handshakes.start(now, pair, this.ice.pair(pair)?.rttMs ?? null, peerId);
      // Its first packet leaves in this turn.
      this.#race.handleSign(now, pair);
    } catch (error) {
      this.end(now, "closed", (error as Error).message, CLOSE_CODE.done);
    }
  }

  // ---- what the parts say

  protected handleHello(): void {
    if (this.isUp) return;
    this.setUp();
    this.#resolveUp();
  }

  protected handleAnswer(now: Millis, pair: PathPair, rttMs: Millis, repeated: boolean): void {
    if (!this.carrier) this.#race.handleValidPair(now, pair.id, pair.kind);
    this.#policy.handleAnswer(now, pair, rttMs, repeated);
  }

  protected handlePairLost(now: Millis, pair: PairId, reason: string): void {
    this.#policy.handlePairLost(now, pair, reason);
  }

  protected handleHeard(now: Millis, pair: PairId, connection: QuicConnection): void {
    this.#services.handleHeard(now);
    if (connection === this.carrier) this.#policy.handleHeard(now, pair);
    else this.#race.handleSign(now, pair);
  }

  protected handleActivity(now: Millis, received: boolean): void {
    this.#policy.handleActivity(now, received);
  }

  handleWake(now: Millis): void {
    if (!this.isUp) return;
    this.#policy.handleWake(now);
    this.host.touch(this);
  }

  /** An intermediate forwards for this session, perhaps again: what could not be said before can be now. */
  handleReachable(now: Millis): void {
    if (!this.isUp) return;
    this.#policy.handleReachable(now);
    this.host.touch(this);
  }

  protected handlePathReport(now: Millis, alive: boolean): void {
    if (!alive) this.#policy.handlePeerReport(now);
  }

  /** The connector's answer to our restart. */
  protected handleRestart(now: Millis, message: RestartMessage): void {
    if (!this.#restarts.admits(message)) return;
    this.#policy.handleRestarted(now);
    this.addRemote(now, message.ice, message.candidates);
  }

  protected handleEnd(code: string, reason: string): void {
    this.#rejectUp(new SessionError(code as SessionErrorCode, reason));
  }

  // ---- time and decisions

  protected handlePolicyTimeout(now: Millis): void {
    if (!this.isUp && now >= this.#deadline) {
      return this.end(now, "timeout", this.#explainTimeout(), CLOSE_CODE.done);
    }
    this.#race.handleTimeout(now);
    this.#policy.handleTimeout(now);
  }

  protected pollPolicyTimeout(): Deadline | null {
    const attempt = this.isUp ? null : { at: this.#deadline, reason: "attempt" };
    const handshake = earliest(this.#race.pollTimeout(), this.#mover.pollTimeout(this.now, this.carrier));
    return earliest(earliest(attempt, handshake), this.#policy.pollTimeout());
  }

  protected pumpPolicy(now: Millis): boolean {
    let busy = false;
    if (this.carrier) this.#mover.pump(now, this.carrier);
    if (this.carrier && this.#services.isDone(this.carrier)) {
      this.end(now, "closed", "its streams are used up; another session takes over", CLOSE_CODE.done);
      return false;
    }
    for (let pair = this.#race.pollStart(); pair !== null; pair = this.#race.pollStart()) {
      this.#startHandshake(now, pair);
      busy = true;
    }
    for (let action = this.#policy.pollAction(); action; action = this.#policy.pollAction()) {
      this.#act(now, action);
      busy = true;
      if (this.isOver) return false;
    }
    return busy;
  }

  protected keepPairs(): readonly (PairId | null)[] {
    return this.carrier ? this.#policy.keepPairs : this.#handshakes.pairs;
  }

  #act(now: Millis, action: PathAction): void {
    const connection = this.carrier;
    if (!connection) return;
    switch (action.type) {
      case "check":
        this.ice.probe(now, action.pair);
        return;
      case "validate":
        return this.#mover.validate(now, connection, action.slot);
      case "migrate":
        return this.#mover.migrate(now, connection, action.slot);
      case "ping":
        if (connection.state === "established") connection.sendAckEliciting();
        return;
      case "probe-infrastructure":
        return this.host.probeInfrastructure(now);
      case "look":
        return checkLostPairs(now, this.ice);
      case "retry":
        return this.ice.retry(now);
      case "restart":
        return this.#restart(now);
      case "changed":
        if (action.from !== "connecting")
          this.record.change(this.peer, action, action.pair === null ? null : this.ice.pair(action.pair));
        else if (action.to === "direct" || action.to === "relay") this.record.report(action.to, action.reason);
        if (action.to !== "direct") this.host.probeInfrastructure(now);
        return;
      case "punch-failed":
        this.host.log.info("punch-failed", { session: this.id, reason: action.reason });
        this.record.report("relay", action.reason);
        return;
      case "end":
        return this.end(now, action.code, action.reason, CLOSE_CODE.done);
    }
  }

  #restart(now: Millis): void {
    const { message, isNew } = this.#restarts.begin(now);
    if (isNew) {
      this.host.log.debug("ice-restart", { session: this.id });
      this.host.claimUfrags(this);
      this.network.predict();
    }
    this.sendControl(message);
    this.host.probeInfrastructure(now);
  }

  #explainTimeout(): string {
    if (this.#destination.peerId === null) return "the intermediate did not answer";
    if (!this.#answered) return "the connector did not answer the offer";
    return `neither the relay nor a direct path carried a handshake: ${this.network.explainNoDirect(this.ice)}`;
  }

  // ---- for the program

  /** Resolves when the session opens no more streams for long; see StreamCredit. It ends with its last stream. */
  get retiring(): Promise<void> {
    return this.#services.retiring;
  }

  openService(name: string, onRequested?: (stream: QuicStream) => void): Promise<QuicStream> {
    return this.#services.open(this.now, name, "tcp", onRequested);
  }

  /** Opens a flow of datagrams to a `udp` service. @throws ServiceRefusedError, SessionError. */
  async openFlow(name: string): Promise<DatagramFlow> {
    const stream = await this.#services.open(this.now, name, "udp");
    if (!this.carrier) throw new SessionError("closed", "the session ended");
    return this.flows.add(this.carrier, stream);
  }
}
