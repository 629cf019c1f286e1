import { type Deadline, earliest, type Millis, type SocketAddress, type SocketId, type Transmit } from "@adit/core";
import {
  type Candidate,
  IceAgent,
  type IceEvent,
  type IceParameters,
  type LocalCandidateInit,
  type PairId,
} from "@adit/ice";
import type { QuicConnection } from "@adit/quic";
import type { ControlMessage, IntermediateMessage, SignaledCandidate } from "@adit/signaling";
import { SessionError, type SessionErrorCode } from "../errors.ts";
import { gateKey } from "../path/gates.ts";
import type { PathPair } from "../path/known-pairs.ts";
import type { PolicyView } from "../path/view.ts";
import { type SessionSample, sampleOf } from "../sample.ts";
import type { SessionPath, SessionStatus } from "../status.ts";
import { CandidateExchange } from "./candidate-exchange.ts";
import { CLOSE_CODE } from "./close-code.ts";
import { Control } from "./control.ts";
import { type Binding, DataPath } from "./data-path.ts";
import { Flows } from "./flows.ts";
import { Lifecycle } from "./lifecycle.ts";
import { pairFacts } from "./pair-facts.ts";
import { describePair, pathPair } from "./pair-words.ts";
import { Pings } from "./pings.ts";
import type { SessionHost, SessionPeer } from "./session-host.ts";
import { SessionNetwork } from "./session-network.ts";
import { SessionRecord } from "./session-record.ts";
import { describeSession } from "./session-status.ts";
import { SizeProber } from "./size-prober.ts";
import { streamEnd, streamEnding } from "./stream-endings.ts";
import { Traffic } from "./traffic.ts";

export type RestartMessage = Extract<ControlMessage, { type: "restart" }>;

/** "Ta 50 ms (5 ms between agents that both allow it)": the peer's ice-options say whether it does. */
const TA_MS = 5;
/** A pump goes round at most this often before it lets others have a turn. */
const PUMP_ROUNDS = 16;

/** What both sides of a session share: ICE, the data path, the control stream, the clocks. The rest is in its subclasses. */
export abstract class Session {
  /** As it is signalled. */
  readonly sessionId: bigint;
  readonly ice: IceAgent;
  readonly data = new DataPath(pairFacts(() => this.ice));
  readonly closed: Promise<{ readonly code: string; readonly reason: string }>;
  protected readonly host: SessionHost;
  protected readonly control: Control;
  protected readonly flows = new Flows();
  protected handshakes = 0;
  protected readonly record: SessionRecord;
  protected readonly traffic: Traffic;
  readonly network: SessionNetwork;
  /** The connection that carries the session; null until one won. */
  protected carrier: QuicConnection | null = null;
  #resolveClosed: (end: { code: string; reason: string }) => void = () => {};
  readonly #life = new Lifecycle();
  readonly #pings: Pings;
  readonly #sizes: SizeProber;
  readonly #candidates: CandidateExchange;
  readonly #binding: Binding = {
    mayBind: () => this.ice.role === "controlled",
    keepPairs: () => this.keepPairs(),
  };

  protected constructor(host: SessionHost, id: bigint, role: "controlling" | "controlled") {
    this.host = host;
    this.sessionId = id;
    const { random, log, icePolicy: policy } = host;
    const isServer = (address: SocketAddress): boolean => host.isServer(address);
    this.ice = new IceAgent({ role, random, policy, taMs: TA_MS, isServer, log });
    this.#candidates = new CandidateExchange(this.ice, (message) => this.sendControl(message));
    this.#pings = new Pings(host.random, (pingId) => this.control.send({ type: "ping", id: pingId }));
    this.control = new Control(
      (message) => this.#handleControl(message),
      (reason) => this.handleControlEnd(reason),
      () => this.network.tell(),
    );
    this.#sizes = new SizeProber({
      session: this.id,
      ice: this.ice,
      sizes: this.data.sizes,
      sendsWhole: host.sendsWhole,
      log: host.log,
    });
    this.record = new SessionRecord(host, id, this.id);
    this.traffic = new Traffic(this.control, this.flows);
    this.network = new SessionNetwork({
      host,
      ufrag: () => this.ice.local.ufrag,
      trickle: (message) => this.sendControl(message),
      tell: (message) => void this.control.send(message),
    });
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  abstract readonly peer: SessionPeer;
  /** What this side's path policy has to say of itself. */
  protected abstract get policyView(): PolicyView;
  /** Every QUIC connection of the session: more than one only while they race. */
  abstract get connections(): readonly QuicConnection[];

  protected abstract handleAnswer(now: Millis, pair: PathPair, rttMs: Millis, repeated: boolean): void;
  protected abstract handlePairLost(now: Millis, pair: PairId, reason: string): void;
  protected abstract handleHeard(now: Millis, pair: PairId, connection: QuicConnection): void;
  /** Application bytes moved; `received`: some came in. */
  protected abstract handleActivity(now: Millis, received: boolean): void;
  protected abstract handleConnectionEvents(now: Millis, connection: QuicConnection): void;
  protected abstract handleRestart(now: Millis, message: RestartMessage): void;
  protected abstract handlePathReport(now: Millis, alive: boolean): void;
  /** Signaling says that the other side is gone or new: a hint. */
  protected abstract handlePeerGone(now: Millis, reason: string): void;
  /** The machine slept, or has other addresses: each path has to prove itself. */
  abstract handleWake(now: Millis): void;
  protected abstract handlePolicyTimeout(now: Millis): void;
  protected abstract pollPolicyTimeout(): Deadline | null;
  /** Carries out what the policy wants; true when it did anything. */
  protected abstract pumpPolicy(now: Millis): boolean;
  protected abstract keepPairs(): readonly (PairId | null)[];

  get path(): SessionPath {
    return this.policyView.path;
  }

  /** The pair that carries the session; null when none does. */
  get activePair(): PairId | null {
    return this.policyView.activePair;
  }

  get id(): string {
    return this.sessionId.toString(16).padStart(16, "0");
  }

  get isUp(): boolean {
    return this.#life.isUp;
  }

  get isOver(): boolean {
    return this.#life.isOver;
  }

  /** Nothing is left to be sent: the endpoint may forget it. */
  get isGone(): boolean {
    return this.#life.isGone;
  }

  // ---- datagrams

  /** A STUN message that is meant for this session's ICE. */
  handleStun(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): boolean {
    if (this.isOver) return false;
    this.host.touch(this);
    const receipt = this.ice.handleDatagram(now, socket, from, data);
    if (receipt.kind === "dropped") {
      this.host.log.trace("check-dropped", { session: this.id, from, reason: receipt.reason });
      return false;
    }
    const pair = this.learn(socket, from);
    if (receipt.kind === "request") this.data.gates.handleRequest(now, pair, data.length);
    else this.data.gates.handleAnswer(now, pair);
    return true;
  }

  /** A QUIC packet of one of this session's connections. */
  handlePacket(now: Millis, connection: QuicConnection, socket: SocketId, from: SocketAddress, data: Uint8Array): void {
    // A stranger's packets, whatever connection they name, leave no trace.
    const known = this.data.learned(socket, from);
    const pair = known ?? gateKey(socket, from);
    if (!this.data.gates.isOpen(now, pair)) return this.data.drops.add("gate-closed");
    this.host.touch(this);
    if (known === null) this.learn(socket, from);
    if (this.data.receive(now, connection, pair, data, this.#binding)) this.handleHeard(now, pair, connection);
  }

  pollTransmit(now: Millis): Transmit | null {
    const check = this.ice.pollTransmit();
    if (check) {
      this.learn(check.socket, check.to);
      return check;
    }
    for (const connection of this.connections) {
      const packet = this.data.transmit(now, connection);
      if (packet) return packet;
    }
    return null;
  }

  // ---- time

  handleTimeout(now: Millis): void {
    this.#life.handleTimeout(now, this.connections.length > 0);
    this.data.handleTimeout(now);
    this.ice.handleTimeout(now);
    for (const connection of this.connections) {
      const due = connection.pollTimeout(now);
      if (due && due.at <= now) connection.handleTimeout(now);
    }
    if (this.isOver) return;
    this.#candidates.handleTimeout(now);
    this.handlePolicyTimeout(now);
    this.#pings.handleTimeout(now);
  }

  pollTimeout(now: Millis): Deadline | null {
    let next = this.#life.pollTimeout(now, this.connections.length > 0);
    for (const connection of this.connections) next = earliest(next, connection.pollTimeout(now));
    next = earliest(next, this.data.pollTimeout());
    if (this.isOver) return next;
    next = earliest(next, this.#candidates.pollTimeout());
    next = earliest(next, this.#pings.pollTimeout());
    next = earliest(next, this.#sizes.pollTimeout());
    return earliest(earliest(next, this.ice.pollTimeout()), this.pollPolicyTimeout());
  }

  /** After any input: events and decisions go their way until all is quiet. */
  pump(now: Millis): void {
    for (let round = 0; round < PUMP_ROUNDS; round++) {
      let busy = false;
      for (let event = this.ice.pollEvent(); event; event = this.ice.pollEvent()) {
        this.#handleIceEvent(now, event);
        busy = true;
      }
      for (const connection of this.connections) this.handleConnectionEvents(now, connection);
      this.#tellEnded();
      if (this.isOver) return;
      this.#sizes.pump(now, this.isUp ? this.activePair : null, this.carrier);
      if (this.carrier) this.carrier.roundTripMs = this.policyView.rttMs;
      const moved = this.traffic.takeMoved(this.carrier);
      if (moved) this.handleActivity(now, moved.received);
      if (this.pumpPolicy(now)) busy = true;
      if (this.carrier) this.data.suspectPath(now, this.carrier, this.policyView);
      if (!busy) return;
    }
    this.host.touch(this);
  }

  /** Streams that are over here: their last FIN or RESET_STREAM may get lost, the word of it does not. */
  #tellEnded(): void {
    const { carrier } = this;
    if (!carrier) return;
    for (let ending = carrier.takeEnded(); ending; ending = carrier.takeEnded()) this.control.send(streamEnd(ending));
  }

  // ---- candidates

  /** All that is known of our own candidates now: own addresses, observed addresses, relays. */
  setLocalCandidates(now: Millis, candidates: readonly LocalCandidateInit[]): void {
    if (this.isOver) return;
    this.#candidates.setLocal(now, candidates);
    this.host.touch(this);
  }

  /** A socket or allocation of ours is gone. */
  removeLocalSocket(now: Millis, socket: SocketId): void {
    if (this.isOver) return;
    this.ice.removeLocalSocket(now, socket);
    this.host.touch(this);
  }

  /** What is known of ourselves so far, for an offer or an answer; what comes later trickles (RFC 8838). */
  protected announce(now: Millis): readonly SignaledCandidate[] {
    this.#candidates.setLocal(now, this.host.localCandidates());
    for (let event = this.ice.pollEvent(); event; event = this.ice.pollEvent()) this.#handleIceEvent(now, event);
    return this.network.announce(this.#candidates.announce());
  }

  /** Nothing more will come by itself. */
  endLocalCandidates(now: Millis): void {
    if (this.isOver) return;
    this.host.touch(this);
    this.#candidates.endLocal(now);
  }

  protected addRemote(now: Millis, ice: IceParameters, candidates: readonly Candidate[]): void {
    this.#candidates.addRemote(now, ice, candidates);
  }

  // ---- the peer's words, whichever way they came

  handleTrickle(now: Millis, ufrag: string, candidate: Candidate | null): void {
    this.#candidates.handleTrickle(now, ufrag, candidate);
  }

  /** What the intermediate says of this session, or forwards. */
  handleSignaling(now: Millis, message: IntermediateMessage): void {
    switch (message.type) {
      case "candidate":
        return this.handleTrickle(now, message.ufrag, message.candidate);
      case "start-punching":
        return this.#candidates.handleStartPunching(now, message.targetTimeMs, message.peerCandidates);
      case "restart":
        return this.handleRestart(now, message);
      case "path-report":
        return this.handlePathReport(now, message.alive);
      case "session-end":
        return this.handlePeerGone(now, message.reason);
    }
  }

  /** Over the control stream, and where that has none or its path may be dead, through the intermediate too. */
  protected sendControl(message: Extract<ControlMessage, { type: "candidate" | "restart" | "path-report" }>): void {
    const sent = this.control.send(message);
    const active = this.activePair === null ? null : this.ice.pair(this.activePair);
    // A new relay or a new address is news where the old one, and with it the active path, may be gone.
    const type = message.type === "candidate" ? (message.candidate?.type ?? "host") : null;
    const urgent = type !== "host" || !active?.valid;
    if (!sent || urgent) this.host.signal({ ...message, sessionId: this.sessionId });
  }

  #handleControl(message: ControlMessage): void {
    const now = this.now;
    switch (message.type) {
      case "hello":
        return this.handleHello(now);
      case "candidate":
        return this.handleTrickle(now, message.ufrag, message.candidate);
      case "restart":
        return this.handleRestart(now, message);
      case "path-report":
        return this.handlePathReport(now, message.alive);
      case "ping":
        this.control.send({ type: "pong", id: message.id });
        return;
      case "pong":
        return this.#pings.handlePong(now, message.id);
      case "stream-end":
        return this.carrier?.expectEnd(streamEnding(message));
      case "network-view":
        return this.network.handleView(message);
      case "goodbye":
        return this.end(now, "closed", message.reason, CLOSE_CODE.done);
    }
  }

  protected abstract handleHello(now: Millis): void;

  protected handleControlEnd(reason: string): void {
    // When the whole connection is over its own event says why.
    if (this.isOver || this.carrier?.state !== "established") return;
    this.end(this.now, "closed", `the control stream ended: ${reason}`, CLOSE_CODE.protocol);
  }

  /** Stream callbacks and the program's calls have no argument for it. */
  protected get now(): Millis {
    return this.host.now();
  }

  // ---- for the program

  ping(): Promise<number> {
    if (!this.isUp) return Promise.reject(new SessionError("closed", "the session is not up"));
    this.host.touch(this);
    this.handleActivity(this.now, false);
    return this.#pings.ask(this.now);
  }

  close(reason = "closed by this side"): void {
    if (this.isOver) return;
    this.end(this.now, "closed", reason, CLOSE_CODE.done);
  }

  status(): SessionStatus {
    const { id, peer, handshakes, policyView } = this;
    const pair = this.activePair === null ? null : this.ice.pair(this.activePair);
    const datagramBytes = this.activePair === null ? null : this.data.sizes.bytes(this.activePair);
    const bytes = this.traffic.count(this.carrier);
    return describeSession({ id, peer, handshakes, policyView, pair, datagramBytes, bytes });
  }

  sample(): SessionSample {
    return sampleOf(this.status(), this.carrier);
  }

  // ---- for the subclasses

  protected setUp(): void {
    this.#life.handleUp();
    const pair = this.activePair === null ? null : this.ice.pair(this.activePair);
    this.record.start(this.peer, this.path, pair?.remote.address ?? null, this.policyView.reason);
  }

  /** Ends the session: connections close with `code`, waiting pings fail, `closed` resolves. */
  end(now: Millis, code: SessionErrorCode | string, reason: string, closeCode: number): void {
    if (this.isOver) return;
    const wasUp = this.isUp;
    for (const connection of this.connections) connection.close(closeCode, reason);
    this.#life.handleEnd(now);
    this.#pings.close(reason);
    if (!wasUp) this.record.report("failed", reason);
    // The connection's own close is one packet, and may be lost.
    else this.host.signal({ type: "session-end", sessionId: this.sessionId, reason });
    if (wasUp) this.record.end(this.peer, code, reason, this.traffic.count(this.carrier));
    this.ice.close();
    this.host.touch(this);
    this.handleEnd(code, reason);
    this.#resolveClosed({ code, reason });
  }

  protected abstract handleEnd(code: string, reason: string): void;

  protected learn(socket: SocketId, remote: SocketAddress): PairId {
    const { pair, evicted } = this.data.learn(socket, remote);
    this.host.learnRoute(pair, this);
    if (evicted !== null) this.host.forgetRoute(evicted, this);
    return pair;
  }

  #handleIceEvent(now: Millis, event: IceEvent): void {
    switch (event.type) {
      case "local-candidate":
        return this.#candidates.handleLocal(event.candidate);
      case "pair-valid":
        this.host.log.debug("pair-valid", { session: this.id, ...describePair(event.pair) });
        return;
      case "size-answered":
        return this.#sizes.handleAnswer(now, event.pair.id, event.bytes);
      case "check-answered":
        return this.handleAnswer(now, pathPair(event.pair), event.rttMs, event.repeated);
      case "pair-failed":
        this.host.log.debug("pair-failed", { ...describePair(event.pair), reason: event.reason });
        if (!event.pair.valid)
          this.handlePairLost(now, event.pair.id, `the checks of the path failed: ${event.reason}`);
        return;
      case "pair-degraded":
        // Nothing else may tell an idle side that a NAT has forgotten it, or that its network is another one.
        this.ice.probe(now, event.pair.id);
        this.host.probeInfrastructure(now);
        return;
      case "pair-expired":
        this.data.gates.close(event.pair.id);
        this.handlePairLost(now, event.pair.id, "the peer's consent to the path expired");
        return;
      case "nominated":
      case "role-changed":
      case "failed":
      case "completed":
        this.host.log.debug(`ice-${event.type}`, { session: this.id });
        return;
    }
  }
}
