import {
  type Deadline,
  earliest,
  type Logger,
  type Millis,
  type Random,
  SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import type { PeerId, QuicConfig, QuicConnection, QuicEndpoint, QuicStream } from "@adit/quic";
import {
  type ClientMessage,
  type Role,
  SignalingClient,
  type SignalingClientEvent,
  type SignalingCommand,
} from "@adit/signaling";
import { PacketBuffers } from "./packet-buffers.ts";

const PACKET_BYTES = 1500;
const READ_BYTES = 16 * 1024;
/** Close code when this side ends the signaling connection. */
const DONE = 0;

export interface SignalingLinkOptions {
  readonly role: Role;
  readonly name?: string;
  readonly host: string;
  readonly port: number;
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
  readonly connection: QuicConnection;
  readonly socket: SocketId;
  readonly remote: SocketAddress;
  readonly local: { readonly host: string; readonly port: number };
  stream: QuicStream | null;
  pending: Uint8Array | null;
}

/** The connection to the intermediate: QUIC under the signaling client, from name resolution to bytes. */
export class SignalingLink {
  readonly client: SignalingClient;
  readonly #options: SignalingLinkOptions;
  readonly #buffers = new PacketBuffers(PACKET_BYTES);
  readonly #readBuffer = new Uint8Array(READ_BYTES);
  #line: Line | null = null;
  /** A line that said goodbye and has its last packets to send. */
  #leaving: { readonly line: Line; readonly reason: string } | null = null;
  #addresses: readonly string[] = [];
  #nextAddress = 0;
  #attempt = 0;

  constructor(options: SignalingLinkOptions) {
    this.#options = options;
    const { role, name, random, log } = options;
    this.client = new SignalingClient({ role, random, log, ...(name === undefined ? {} : { name }) });
  }

  /** Where the connection goes, or is being tried; null before the name was resolved. */
  get remote(): SocketAddress | null {
    return this.#line?.remote ?? null;
  }

  get connection(): QuicConnection | null {
    return this.#line?.connection ?? null;
  }

  owns(connection: QuicConnection): boolean {
    return this.#line?.connection === connection || this.#leaving?.line.connection === connection;
  }

  send(now: Millis, message: ClientMessage): boolean {
    const sent = this.client.send(now, message);
    this.#options.wake();
    return sent;
  }

  handleDatagram(now: Millis, connection: QuicConnection, from: SocketAddress, data: Uint8Array): void {
    const line = this.#line?.connection === connection ? this.#line : this.#leaving?.line;
    if (line) connection.recv(now, data, line.local, { host: from.ip, port: from.port });
  }

  /**
   * A packet for no connection of ours: perhaps the stateless reset (RFC 9000 §10.3) of an intermediate that was started anew. Its
   * connection ID is noise; only the connection can tell by the token at its end.
   */
  handleStray(now: Millis, from: SocketAddress, data: Uint8Array): void {
    const line = this.#line;
    line?.connection.recv(now, data, line.local, { host: from.ip, port: from.port });
  }

  handleTimeout(now: Millis): void {
    this.client.handleTimeout(now);
    for (const line of this.#lines()) {
      const due = line.connection.pollTimeout(now);
      if (due && due.at <= now) line.connection.handleTimeout(now);
    }
  }

  pollTimeout(now: Millis): Deadline | null {
    let next = this.client.pollTimeout();
    for (const line of this.#lines()) next = earliest(next, line.connection.pollTimeout(now));
    return next;
  }

  pollTransmit(): Transmit | null {
    for (const line of this.#lines()) {
      const packet = this.#packet(line);
      if (packet) return packet;
    }
    if (this.#leaving?.line.connection.state !== "established") return null;
    this.#leaving.line.connection.close(DONE, this.#leaving.reason);
    return this.#packet(this.#leaving.line);
  }

  #packet({ connection, socket, remote }: Line): Transmit | null {
    const sent = connection.send(this.#buffers.next());
    return sent && { data: this.#buffers.commit(sent.length), socket, to: remote };
  }

  pump(now: Millis): void {
    this.#pumpConnection(now);
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

  #lines(): Line[] {
    return [this.#line, this.#leaving?.line ?? null].filter((line) => line !== null);
  }

  // ---- the client's commands

  #obey(command: SignalingCommand): void {
    if (command.type === "connect") return this.#connect();
    this.#attempt++;
    this.#write();
    this.#hangUp(command.reason);
  }

  /** Names are resolved anew each time; their addresses are tried one after the other. */
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

  #dial(now: Millis): void {
    const { port, quic, config, socketFor } = this.#options;
    for (let tried = 0; tried < this.#addresses.length; tried++) {
      const ip = this.#addresses[this.#nextAddress++ % this.#addresses.length] as string;
      const remote = SocketAddress.of(ip, port);
      const socket = socketFor(remote.family);
      if (!socket) continue;
      const local = { host: socket.address.ip, port: socket.address.port };
      try {
        const connection = quic.connect(now, { config, local, remote: { host: remote.ip, port } });
        connection.onWork = this.#options.wake;
        this.#line = { connection, socket: socket.id, remote, local, stream: null, pending: null };
        return;
      } catch (error) {
        this.client.handleDisconnected(now, (error as Error).message);
        return;
      }
    }
    this.client.handleDisconnected(
      now,
      `no address of ${this.#options.host} can be reached from this machine's sockets`,
    );
  }

  /** What was written last leaves before the close: a Goodbye, an Error. */
  #hangUp(reason: string): void {
    if (!this.#line) return;
    this.#leaving?.line.connection.close(DONE, reason);
    this.#leaving = { line: this.#line, reason };
    this.#line = null;
  }

  // ---- QUIC

  #pumpConnection(now: Millis): void {
    if (this.#leaving) {
      const { connection } = this.#leaving.line;
      while (connection.pollEvent());
      if (connection.state === "handshaking") connection.close(DONE, this.#leaving.reason);
      if (connection.state === "closed") this.#leaving = null;
    }
    const line = this.#line;
    if (!line) return;
    for (let event = line.connection.pollEvent(); event; event = line.connection.pollEvent()) {
      if (event.type === "established") this.#handleEstablished(now, line, event.peerId);
      if (event.type === "closed") {
        this.#read(now, line);
        this.#line = null;
        this.client.handleDisconnected(now, event.reason || `the connection was closed by ${event.by}`);
        return;
      }
    }
    this.#read(now, line);
  }

  #handleEstablished(now: Millis, line: Line, peerId: PeerId): void {
    const { host, port, checkIntermediate, onRefused } = this.#options;
    const refusal = checkIntermediate(peerId, host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);
    if (refusal !== null) {
      this.client.stop(now, "refused");
      this.#hangUp("this is not the intermediate that was expected");
      return onRefused(refusal);
    }
    line.stream = line.connection.openStream();
    this.client.handleConnected(now);
    line.stream.onReadable = this.#options.wake;
    line.stream.onWritable = this.#options.wake;
  }

  #read(now: Millis, line: Line): void {
    if (!line.stream) return;
    try {
      for (;;) {
        const read = line.stream.read(this.#readBuffer);
        if (read === "blocked") return;
        if (read === "end") break;
        this.client.handleData(now, this.#readBuffer.subarray(0, read));
      }
    } catch {
      // Reset or closed: the connection's own event says why.
    }
  }

  #write(): void {
    const line = this.#line;
    if (!line?.stream) return;
    try {
      for (;;) {
        line.pending ??= this.client.pollBytes();
        if (!line.pending) return;
        const taken = line.stream.write(line.pending);
        line.pending = taken < line.pending.length ? line.pending.subarray(taken) : null;
        if (line.pending) return;
      }
    } catch {
      // As in #read.
    }
  }
}
