import { type Deadline, deadlineAt, earliest, fromUtf8, type Logger } from "@adit/core";
import type { QuicConfig } from "./config.ts";
import type { ConnectionOptions, ConnectionOwner } from "./connection-options.ts";
import { Datagrams } from "./datagrams.ts";
import { type CloseReason, checkCode, parseNativeError } from "./errors.ts";
import { HandshakeRepeats } from "./handshake-repeats.ts";
import type { PeerId } from "./identity.ts";
import { Lifecycle, type LifecycleListener } from "./lifecycle.ts";
import type { NativeConnection } from "./native.ts";
import { NativeTimer } from "./native-timer.ts";
import { replenishIds } from "./own-ids.ts";
import { Paths } from "./paths.ts";
import { checkPeer, NO_CHECK, type PeerCheck } from "./peer-check.ts";
import { type LimitReason, limitClose, PeerLimits } from "./peer-limits.ts";
import { statsOf } from "./stats.ts";
import type { Path } from "./stranded.ts";
import type { QuicStream } from "./stream.ts";
import type { StreamEnding } from "./stream-ending.ts";
import { StreamTable } from "./stream-table.ts";
import { Tail } from "./tail.ts";
import type { QuicConnectionState, QuicEvent, QuicPathStats, QuicStats, SentPacket, VirtualAddress } from "./types.ts";

/** On top of two round trips, ms; they are known in whole milliseconds only. */
const SETTLE_MARGIN_MS = 10;
/** Handlers may cause work for handlers; after so many rounds in one call the driver gets its turn. */
const MAX_PUMPS = 4;
/** Events that wait to be polled; datagrams beyond it stay in the native queue. */
const MAX_EVENTS = 1024;

/**
 * One QUIC connection. Sans-IO towards the network; its timers run on the native library's own clock, `now` only says when.
 *
 * After `recv`, `handleTimeout` or `onWork`, call `pollEvent` until null (this is where stream handlers are called), `send` until null,
 * and `pollTimeout`.
 */
export class QuicConnection {
  readonly role: "client" | "server";
  /** For logs. */
  readonly id: string;
  readonly config: QuicConfig;
  /** Called when the application did something, so that the driver comes back; once until `send` returned null. */
  onWork: (() => void) | null = null;
  readonly #native: NativeConnection;
  readonly #owner: ConnectionOwner;
  readonly #log: Logger;
  /** Until the handshake is over. */
  #check: PeerCheck;
  readonly #streams: StreamTable;
  readonly #paths: Paths;
  readonly #limits: PeerLimits;
  readonly #datagrams: Datagrams;
  readonly #timer: NativeTimer;
  readonly #life: Lifecycle<QuicConnection>;
  readonly #tail: Tail;
  /** Null: not wanted, or the handshake is over, for a client when the server has been heard after it. */
  #repeats: HandshakeRepeats | null;
  #peerId: PeerId | null = null;
  #settledAt: number | null = null;
  #events: QuicEvent[] = [];
  #now: number;
  #pumpNeeded = false;
  #received = false;
  /** {@link send} returned null, and nothing has happened since after which there may be more. */
  #isSilent = false;
  #workTold = false;
  #receiveErrors = 0;
  #sendErrors = 0;

  /** One for all connections, of which there may be thousands. */
  static readonly #listener: LifecycleListener<QuicConnection> = {
    onEnding: (connection, error) => {
      connection.#repeats = null;
      connection.#streams.closedError = error;
      connection.#work();
    },
    onTold: (connection, close, error) => {
      connection.#streams.close(error);
      connection.#events.push({ type: "closed", ...close });
    },
    onClosed: (connection) => connection.#owner.closed(connection),
  };

  /** @internal Made by QuicEndpoint. */
  constructor(options: ConnectionOptions) {
    const { native, config, log } = options;
    this.#owner = options.owner;
    this.#log = log;
    this.#check = options.check;
    this.#native = native;
    this.config = config;
    this.role = config.role;
    this.id = options.id;
    this.#now = options.now;
    this.#timer = new NativeTimer(native);
    this.#tail = new Tail(native, config.waitsForAnswers);
    this.#repeats = config.repeatsHandshake ? new HandshakeRepeats(native, options.rttMs) : null;
    this.#datagrams = new Datagrams(native, config.maxDatagramSizeBytes);
    this.#limits = new PeerLimits(native, config, options.now);
    this.#paths = new Paths(native, config.role, { local: options.local, remote: options.remote }, options.now);
    const [onWork, onUnsent] = [() => this.#work(), () => this.#unsent()];
    this.#streams = new StreamTable({ native, config, log, onWork, onUnsent });
    const handshakeDeadline = options.now + config.handshakeTimeoutMs;
    this.#life = new Lifecycle<QuicConnection>(this, QuicConnection.#listener, { native, log, handshakeDeadline });
  }

  get state(): QuicConnectionState {
    return this.#life.state;
  }

  /** Null before `established`; from then on who the peer is. */
  get peerId(): PeerId | null {
    return this.#peerId;
  }

  /**
   * From when on, ms, a client may migrate at no cost; null before `established`. Two round trips after it: when the server has not yet seen
   * an acknowledgement, quiche 0.18 takes all it has sent for lost when the path changes, and the path that is left stays slow for good.
   */
  get settledAt(): number | null {
    return this.#settledAt;
  }

  /** Why it is over; null while it is not. */
  get closeReason(): CloseReason | null {
    return this.#life.closeReason;
  }

  /**
   * The round trip of the active path as it is known from elsewhere, ms; null when it is not. With it what was lost at the end of a flight
   * is missed after one and a half of them; without, after the native library's own timeouts.
   */
  set roundTripMs(rttMs: number | null) {
    this.#tail.rttMs = rttMs;
    this.#streams.roundTripMs = rttMs;
  }

  /** Application bytes written to all streams so far. */
  get sentBytes(): number {
    return this.#streams.sentBytes;
  }

  /** Application bytes read from all streams so far. */
  get receivedBytes(): number {
    return this.#streams.receivedBytes;
  }

  /** Open streams, either direction. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /**
   * Opens a bidirectional stream. The peer learns of it with its first byte or FIN.
   * @throws QuicError `stream-limit`, `not-established`, `closed`.
   */
  openStream(): QuicStream {
    this.#life.mustBeEstablished();
    return this.#streams.open();
  }

  /**
   * The next stream that is over in both directions and was finished or reset here; null when there is none. quiche 0.18 forgets such a stream once its
   * bytes are acknowledged, and with it a FIN or RESET_STREAM that was lost: the peer should be told by other means, for its {@link expectEnd}.
   */
  takeEnded(): StreamEnding | null {
    return this.#streams.takeEnded();
  }

  /** What the peer has of {@link takeEnded}: reading ends after as many bytes, or at once where it was reset, whether FIN or RESET_STREAM comes or not. */
  expectEnd(ending: StreamEnding): void {
    this.#streams.expectEnd(ending);
    this.#work();
  }

  /** The largest datagram that {@link sendDatagram} takes now, bytes; 0 when the peer takes none. */
  get maxDatagramBytes(): number {
    return this.#life.state === "established" ? this.#datagrams.maxBytes : 0;
  }

  /** No packet is longer, bytes; {@link QuicConfig.maxDatagramSizeBytes} unless {@link limitPackets} was called. */
  get maxPacketBytes(): number {
    return this.#datagrams.maxPacketBytes;
  }

  /** How long the packet may be that {@link send} writes next, bytes: {@link maxPacketBytes} mostly. Room of that length is not cut. */
  get nextPacketBytes(): number {
    return this.#datagrams.isWaiting ? this.maxPacketBytes : this.#paths.limit(this.#now, this.maxPacketBytes);
  }

  /** What the active path is known to carry, at least 1200 bytes. Datagrams (RFC 9221) that wait and do not fit any more are dropped. */
  limitPackets(bytes: number): void {
    this.#datagrams.limitPackets(bytes);
  }

  /**
   * Sends an unreliable datagram (RFC 9221). "full": the queue is, it was dropped.
   * @throws QuicError `not-established`, `closed`.
   */
  sendDatagram(data: Uint8Array): "queued" | "full" | "too-large" {
    this.#life.mustBeEstablished();
    const result = this.#datagrams.send(data);
    if (result === "queued") this.#work();
    return result;
  }

  /**
   * Asks whether a path works (PATH_CHALLENGE, RFC 9000 §8.2); a "path" event tells. A path that is new takes a connection ID for good,
   * so only ever use a few addresses. Probing the active path is refused: were the answers lost, the native library would pick another.
   * @throws QuicError `out-of-identifiers`, `invalid-state` (a server on a new path), `closed`, `not-established`.
   */
  probePath(local: VirtualAddress, remote: VirtualAddress): void {
    this.#life.mustBeEstablished();
    this.#paths.probe({ local, remote });
    this.#work();
  }

  /**
   * Sends everything over this path from now on (RFC 9000 §9); only a client may. A peer that hears nothing does not follow: call
   * {@link sendAckEliciting} behind it.
   * @throws QuicError `out-of-identifiers`, `invalid-state` (a server), `closed`, `not-established`.
   */
  migrate(local: VirtualAddress, remote: VirtualAddress): void {
    this.#life.mustBeEstablished();
    this.#paths.migrate(this.#now, { local, remote });
    this.#streams.mayWrite();
    this.#work();
  }

  /** Where packets go that are no probes. */
  get activePath(): Path {
    return this.#paths.active;
  }

  /**
   * Liveness checks on the active path go unanswered: should it be left, what was under way on it is taken for lost. `spare`: another one that answers,
   * which a server makes use of ahead of its client's move.
   */
  suspectPath(isSuspect: boolean, spare: Path | null): void {
    this.#paths.suspect(isSuspect, spare);
    if (spare) this.#isSilent = false;
  }

  /** Makes the next packet on the active path one that the peer must acknowledge (a PING if need be). False: it is over, or no path can be used. */
  sendAckEliciting(): boolean {
    if (this.#life.state !== "established") return false;
    try {
      this.#native.sendAckEliciting();
    } catch {
      return false;
    }
    this.#work();
    return true;
  }

  /** Whether both sides have validated this path. False for one that is unknown. */
  isPathValidated(local: VirtualAddress, remote: VirtualAddress): boolean {
    return this.#paths.isValidated({ local, remote });
  }

  /**
   * Ends the connection with an application code. What was written before is sent first as far as the congestion window lets it;
   * nothing waits for its acknowledgement. Does nothing when it is over already.
   */
  close(code: number, reason: string): void {
    checkCode(code);
    if (this.closeReason) return;
    this.#life.close(code, reason);
    this.#work();
  }

  stats(): QuicStats {
    return statsOf(this.#native, {
      streams: this.#streams.size,
      lingeringStreams: this.#streams.lingering,
      isEstablished: this.#life.state === "established",
      receiveErrors: this.#receiveErrors,
      sendErrors: this.#sendErrors,
    });
  }

  pathStats(): QuicPathStats[] {
    return this.#paths.stats();
  }

  /**
   * A datagram that {@link QuicEndpoint.route} led here. It is decrypted in place: its bytes are garbage afterwards. What makes no sense
   * is counted; it closes the connection only if it was authentic.
   */
  recv(now: number, data: Uint8Array, local: VirtualAddress, remote: VirtualAddress): void {
    this.#now = now;
    if (this.#life.state === "closed") return;
    const path = { local, remote };
    const over = this.#limits.beforeReceive(data.length, !this.#paths.isActive(path));
    if (over) return this.#abandon(over);
    this.#paths.beforeReceive(now, path);
    try {
      this.#native.recv(data, { from: remote, to: local });
    } catch (error) {
      this.#receiveErrors++;
      const level = this.#native.localError() ? "warn" : "debug"; // some of it ends the connection
      this.#log[level]("quic-receive-error", { connection: this.id, error: parseNativeError(error).name });
    }
    this.#paths.afterReceive(now, path);
    this.#tail.handleReceived(now, data.length);
    if (this.#repeats?.received(now) && this.#life.state === "established") this.#repeats = null;
    this.#received = true;
    this.#isSilent = false;
    this.#pumpNeeded = true;
    this.#timer.touched();
  }

  /** Writes the next packet into `out`, at least {@link nextPacketBytes} long, and says where it goes; null: there is none. Not called, nothing is lost. */
  send(out: Uint8Array): SentPacket | null {
    if (this.#life.state === "closed" || this.#isSilent) return null;
    this.#timer.touched();
    this.#workTold = false;
    const room = out.length > this.nextPacketBytes ? out.subarray(0, this.nextPacketBytes) : out;
    const first = this.#paths.sendFirst(this.#now, room) ?? this.#paths.sendSpare(room);
    const mayWait = !first && this.#life.state === "established" && !this.#streams.isUnsent;
    if (mayWait && this.#tail.waits(this.#now, this.receivedBytes)) return null;
    const packet = first ?? this.#sendNative(room);
    if (packet) return packet;
    if (this.#life.flushed()) {
      this.#pumpNeeded = true;
      return this.#sendNative(room);
    }
    this.#paths.passOver();
    this.#streams.flushed();
    this.#tail.handleFlushed(this.receivedBytes);
    const copy =
      this.#repeats?.take(room) ?? (this.state === "established" ? this.#tail.takeCopy(this.#now, room) : null);
    this.#isSilent = copy === null && !this.#paths.isFailed;
    return copy;
  }

  handleTimeout(now: number): void {
    this.#now = now;
    if (this.#life.state === "closed") return;
    this.#life.handleTimeout(now);
    this.#repeats?.handleTimeout(now);
    if (this.#life.state === "established" && this.#tail.isDue(now)) this.sendAckEliciting();
    this.#paths.handleTimeout(now);
    this.#streams.mayWrite();
    this.#timer.fired();
    this.#isSilent = false;
    this.#pumpNeeded = true;
  }

  pollTimeout(now: number): Deadline | null {
    this.#now = now;
    if (this.#life.state === "closed") return null;
    const tailAt = this.#life.state === "established" ? this.#tail.deadline : null;
    let next = deadlineAt(this.#timer.deadline(now), "quic");
    next = earliest(next, deadlineAt(this.#life.handshakeDeadline, "quic-handshake"));
    next = earliest(next, this.#repeats?.deadline ?? null);
    next = earliest(next, deadlineAt(tailAt, "quic-tail"));
    next = earliest(next, deadlineAt(this.#paths.deadline(now), "quic-left-path"));
    return earliest(next, deadlineAt(this.#streams.deadline, "quic-streams"));
  }

  pollEvent(): QuicEvent | null {
    for (let i = 0; i < MAX_PUMPS && this.#pumpNeeded && this.#events.length === 0; i++) this.#pump();
    const event = this.#events.shift();
    if (!event && this.#pumpNeeded) this.#work();
    return event ?? null;
  }

  #pump(): void {
    this.#pumpNeeded = false;
    this.#isSilent = false;
    const received = this.#received;
    this.#received = false;
    if (this.#life.state === "handshaking") this.#pumpHandshake();
    if (this.closeReason) this.#streams.pumpKicked();
    if (this.#life.state === "established") {
      this.#paths.pump(this.#now, (event) => this.#events.push(event));
      const limit = this.config.idsFor(this.#paths.count);
      this.#limits.idsRetired(replenishIds(this.#native, this, this.#owner, limit, this.#log));
      // Streams come before the end: what arrived in front of a CONNECTION_CLOSE is read.
      this.#streams.pump(this.#now, received, (stream) => this.#events.push({ type: "stream", stream }));
      this.#datagrams.receive(MAX_EVENTS - this.#events.length, (data) =>
        this.#events.push({ type: "datagram", data }),
      );
      const over = received ? this.#limits.check(this.#now, this.receivedBytes + this.#datagrams.receivedBytes) : null;
      if (over) this.#abandon(over);
    }
    this.#life.pump();
  }

  #pumpHandshake(): void {
    const native = this.#native;
    if (!native.isEstablished() || native.isDraining() || native.isClosed()) return;
    const peer = checkPeer(native, this.#check);
    this.#check = NO_CHECK;
    if (!("peerId" in peer)) return this.#life.refuse(peer.code, peer.reason);
    this.#peerId = peer.peerId;
    this.#life.established();
    if (this.role === "server") this.#repeats = null;
    this.#limits.established();
    this.#settledAt = this.#now + 2 * (native.pathStats()[0]?.rtt ?? 0) + SETTLE_MARGIN_MS;
    this.#owner.established(this);
    this.#events.push({ type: "established", peerId: peer.peerId, alpn: fromUtf8(native.applicationProto()) });
  }

  /** The peer has crossed a bound: nothing is sent any more, not even a CONNECTION_CLOSE. */
  #abandon(why: LimitReason): void {
    this.#log.warn("quic-peer-limit", { connection: this.id, peerId: this.#peerId, reason: why });
    this.#life.abandon(limitClose(why));
    this.#work();
  }

  #sendNative(out: Uint8Array): SentPacket | null {
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        const sent = this.#native.send(out);
        if (!sent) return this.#paths.sendStranded(this.#now, out);
        if (!this.#limits.maySend(out, sent[0])) continue;
        const packet = { length: sent[0], local: sent[1].from, remote: sent[1].to };
        this.#tail.handleSent(this.#now, out, packet);
        this.#paths.sent(this.#now, out, packet.length);
        this.#repeats?.sent(this.#now, out.subarray(0, packet.length), packet);
        return packet;
      } catch (error) {
        this.#sendErrors++;
        this.#pumpNeeded = true;
        const { name } = parseNativeError(error);
        this.#log.debug("quic-send-error", { connection: this.id, error: name });
        // No path can be used just now. One may become usable: the idle timer decides.
        if (name === "InvalidState" || name === "OutOfIdentifiers") return null;
        this.#life.fail();
      }
    }
    return null;
  }

  #work(): void {
    this.#pumpNeeded = true;
    this.#tail.endWait();
    this.#unsent();
  }

  /** There may be more to send, and nothing else. */
  #unsent(): void {
    this.#isSilent = false;
    this.#timer.touched();
    if (this.#workTold) return;
    this.#workTold = true;
    this.onWork?.();
  }
}
