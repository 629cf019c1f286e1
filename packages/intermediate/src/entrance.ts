/** Who comes in: clients over QUIC and over TLS until they are let in, turned away, or told to prove their address first. */
import type { TLSSocket } from "node:tls";
import type { Counters, Deadline, Logger, Millis, Random, SocketAddress, SocketId, Transmit } from "@adit/core";
import { type Identity, peerIdFromCertificate, type QuicConnection, type QuicEndpoint } from "@adit/quic";
import { type Carrier, TlsCarrier } from "@adit/transport/internal";
import type { FormerClient } from "./former-clients.ts";
import { type HandshakeDrop, HandshakeGate } from "./handshake-gate.ts";
import type { IpLimits } from "./ip-limits.ts";
import type { Limits } from "./limits.ts";
import { QuicCarrier } from "./quic-carrier.ts";
import { QuicFront } from "./quic-front.ts";
import type { ConnectionId } from "./session-table.ts";
import { SignalingClientConnection } from "./signaling-client.ts";
import type { BoundUdp } from "./stun-listeners.ts";

/** Clients that were turned away before they could say anything. */
export type EntranceDrop = HandshakeDrop | "bad-certificate";

export interface EntranceOptions {
  readonly identity: Identity;
  /** Those that clients talk to; at least one. */
  readonly sockets: readonly BoundUdp[];
  readonly limits: () => Limits;
  readonly ipLimits: IpLimits;
  readonly resetKey: Uint8Array | undefined;
  readonly random: Random;
  readonly log: Logger;
  readonly drops: Counters<EntranceDrop>;
  /** Somebody new, whose certificate is to be looked at when its carrier says that it is established. */
  readonly onClient: (client: SignalingClientConnection) => void;
  /** A packet was handed to the connection. */
  readonly onPacket: (connection: QuicConnection) => void;
  /** Something happened to the client's carrier. */
  readonly onWork: (client: SignalingClientConnection) => void;
  /** There are as many handshakes as may be: gives up the oldest, telling {@link Entrance.failed}; false when there is none. */
  readonly makeRoom: (now: Millis) => boolean;
}

export class Entrance {
  readonly #options: EntranceOptions;
  readonly #gate: HandshakeGate;
  readonly #front: QuicFront;
  #lastId: ConnectionId = 0;

  constructor(options: EntranceOptions) {
    const { identity, sockets, limits, ipLimits, resetKey, random, log, drops, onPacket, makeRoom } = options;
    this.#options = options;
    this.#gate = new HandshakeGate(limits, ipLimits, makeRoom);
    this.#front = new QuicFront({
      identity,
      sockets,
      gate: this.#gate,
      resetKey,
      random,
      log,
      onDrop: (reason) => drops.add(reason),
      onConnection: (now, connection, from, proved) => this.#handleConnection(now, connection, from, proved),
      onPacket,
    });
  }

  get quic(): QuicEndpoint {
    return this.#front.quic;
  }

  /** Retries and resets that found their queue full. */
  get looseDrops(): Counters<"loose-packets"> {
    return this.#front.loose.drops;
  }

  /** Handshakes under way. */
  get handshakeCount(): number {
    return this.#gate.handshakes;
  }

  /** Retry packets sent since start: clients that had to prove their address first. */
  get retriesSent(): number {
    return this.#front.loose.retriesSent;
  }

  /** Stateless resets sent since start: packets of connections that this process knows nothing of. */
  get resetsSent(): number {
    return this.#front.loose.resetsSent;
  }

  /** A packet of a client, to `socket` or, without one, to the first. */
  handleDatagram(now: Millis, from: SocketAddress, data: Uint8Array, socket?: SocketId): void {
    this.#front.handleDatagram(now, from, data, socket);
  }

  /** Whether TLS may be spoken with that address, which then pays for it: asked before it costs anything. */
  takeTlsHandshake(now: Millis, from: SocketAddress): boolean {
    return this.#gate.takeTls(now, from);
  }

  /** A client whose TLS handshake is over; null when it was turned away. */
  handleTls(socket: TLSSocket, from: SocketAddress): SignalingClientConnection | null {
    const { raw } = socket.getPeerCertificate();
    const peerId = raw ? peerIdFromCertificate(raw) : null;
    const verdict = peerId === null ? "bad-certificate" : this.#gate.decideTls(from);
    if (peerId === null || verdict !== "accept") {
      if (verdict !== "accept") this.#options.drops.add(verdict);
      socket.destroy();
      return null;
    }
    return this.#letIn(from, true, (onWork) => TlsCarrier.accepted(socket, from, peerId, onWork));
  }

  /** The certificate of the client is known: its handshake is over, and paid for. */
  established(now: Millis, client: SignalingClientConnection): void {
    this.#gate.established(client.origin);
    if (!client.isCharged) this.#gate.charge(now, client.origin);
    client.isCharged = true;
  }

  /** The client did not get to the end of its handshake. */
  failed(client: SignalingClientConnection): void {
    this.#gate.failed(client.origin);
  }

  /** Nothing is left of the client. */
  gone(client: SignalingClientConnection): void {
    this.#gate.gone(client.origin);
  }

  /** Nobody is let in any more. */
  close(): void {
    this.#gate.close();
  }

  /** By what that client can be told, after a crash, that it is over. Who speaks TLS hears it from TCP. */
  former({ carrier }: SignalingClientConnection, address: SocketAddress): FormerClient | null {
    return carrier instanceof QuicCarrier ? this.#front.former(carrier.quic, address) : null;
  }

  /** Clients of a former life of this program, which ended without a word: they are told, some hundreds a second. */
  tellFormer(now: Millis, clients: readonly FormerClient[]): void {
    this.#front.loose.tellFormer(now, clients);
  }

  handleTimeout(now: Millis): void {
    this.#front.handleTimeout(now);
  }

  pollTimeout(): Deadline | null {
    return this.#front.pollTimeout();
  }

  /** What is sent to nobody's connection. */
  pollTransmit(): Transmit | null {
    return this.#front.loose.pollTransmit();
  }

  /** The next packet of that connection. */
  transmit(connection: QuicConnection): Transmit | null {
    return this.#front.transmit(connection);
  }

  #handleConnection(now: Millis, quic: QuicConnection, from: SocketAddress, proved: boolean): void {
    this.#letIn(from, proved, (onWork) => new QuicCarrier(quic, from, onWork));
    if (proved) this.#gate.charge(now, from);
  }

  /** `isCharged`: the address has paid, or pays now. */
  #letIn(from: SocketAddress, isCharged: boolean, carry: (onWork: () => void) => Carrier): SignalingClientConnection {
    const carrier = carry(() => this.#options.onWork(client));
    const client = new SignalingClientConnection(++this.#lastId, carrier, from, isCharged);
    this.#options.onClient(client);
    this.#gate.accepted(from);
    return client;
  }
}
