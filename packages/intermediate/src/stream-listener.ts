/**
 * STUN and TURN over TCP and TLS (RFC 8489 §6.2.2, RFC 8656 §3.1), and the door to signaling over TLS, which may share a port with them. To the driver it is a socket like the UDP ones: it hands up
 * messages and takes messages, cuts and pads them; a message to a client that is gone, or does not read, is lost, as in UDP.
 *
 * What a client may cost before it has an allocation is bounded in number, bytes and time; with one, its allocation's life is the bound.
 */
import { createServer, type Server, type Socket } from "node:net";
import {
  createSecureContext,
  createServer as createTlsServer,
  type TLSSocket,
  type TlsOptions,
  Server as TlsServer,
} from "node:tls";
import { type Clock, Counters, type Millis, monotonicClock, SocketAddress } from "@adit/core";
import { frameForStream, MAX_STREAM_MESSAGE_BYTES, StreamDeframer } from "@adit/ice";
import { IDENTITY_SERVER_NAME, SIGNALING_ALPN, TURN_ALPN } from "@adit/signaling";
import {
  type Incoming,
  type Outgoing,
  UdpBindError,
  type UdpHandlers,
  type UdpSocket,
  type UdpStats,
} from "@adit/transport";
import { SourceCounts, sourceKey } from "./ip-limits.ts";

export interface StreamLimits {
  /**
   * Connections at one time; each costs a descriptor and some kilobytes. Past it a new one takes the place of the one without an allocation
   * that has been silent for longest: silence holds a place no longer than others need it.
   */
  readonly connections: number;
  /** The same from one IPv4 address or IPv6 /64; eight times as many from an IPv6 /48. */
  readonly connectionsPerIp: number;
  /** The TLS handshake and the first whole message have to be done by then. */
  readonly firstMessageMs: Millis;
  /** A message that has begun has to be complete by then. */
  readonly messageMs: Millis;
  /** Silence that a client without an allocation may keep. */
  readonly idleMs: Millis;
  /** The longest message of a client without an allocation. */
  readonly strangerMessageBytes: number;
  /** What waits for a client that reads slowly; past it messages to it are dropped. */
  readonly queuedBytes: number;
  /** The same for a client without an allocation, and for all while more than {@link queuedBytesInAll} waits. */
  readonly strangerQueuedBytes: number;
  readonly queuedBytesInAll: number;
}

const STREAM_LIMITS: StreamLimits = {
  connections: 8192,
  connectionsPerIp: 256,
  firstMessageMs: 10_000,
  messageMs: 10_000,
  idleMs: 30_000,
  strangerMessageBytes: 2048,
  queuedBytes: 262_144,
  strangerQueuedBytes: 16_384,
  queuedBytesInAll: 67_108_864,
};

/** Who takes the TLS clients that ask for signaling (by ALPN). */
export interface SignalingDoor {
  /** Shown to those who name {@link IDENTITY_SERVER_NAME}, in PEM. */
  readonly identity: { readonly cert: string; readonly key: string };
  /** The handshake is over; the socket is the taker's. */
  take(socket: TLSSocket, from: SocketAddress): void;
}

export type StreamClose =
  | "too-many-handshakes"
  | "too-many"
  | "too-many-from-address"
  | "not-stun"
  | "too-long"
  | "too-slow"
  | "idle"
  | "tls-error";

export interface StreamListenerOptions {
  readonly address: SocketAddress;
  /** TLS when given: certificate chain and key in PEM. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  /** Whether that address may have another TLS handshake, half a millisecond of CPU, with which it is charged then. */
  takeHandshake?: ((from: SocketAddress) => boolean) | undefined;
  /** Only with {@link tls}. */
  readonly signaling?: SignalingDoor | undefined;
  readonly limits?: Partial<StreamLimits>;
  readonly clock?: Clock;
  /** Whether the client has an allocation. */
  hasAllocation(from: SocketAddress): boolean;
  /** The connection is gone. */
  onClosed(from: SocketAddress): void;
}

interface Connection {
  readonly raw: Socket;
  readonly from: SocketAddress;
  readonly source: string;
  readonly deframer: StreamDeframer;
  readonly openedAt: Millis;
  /** Null until the stream can carry messages: at once over TCP, after the handshake over TLS. */
  stream: Socket | null;
  heard: boolean;
  lastMessageAt: Millis;
  pendingSince: Millis | null;
}

/** How often the clocks of the connections are looked at; they run late by as much. */
const SWEEP_MS = 1_000;

export class StreamListener implements UdpSocket {
  readonly address: SocketAddress;
  /** Connections that were ended from here, by reason. */
  readonly closes = new Counters<StreamClose>();
  readonly #server: Server;
  readonly #options: StreamListenerOptions;
  readonly #limits: StreamLimits;
  readonly #clock: Clock;
  readonly #connections = new Map<string, Connection>();
  /** Those that have no allocation, as far as known, in the order in which they came or last said something. */
  readonly #strangers = new Set<Connection>();
  readonly #perSource = new SourceCounts();
  readonly #sweep: ReturnType<typeof setInterval>;
  #handlers: UdpHandlers | null = null;
  /** More waits in all than may; looked at with each sweep. */
  #crowded = false;
  #received = 0;
  #sent = 0;
  #dropped = 0;

  private constructor(server: Server, address: SocketAddress, options: StreamListenerOptions) {
    this.#server = server;
    this.address = address;
    this.#options = options;
    this.#limits = { ...STREAM_LIMITS, ...options.limits };
    this.#clock = options.clock ?? monotonicClock;
    server.on("connection", (socket: Socket) => this.#accept(socket));
    server.on("secureConnection", (socket: TLSSocket) => this.#secured(socket));
    server.on("tlsClientError", (_error: Error, socket: Socket) => {
      this.closes.add("tls-error");
      socket.destroy();
    });
    this.#sweep = setInterval(() => this.#closeLate(), SWEEP_MS);
    this.#sweep.unref();
  }

  /** Listens. @throws UdpBindError when the address cannot be bound; Error when the certificate or key is no good. */
  static async listen(options: StreamListenerOptions): Promise<StreamListener> {
    const server: Server = options.tls
      ? createTlsServer(tlsOptions(options.tls, options.signaling))
      : createServer({ noDelay: true });
    const { ip, port } = options.address;
    await new Promise<void>((resolve, reject) => {
      const fail = (error: NodeJS.ErrnoException): void => reject(bindError(options.address, error));
      server.once("error", fail);
      try {
        server.listen({ host: ip, port, ipv6Only: true }, () => resolve());
      } catch (error) {
        fail(error as NodeJS.ErrnoException); // Bun throws what Node says in the event
      }
    });
    server.removeAllListeners("error");
    server.on("error", () => {}); // accept() may fail for want of descriptors; the next one may not
    const bound = server.address();
    if (bound === null || typeof bound === "string") throw new Error("a TCP server without an address");
    return new StreamListener(server, SocketAddress.of(ip, bound.port), options);
  }

  /** From now on messages go to the driver. What came before is lost: nothing can have. */
  attach(handlers: UdpHandlers): this {
    this.#handlers = handlers;
    return this;
  }

  /** Shows another certificate from now on, to clients that come without a name of ours; connections that stand stay. */
  setCertificate({ cert, key }: { readonly cert: string; readonly key: string }): void {
    if (this.#server instanceof TlsServer) this.#server.setSecureContext({ cert, key, minVersion: "TLSv1.2" });
  }

  get connections(): number {
    return this.#connections.size;
  }

  send(batch: readonly Outgoing[], from = 0): number {
    // Over TCP one write per client and batch: each is a system call. Over TLS a record for each message, because there are clients
    // (turnutils_uclient) that take what a record brings for one message and lose the others.
    const byClient = new Map<Connection, Uint8Array[]>();
    for (let i = from; i < batch.length; i++) {
      const { data, to } = batch[i] as Outgoing;
      const connection = this.#connections.get(to.key);
      if (!connection?.stream?.writable || this.#isFull(connection, connection.stream.writableLength)) {
        this.#dropped++;
        continue;
      }
      const messages = byClient.get(connection);
      if (messages) messages.push(data);
      else byClient.set(connection, [data]);
    }
    for (const [{ stream }, messages] of byClient) {
      if (this.#options.tls) for (const message of messages) stream?.write(frameForStream([message]));
      else stream?.write(frameForStream(messages));
      this.#sent += messages.length;
    }
    return batch.length;
  }

  /** Whether so many waiting bytes are as many as this client may have. */
  #isFull({ from }: Connection, waiting: number): boolean {
    const { queuedBytes, strangerQueuedBytes } = this.#limits;
    if (waiting <= strangerQueuedBytes) return false;
    return waiting > queuedBytes || this.#crowded || !this.#options.hasAllocation(from);
  }

  /** What waits for clients that read slowly. */
  get waitingBytes(): number {
    let sum = 0;
    for (const { stream } of this.#connections.values()) sum += stream?.writableLength ?? 0;
    return sum;
  }

  stats(): UdpStats {
    const sendErrors: Record<string, number> = this.#dropped > 0 ? { dropped: this.#dropped } : {};
    return { received: this.#received, sent: this.#sent, sendErrors, receiveErrors: {} };
  }

  close(): void {
    clearInterval(this.#sweep);
    this.#handlers = null;
    this.#server.close();
    for (const { raw, stream } of this.#connections.values()) {
      // What was written goes out; who does not read it is not waited for.
      stream?.end();
      const end = setTimeout(() => {
        stream?.destroy();
        raw.destroy();
      }, 500);
      end.unref();
    }
  }

  #accept(raw: Socket): void {
    const { remoteAddress: ip, remotePort: port } = raw;
    if (ip === undefined || port === undefined || this.#handlers === null) {
      raw.destroy();
      return;
    }
    raw.on("error", () => raw.destroy());
    const from = SocketAddress.of(ip.replace(/%.*$/, ""), port);
    const source = sourceKey(from.ip);
    if (!this.#perSource.hasRoom(source, this.#limits.connectionsPerIp))
      return this.#refuse(raw, "too-many-from-address");
    const { tls, takeHandshake } = this.#options;
    if (tls && takeHandshake?.(from) === false) return this.#refuse(raw, "too-many-handshakes");
    const isFull = this.#connections.size >= this.#limits.connections;
    if (isFull && !this.#giveUpSilent()) return this.#refuse(raw, "too-many");
    const now = this.#clock.now();
    const connection: Connection = {
      raw,
      from,
      source,
      deframer: new StreamDeframer(this.#limits.strangerMessageBytes),
      openedAt: now,
      stream: null,
      heard: false,
      lastMessageAt: now,
      pendingSince: null,
    };
    this.#connections.set(from.key, connection);
    this.#strangers.add(connection);
    this.#perSource.add(source, 1);
    raw.once("close", () => this.#forget(connection));
    if (!this.#options.tls) this.#converse(raw);
  }

  #secured(stream: TLSSocket): void {
    const { signaling } = this.#options;
    if (!signaling || stream.alpnProtocol !== SIGNALING_ALPN) return this.#converse(stream);
    const connection = this.#connectionOf(stream);
    if (!connection) {
      stream.destroy();
      return;
    }
    this.#forget(connection);
    stream.setNoDelay(true);
    signaling.take(stream, connection.from);
  }

  /** Null when there is none, or its stream is known already. */
  #connectionOf({ remoteAddress: ip, remotePort: port }: Socket): Connection | null {
    if (ip === undefined || port === undefined) return null;
    const connection = this.#connections.get(SocketAddress.of(ip.replace(/%.*$/, ""), port).key);
    return connection && !connection.stream ? connection : null;
  }

  #converse(stream: Socket): void {
    const connection = this.#connectionOf(stream);
    if (!connection) {
      stream.destroy();
      return;
    }
    connection.stream = stream;
    stream.setNoDelay(true);
    if (stream !== connection.raw) stream.on("error", () => stream.destroy());
    stream.on("data", (chunk: Uint8Array) => this.#receive(connection, chunk));
    stream.on("end", () => stream.end());
  }

  #receive(connection: Connection, chunk: Uint8Array): void {
    const { deframer, from } = connection;
    const batch: Incoming[] = [];
    deframer.push(chunk, (data) => batch.push({ data, from }));
    const now = this.#clock.now();
    if (batch.length > 0) {
      connection.heard = true;
      connection.lastMessageAt = now;
      connection.pendingSince = null;
      this.#received += batch.length;
      this.#handlers?.onBatch(batch);
    }
    if (deframer.fault) return this.#end(connection, deframer.fault);
    if (deframer.pending) connection.pendingSince ??= now;
    const isStranger = !this.#options.hasAllocation(from);
    if (batch.length > 0 || !isStranger) this.#strangers.delete(connection);
    if (isStranger && this.#connections.has(from.key)) this.#strangers.add(connection);
    deframer.maxMessageBytes = isStranger ? this.#limits.strangerMessageBytes : MAX_STREAM_MESSAGE_BYTES;
  }

  #closeLate(): void {
    const now = this.#clock.now();
    this.#crowded = this.waitingBytes > this.#limits.queuedBytesInAll;
    const { firstMessageMs, messageMs, idleMs } = this.#limits;
    for (const connection of [...this.#connections.values()]) {
      const { heard, openedAt, pendingSince, lastMessageAt, from } = connection;
      const slow = heard ? pendingSince !== null && now - pendingSince > messageMs : now - openedAt > firstMessageMs;
      if (slow) this.#end(connection, "too-slow");
      else if (heard && now - lastMessageAt > idleMs && !this.#options.hasAllocation(from))
        this.#end(connection, "idle");
    }
  }

  #refuse(raw: Socket, reason: StreamClose): void {
    this.closes.add(reason);
    raw.destroy();
  }

  /** Ends the one without an allocation that has been silent for longest; false when all have one. */
  #giveUpSilent(): boolean {
    for (const connection of this.#strangers) {
      this.#strangers.delete(connection);
      if (this.#options.hasAllocation(connection.from)) continue;
      this.#end(connection, "too-many");
      this.#forget(connection);
      return true;
    }
    return false;
  }

  #end(connection: Connection, reason: StreamClose): void {
    this.closes.add(reason);
    connection.stream?.destroy();
    connection.raw.destroy();
  }

  #forget(connection: Connection): void {
    const { from, source } = connection;
    if (this.#connections.get(from.key) !== connection) return;
    this.#connections.delete(from.key);
    this.#strangers.delete(connection);
    this.#perSource.add(source, -1);
    this.#options.onClosed(from);
  }
}

function tlsOptions(certificate: { readonly cert: string; readonly key: string }, door?: SignalingDoor): TlsOptions {
  const own = { ...certificate, minVersion: "TLSv1.2", handshakeTimeout: STREAM_LIMITS.firstMessageMs } as const;
  if (!door) return own;
  const identity = createSecureContext({ ...door.identity, minVersion: "TLSv1.2" });
  return {
    ...own,
    ALPNProtocols: [SIGNALING_ALPN, TURN_ALPN],
    SNICallback: (name, answer) => answer(null, name === IDENTITY_SERVER_NAME ? identity : undefined),
    // Who a client is, its key says: no authority vouches for it. TURN clients have none to show.
    requestCert: true,
    rejectUnauthorized: false,
  };
}

/** The same error as for the UDP port, so that the program treats it alike. */
function bindError(address: SocketAddress, error: NodeJS.ErrnoException): Error {
  switch (error.code) {
    case "EADDRINUSE": {
      const hint = "stop the program that holds it, or choose another port";
      return new UdpBindError("address-in-use", address, `TCP address ${address} is in use: ${hint}`, error);
    }
    case "EADDRNOTAVAIL":
      return new UdpBindError("address-not-available", address, `TCP address ${address} is not this host's`, error);
    case "EACCES":
      return new UdpBindError("permission-denied", address, `TCP address ${address}: not permitted`, error);
    default:
      return error;
  }
}
