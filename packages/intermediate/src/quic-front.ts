/** The intermediate's QUIC: whose packet it is, who may begin a handshake, and what is sent to nobody's connection. */
import {
  type Deadline,
  type Logger,
  type Millis,
  type Random,
  SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import { type Identity, QuicConfig, type QuicConnection, QuicEndpoint, type VirtualAddress } from "@adit/quic";
import { SIGNALING_ALPN } from "@adit/signaling";
import { PacketBuffers } from "@adit/transport/internal";
import type { FormerClient } from "./former-clients.ts";
import type { HandshakeDrop, HandshakeGate } from "./handshake-gate.ts";
import { LoosePackets } from "./loose-packets.ts";
import type { BoundUdp } from "./stun-listeners.ts";

/** What the gate lets in, and those that are on their way out. */
const MAX_CONNECTIONS = 20_000;

/** QUIC's own end for a connection that is silent. Signaling pings every 25 s at the latest and notices sooner. */
const IDLE_TIMEOUT_MS = 60_000;

const MAX_PACKET_BYTES = 1500;

export interface QuicFrontOptions {
  readonly identity: Identity;
  /** Those that clients talk to; at least one. A connection stays with the one that it began on. */
  readonly sockets: readonly BoundUdp[];
  readonly gate: HandshakeGate;
  /** 32 secret bytes that outlive the process: with them a restart is told to former clients (RFC 9000 §10.3). */
  readonly resetKey: Uint8Array | undefined;
  readonly random: Random;
  readonly log: Logger;
  /** A first packet was turned away. */
  readonly onDrop: (reason: HandshakeDrop) => void;
  /** A handshake begins; `proved`: its address is. */
  readonly onConnection: (now: Millis, connection: QuicConnection, from: SocketAddress, proved: boolean) => void;
  /** A packet was handed to the connection. */
  readonly onPacket: (connection: QuicConnection) => void;
}

/**
 * Anybody may be a client, and what quiche keeps of packets without a message is not bounded (docs/adr/0012). A client that says nothing
 * sends some 10 bytes a second; one whose address changed, 1,200 to be found again.
 */
const OVERHEAD_LIMIT = { bytes: 256 * 1024, bytesPerSecond: 1024 };

export class QuicFront {
  readonly quic: QuicEndpoint;
  readonly loose: LoosePackets;
  readonly #options: QuicFrontOptions;
  readonly #locals: ReadonlyMap<SocketId, VirtualAddress>;
  /** The other way round, by {@link keyOf}. */
  readonly #socketOf: ReadonlyMap<string, SocketId>;
  readonly #main: BoundUdp;
  readonly #buffers = new PacketBuffers(MAX_PACKET_BYTES);

  constructor(options: QuicFrontOptions) {
    const { identity, random, log, resetKey } = options;
    this.#options = options;
    const [main] = options.sockets;
    if (!main) throw new Error("signaling needs a socket");
    this.#main = main;
    const locals = options.sockets.map(
      ({ socket, address }) => [socket, { host: address.ip, port: address.port }] as const,
    );
    this.#locals = new Map(locals);
    this.#socketOf = new Map(locals.map(([socket, local]) => [keyOf(local), socket]));
    const server = QuicConfig.create({
      role: "server",
      identity,
      alpn: SIGNALING_ALPN,
      maxIdleTimeoutMs: IDLE_TIMEOUT_MS,
      maxPeerStreams: 2,
      maxStreamWindowBytes: 1 << 20,
      datagrams: false,
      // Thousands are idle: our IDs are for clients that move on purpose, which signaling does not.
      spareConnectionIds: 1,
      overheadLimit: OVERHEAD_LIMIT,
    });
    this.quic = new QuicEndpoint({
      random,
      server,
      maxConnections: MAX_CONNECTIONS,
      log,
      ...(resetKey && { resetKey }),
    });
    this.loose = new LoosePackets(this.quic, (to) => this.#socketTo(to));
  }

  handleDatagram(now: Millis, from: SocketAddress, data: Uint8Array, socket = this.#main.socket): void {
    const local = this.#locals.get(socket);
    if (!local) return;
    const { gate, onDrop, onConnection, onPacket } = this.#options;
    const route = this.quic.route(data);
    if (route.kind === "drop") {
      if (route.reason === "unknown-connection") this.loose.reset(now, from, data, socket);
      return;
    }
    const remote = { host: from.ip, port: from.port };
    if (route.kind === "connection") {
      route.connection.recv(now, data, local, remote);
      return onPacket(route.connection);
    }
    const proved = this.quic.hasProvedAddress(now, route.header, remote);
    const verdict = gate.decide(now, from, proved);
    if (verdict === "retry") return this.loose.retry(now, route.header, from, socket);
    if (verdict !== "accept") return onDrop(verdict);
    const connection = this.quic.accept(now, route.header, local, remote);
    if (!connection) return;
    onConnection(now, connection, from, proved);
    connection.recv(now, data, local, remote);
    onPacket(connection);
  }

  /** The next packet of that connection. Its bytes are used again, as a driver's component may. */
  transmit(connection: QuicConnection): Transmit | null {
    const packet = connection.send(this.#buffers.next(connection.nextPacketBytes));
    if (!packet) return null;
    const socket = this.#socketOf.get(keyOf(packet.local)) ?? this.#main.socket;
    return {
      data: this.#buffers.commit(packet.length),
      socket,
      to: SocketAddress.of(packet.remote.host, packet.remote.port),
    };
  }

  /** By what the client of that connection can be told, after a crash, that it is over. */
  former(connection: QuicConnection, address: SocketAddress): FormerClient | null {
    const connectionId = this.quic.firstIdOf(connection);
    return connectionId && { connectionId, address };
  }

  /** For who is not spoken with: the first socket of the family. */
  #socketTo(to: SocketAddress): SocketId {
    return (this.#options.sockets.find(({ address }) => address.family === to.family) ?? this.#main).socket;
  }

  handleTimeout(now: Millis): void {
    this.loose.handleTimeout(now);
  }

  pollTimeout(): Deadline | null {
    const { nextAt } = this.loose;
    return nextAt === null ? null : { at: nextAt, reason: "former clients" };
  }
}

const keyOf = ({ host, port }: VirtualAddress): string => `${host} ${port}`;
