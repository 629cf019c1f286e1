import {
  Backoff,
  type Deadline,
  earliest,
  formatHostPort,
  type Logger,
  type Millis,
  type Random,
  SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import type { Identity, PeerId, QuicConfig, QuicConnection, QuicEndpoint } from "@adit/quic";
import {
  type ClientMessage,
  type Role,
  SignalingClient,
  type SignalingClientEvent,
  type SignalingCommand,
} from "@adit/signaling";
import type { Carrier } from "../carrier/carrier.ts";
import { QuicCarrier } from "../carrier/quic-carrier.ts";
import { type AddressedWay, CarrierRace, type Way, waysOver, waysTo } from "../carrier/race.ts";
import { TlsCarrier } from "../carrier/tls-carrier.ts";
import { isWildcard } from "./own-candidates.ts";

const READ_BYTES = 16 * 1024;
/** Close code when this side ends a connection. */
const DONE = 0;
/** Over TLS, QUIC is tried again: UDP may be back, or it was lost packets that made TLS win. Then with growing intervals. */
const QUIC_AGAIN = { initialMs: 1_000, maxMs: 30_000, jitter: 0.2 };
/** That long it may take, ms. */
const QUIC_AGAIN_TIMEOUT_MS = 3_000;
/** Connections that said goodbye and have their last packets to send; past it the oldest is forgotten. */
const MAX_LEAVING = 16;
/** So many addresses of one name are tried at a time; more, in turn. */
const MAX_RACING = 4;

export interface SignalingLinkOptions {
  readonly role: Role;
  readonly name?: string;
  readonly host: string;
  readonly port: number;
  readonly identity: Identity;
  readonly quic: QuicEndpoint;
  readonly config: QuicConfig;
  readonly random: Random;
  readonly log: Logger;
  /** All IP addresses of a host name. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /** The socket for an address of that family, and its own address; null when there is none. */
  readonly socketFor: (family: 4 | 6) => { readonly id: SocketId; readonly address: SocketAddress } | null;
  /** Null when that key may be the intermediate's, else why not. */
  readonly checkIntermediate: (peerId: PeerId, address: string) => string | null;
  readonly onEvent: (now: Millis, event: SignalingClientEvent) => void;
  /** The intermediate's key is not the expected one: no more attempts. */
  readonly onRefused: (reason: string) => void;
  readonly now: () => Millis;
  readonly wake: () => void;
}

interface Line {
  readonly way: Way;
  readonly carrier: Carrier;
  pending: Uint8Array | null;
}

/** Another try at QUIC while TLS carries. */
interface Again {
  readonly carrier: QuicCarrier;
  readonly giveUpAt: Millis;
}

/**
 * The connection to the intermediate, under the signaling client, from name resolution to bytes. QUIC and TLS race for it; over TLS it
 * looks for a way back to QUIC.
 */
export class SignalingLink {
  readonly client: SignalingClient;
  readonly #options: SignalingLinkOptions;
  readonly #readBuffer = new Uint8Array(READ_BYTES);
  /** Where it listens for QUIC: at the address that answered last, or is tried first. */
  #remote: SocketAddress | null = null;
  #race: CarrierRace<AddressedWay> | null = null;
  #line: Line | null = null;
  /** What worked last. */
  #lastWay: Way | null = null;
  #again: Again | null = null;
  #againAt: Millis | null = null;
  readonly #againBackoff = new Backoff(QUIC_AGAIN);
  #leaving: Carrier[] = [];
  #addresses: readonly string[] = [];
  #nextOther = 0;
  #attempt = 0;

  constructor(options: SignalingLinkOptions) {
    this.#options = options;
    const { role, name, random, log } = options;
    this.client = new SignalingClient({ role, random, log, ...(name === undefined ? {} : { name }) });
  }

  /** Where the intermediate's QUIC is, or is being tried; null before the name was resolved. */
  get remote(): SocketAddress | null {
    return this.#remote;
  }

  /** Whether its QUIC packets may come from there. */
  isAt(from: SocketAddress): boolean {
    if (this.#remote?.equals(from)) return true;
    return this.#race?.carriers.some(({ kind, remote }) => kind === "quic" && remote.equals(from)) ?? false;
  }

  /** What carries signaling now; null when nothing does. */
  get carrier(): Carrier | null {
    return this.#line?.carrier ?? null;
  }

  /** What was said over TLS has arrived: a process that ends before its socket does takes back what is under way. */
  get isSilent(): boolean {
    return !this.#leaving.some((carrier) => carrier.kind === "tls" && !carrier.isGone);
  }

  /** The QUIC connection that the packet for `connection` belongs to is ours. */
  owns(connection: QuicConnection): boolean {
    return this.#quicCarriers().some((carrier) => carrier.connection === connection);
  }

  send(now: Millis, message: ClientMessage): boolean {
    const sent = this.client.send(now, message);
    this.#options.wake();
    return sent;
  }

  handleDatagram(now: Millis, connection: QuicConnection, data: Uint8Array): void {
    for (const carrier of this.#quicCarriers()) {
      if (carrier.connection !== connection || !carrier.handleDatagram(now, data)) continue;
      if (carrier === this.#line?.carrier) this.client.handleHeard(now);
    }
  }

  /** A packet for no connection of ours: perhaps the stateless reset of an intermediate that was started anew. */
  handleStray(now: Millis, data: Uint8Array): void {
    const carrier = this.#line?.carrier;
    if (carrier instanceof QuicCarrier) carrier.handleDatagram(now, data);
  }

  /** Is the intermediate still there? A packet leaves in any case: a question that is out already may have left into a network that is gone. */
  probe(now: Millis): void {
    this.client.probe(now);
    const carrier = this.#line?.carrier;
    if (carrier instanceof QuicCarrier) carrier.connection.sendAckEliciting();
  }

  handleTimeout(now: Millis): void {
    this.client.handleTimeout(now);
    this.#race?.handleTimeout(now);
    for (const carrier of this.#carriers()) carrier.handleTimeout(now);
    if (this.#againAt !== null && now >= this.#againAt) this.#tryQuicAgain(now);
    if (this.#again && now >= this.#again.giveUpAt) this.#endTrial(now, "UDP is blocked still");
  }

  pollTimeout(now: Millis): Deadline | null {
    let next = earliest(this.client.pollTimeout(), this.#race?.pollTimeout() ?? null);
    for (const carrier of this.#carriers()) next = earliest(next, carrier.pollTimeout(now));
    if (this.#againAt !== null) next = earliest(next, { at: this.#againAt, reason: "QUIC again" });
    return this.#again ? earliest(next, { at: this.#again.giveUpAt, reason: "QUIC again" }) : next;
  }

  pollTransmit(): Transmit | null {
    for (const carrier of this.#quicCarriers()) {
      const packet = carrier.pollTransmit();
      if (packet) return packet;
    }
    return null;
  }

  pump(now: Millis): void {
    this.#pumpLeaving();
    this.#pumpRace(now);
    this.#pumpLine(now);
    this.#pumpTrial(now);
    for (let command = this.client.pollCommand(); command; command = this.client.pollCommand()) {
      this.#obey(command);
    }
    this.#write();
    for (let event = this.client.pollEvent(); event; event = this.client.pollEvent()) {
      this.#options.onEvent(now, event);
    }
  }

  stop(now: Millis, reason: string): void {
    this.client.stop(now, reason);
    this.pump(now);
  }

  #carriers(): Carrier[] {
    const carriers = [...(this.#race?.carriers ?? []), ...this.#leaving];
    if (this.#line) carriers.push(this.#line.carrier);
    if (this.#again) carriers.push(this.#again.carrier);
    return carriers;
  }

  #quicCarriers(): QuicCarrier[] {
    return this.#carriers().filter((carrier) => carrier instanceof QuicCarrier);
  }

  // ---- the client's commands

  #obey(command: SignalingCommand): void {
    if (command.type === "connect") return this.#connect();
    this.#attempt++;
    this.#write();
    this.#hangUp(command.reason);
  }

  /** Names are resolved anew each time. */
  #connect(): void {
    const attempt = ++this.#attempt;
    const { host, resolve, wake, log } = this.#options;
    resolve(host)
      .then((addresses) => {
        if (attempt !== this.#attempt) return;
        this.#addresses = addresses;
        this.#dial(this.#options.now());
      })
      .catch((error: Error) => {
        if (attempt !== this.#attempt) return;
        log.debug("resolve-failed", { host, error: error.message });
        this.client.handleDisconnected(this.#options.now(), `the name ${host} could not be resolved: ${error.message}`);
      })
      .finally(wake);
  }

  /** All addresses race, the one that answered last first; of very many the next ones at the next attempt. */
  #dial(now: Millis): void {
    const { host, port, socketFor } = this.#options;
    const usable = this.#addresses.filter((ip) => socketFor(SocketAddress.of(ip, port).family));
    const last = this.#remote?.ip;
    const others = usable.filter((ip) => ip !== last);
    if (usable.length > MAX_RACING) this.#nextOther += MAX_RACING - 1;
    const begin = this.#nextOther % Math.max(1, others.length);
    const ips = [...usable.filter((ip) => ip === last), ...others.slice(begin), ...others.slice(0, begin)];
    const [first] = ips;
    if (first === undefined) {
      return this.client.handleDisconnected(now, `no address of ${host} can be reached from this machine's sockets`);
    }
    this.#remote = SocketAddress.of(first, port);
    const ways = waysOver(ips.slice(0, MAX_RACING), waysTo(port, this.#lastWay));
    this.#race = new CarrierRace(now, ways, (way) => this.#open(now, way, SocketAddress.of(way.ip, port)));
  }

  /** @throws Error when it cannot even be tried. */
  #open(now: Millis, way: Way, remote: SocketAddress): Carrier {
    const { quic, config, identity, socketFor, wake } = this.#options;
    const socket = socketFor(remote.family);
    if (!socket) throw new Error(`there is no socket for ${remote}`);
    if (way.kind === "quic") return new QuicCarrier(now, { quic, config, remote, socket, wake });
    const localIp = isWildcard(socket.address) ? null : socket.address.ip;
    return TlsCarrier.dial({ remote: remote.withPort(way.port), localIp, identity, wake });
  }

  /** What was written last leaves before the close: a Goodbye, an Error. */
  #hangUp(reason: string): void {
    for (const carrier of this.#race?.carriers ?? []) this.#leave(carrier, reason);
    this.#race = null;
    if (this.#line) this.#leave(this.#line.carrier, reason);
    this.#line = null;
    this.#forgetTrial(reason);
  }

  #leave(carrier: Carrier, reason: string): void {
    carrier.finish(reason);
    this.#leaving.push(carrier);
    if (this.#leaving.length > MAX_LEAVING) this.#leaving.shift()?.abort(DONE, reason);
  }

  // ---- carriers

  #pumpLeaving(): void {
    if (this.#leaving.length === 0) return;
    for (const carrier of this.#leaving) while (carrier.pollEvent());
    this.#leaving = this.#leaving.filter((carrier) => !carrier.isGone);
  }

  #pumpRace(now: Millis): void {
    const result = this.#race?.poll(now);
    if (!result) return;
    for (const carrier of this.#race?.carriers ?? []) this.#leave(carrier, "another way was quicker");
    this.#race = null;
    if (result.type === "lost") return this.client.handleDisconnected(now, result.reason);
    const { ip, ...way } = result.way;
    this.#remote = SocketAddress.of(ip, this.#options.port);
    this.#use(now, way, result.carrier, result.peerId);
  }

  /** Signaling is spoken over that carrier from now on, from Hello on. */
  #use(now: Millis, way: Way, carrier: Carrier, peerId: PeerId): void {
    const { host, port, checkIntermediate, onRefused, log } = this.#options;
    const former = this.#line?.carrier;
    this.#line = { way, carrier, pending: null };
    this.#lastWay = way;
    if (former) this.#leave(former, "a better way was found");
    const refusal = checkIntermediate(peerId, formatHostPort(host, port));
    if (refusal !== null && way.kind === "tls" && way.port !== port) {
      // Nobody named that port: what else stands there is no reason to give up.
      this.#lastWay = null;
      this.#hangUp("another intermediate was expected");
      return this.client.handleDisconnected(now, `on port ${way.port} ${refusal}`);
    }
    if (refusal !== null) {
      this.client.stop(now, "refused");
      this.#hangUp("this is not the intermediate that was expected");
      return onRefused(refusal);
    }
    log.debug("signaling-carrier", { kind: way.kind, remote: carrier.remote });
    this.#againAt = way.kind === "tls" ? now + this.#againBackoff.next(this.#options.random.float()) : null;
    this.client.handleConnected(now, carrier instanceof QuicCarrier ? carrier.rttMs : null);
  }

  #pumpLine(now: Millis): void {
    const line = this.#line;
    if (!line) return;
    for (let event = line.carrier.pollEvent(); event; event = line.carrier.pollEvent()) {
      if (event.type !== "closed") continue;
      this.#read(now, line.carrier);
      this.#line = null;
      this.#forgetTrial(event.reason);
      return this.client.handleDisconnected(now, event.reason);
    }
    this.#read(now, line.carrier);
  }

  #read(now: Millis, carrier: Carrier): void {
    try {
      for (;;) {
        const read = carrier.read(this.#readBuffer);
        if (typeof read !== "number") return;
        this.client.handleData(now, this.#readBuffer.subarray(0, read));
      }
    } catch {
      // Reset or closed: the carrier's own event says why.
    }
  }

  #write(): void {
    const line = this.#line;
    if (!line) return;
    try {
      for (;;) {
        line.pending ??= this.client.pollBytes();
        if (!line.pending) return;
        const taken = line.carrier.write(line.pending);
        line.pending = taken < line.pending.length ? line.pending.subarray(taken) : null;
        if (line.pending) return;
      }
    } catch {
      // As in #read.
    }
  }

  // ---- back to QUIC

  #tryQuicAgain(now: Millis): void {
    this.#againAt = null;
    const { quic, config, socketFor, wake } = this.#options;
    const remote = this.#remote;
    const socket = remote && socketFor(remote.family);
    if (!remote || !socket || this.#line?.carrier.kind !== "tls") return;
    try {
      const carrier = new QuicCarrier(now, { quic, config, remote, socket, wake });
      this.#again = { carrier, giveUpAt: now + QUIC_AGAIN_TIMEOUT_MS };
    } catch {
      this.#againAt = now + this.#againBackoff.next(this.#options.random.float());
    }
  }

  #pumpTrial(now: Millis): void {
    const carrier = this.#again?.carrier;
    if (!carrier) return;
    for (let event = carrier.pollEvent(); event; event = carrier.pollEvent()) {
      if (event.type === "closed") return this.#endTrial(now, event.reason);
      // Not in the middle of a greeting: the one that is under way tells sooner.
      if (event.type !== "established" || !this.client.isUp) continue;
      this.#again = null;
      return this.#use(now, { kind: "quic" }, carrier, event.peerId);
    }
  }

  #endTrial(now: Millis, reason: string): void {
    this.#forgetTrial(reason);
    this.#againAt = now + this.#againBackoff.next(this.#options.random.float());
  }

  #forgetTrial(reason: string): void {
    if (this.#again) this.#leave(this.#again.carrier, reason);
    this.#again = null;
    this.#againAt = null;
  }
}
