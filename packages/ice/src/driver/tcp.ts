import { connect, createServer, type Server, type Socket } from "node:net";
import { type Logger, parseIp, SocketAddress } from "@adit/core";
import { TCP_ACTIVE_PORT } from "../candidate.ts";
import { isStun } from "../stun/message.ts";
import { IceConnectionError } from "./errors.ts";
import { FrameReader, frame, MAX_FRAME_BYTES } from "./frames.ts";
import type { Udp } from "./udp.ts";

/** Connections of one socket. Beyond it the oldest of strangers gives way to an accepted one, and none is made. */
export const MAX_TCP_CONNECTIONS = 64;
/** An accepted connection that shows no authentic check for so long is closed. */
const STRANGER_TIMEOUT_MS = 30_000;
/** What waits for a connection to take it; further datagrams are dropped, as a network drops. */
const MAX_QUEUED_BYTES = 262_144;
const CONNECT_TIMEOUT_MS = 10_000;
/** Checks are shorter; who has not shown an authentic one may send no more. */
const STRANGER_FRAME_BYTES = 1_500;

export interface TcpEvents {
  readonly onDatagram: (data: Uint8Array, from: SocketAddress) => void;
  /** A connection could not be made, or is gone, not by `drop` or `close`. */
  readonly onClosed: (remote: SocketAddress) => void;
  /** Whether an authentic check has come over it. */
  readonly isKnown: (remote: SocketAddress) => boolean;
}

/** TCP connections as paths for datagrams (RFC 6544), in the framing of RFC 4571: each is known by its remote address. */
export interface TcpSocket extends Udp {
  readonly tcpType: "active" | "passive";
  /** A connection is of no more use. */
  drop(remote: SocketAddress): void;
}

/** Makes a connection to each address that something is sent to. */
export function openActive(ip: string, events: TcpEvents, log: Logger): TcpSocket {
  const connections = new Connections(events, log);
  return {
    address: SocketAddress.of(ip, TCP_ACTIVE_PORT),
    tcpType: "active",
    send: (data, to, sent) => {
      if (!connections.has(to) && !connections.isFull) {
        connections.adopt(connect({ host: to.ip, port: to.port, localAddress: ip }), to, CONNECT_TIMEOUT_MS);
      }
      connections.send(data, to, sent);
    },
    drop: (remote) => connections.drop(remote),
    close: async () => connections.close(),
  };
}

/**
 * Accepts connections.
 * @throws IceConnectionError `bind-failed`.
 */
export async function listenPassive(ip: string, port: number, events: TcpEvents, log: Logger): Promise<TcpSocket> {
  const connections = new Connections(events, log);
  const server = createServer((socket) => connections.accept(socket));
  server.on("error", (error) => log.debug("ice-tcp-error", { message: error.message }));
  const address = await listen(server, ip, port);
  return {
    address,
    tcpType: "passive",
    send: (data, to, sent) => connections.send(data, to, sent),
    drop: (remote) => connections.drop(remote),
    close: () => {
      connections.close();
      return new Promise((closed) => server.close(() => closed()));
    },
  };
}

function listen(server: Server, ip: string, port: number): Promise<SocketAddress> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: Error): void => {
      reject(
        new IceConnectionError("bind-failed", `cannot listen on TCP ${ip} port ${port}: ${cause.message}`, { cause }),
      );
    };
    server.once("error", refuse);
    server.listen({ host: ip, port, ipv6Only: ip.includes(":") }, () => {
      server.off("error", refuse);
      const bound = server.address();
      resolve(SocketAddress.of(ip, typeof bound === "object" && bound ? bound.port : port));
    });
  });
}

interface Connection {
  readonly socket: Socket;
  readonly remote: SocketAddress;
  readonly accepted: boolean;
  readonly reader: FrameReader;
  /** Something has come over it. */
  hasSpoken: boolean;
  timer: ReturnType<typeof setTimeout> | null;
}

class Connections {
  readonly #events: TcpEvents;
  readonly #log: Logger;
  /** By remote address, the oldest first. At most {@link MAX_TCP_CONNECTIONS}. */
  readonly #all = new Map<string, Connection>();
  #closed = false;

  constructor(events: TcpEvents, log: Logger) {
    this.#events = events;
    this.#log = log;
  }

  get isFull(): boolean {
    return this.#closed || this.#all.size >= MAX_TCP_CONNECTIONS;
  }

  has(remote: SocketAddress): boolean {
    return this.#all.has(remote.key);
  }

  accept(socket: Socket): void {
    const { remoteAddress, remotePort } = socket;
    const ip = remoteAddress?.replace(/%.*$/, "") ?? "";
    if (this.isFull) this.#evictStranger();
    if (this.isFull || !parseIp(ip) || remotePort === undefined) {
      socket.on("error", () => {});
      socket.destroy();
      return;
    }
    const remote = SocketAddress.of(ip, remotePort);
    this.adopt(socket, remote, null);
  }

  /** @param connectTimeoutMs Null: it is accepted, and is a stranger's until an authentic check came over it. */
  adopt(socket: Socket, remote: SocketAddress, connectTimeoutMs: number | null): void {
    const accepted = connectTimeoutMs === null;
    const reader = new FrameReader(accepted ? STRANGER_FRAME_BYTES : MAX_FRAME_BYTES);
    const connection: Connection = { socket, remote, accepted, reader, hasSpoken: false, timer: null };
    this.#all.set(remote.key, connection);
    connection.timer = accepted
      ? setTimeout(() => this.#isStranger(connection) && this.#end(connection, "a stranger"), STRANGER_TIMEOUT_MS)
      : setTimeout(() => this.#end(connection, "no answer"), connectTimeoutMs);
    socket.setNoDelay(true);
    socket.on("connect", () => {
      if (connection.timer) clearTimeout(connection.timer);
    });
    socket.on("data", (chunk: Uint8Array) => this.#receive(connection, chunk));
    socket.on("error", (error: Error) => this.#end(connection, error.message));
    socket.on("close", () => this.#end(connection, "closed"));
    socket.on("end", () => this.#end(connection, "ended"));
  }

  send(data: Uint8Array, to: SocketAddress, sent?: () => void): void {
    const connection = this.#all.get(to.key);
    const fits = data.length <= MAX_FRAME_BYTES && (connection?.socket.writableLength ?? 0) <= MAX_QUEUED_BYTES;
    if (!connection?.socket.writable || !fits) return sent?.();
    connection.socket.write(frame(data), () => sent?.());
  }

  drop(remote: SocketAddress): void {
    const connection = this.#all.get(remote.key);
    if (connection) this.#forget(connection);
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#all.values()) this.#forget(connection);
  }

  #receive(connection: Connection, chunk: Uint8Array): void {
    const { reader, remote } = connection;
    reader.push(chunk, (packet) => {
      if (this.#all.get(remote.key) !== connection) return;
      // RFC 6544 §7.1: "the remote candidate address apparently was not one of the peer's addresses, and the agent SHOULD close the
      // connection".
      if (!connection.hasSpoken && !isStun(packet)) return this.#end(connection, "no check came first");
      connection.hasSpoken = true;
      if (connection.accepted && reader.maxBytes < MAX_FRAME_BYTES) {
        if (!isStun(packet)) return this.#end(connection, "no check came first");
        this.#events.onDatagram(packet, remote);
        if (this.#events.isKnown(remote)) reader.maxBytes = MAX_FRAME_BYTES;
        return;
      }
      this.#events.onDatagram(packet, remote);
    });
    if (reader.fault) this.#end(connection, "a frame is too long");
  }

  #isStranger({ accepted, remote }: Connection): boolean {
    return accepted && !this.#events.isKnown(remote);
  }

  #evictStranger(): void {
    for (const connection of this.#all.values()) {
      if (this.#isStranger(connection)) return this.#forget(connection);
    }
  }

  /** It ended by itself, or deserved to. */
  #end(connection: Connection, reason: string): void {
    if (this.#all.get(connection.remote.key) !== connection) return;
    this.#log.debug("ice-tcp-closed", { remote: connection.remote.key, reason });
    this.#forget(connection);
    this.#events.onClosed(connection.remote);
  }

  #forget(connection: Connection): void {
    if (connection.timer) clearTimeout(connection.timer);
    this.#all.delete(connection.remote.key);
    connection.socket.on("error", () => {});
    connection.socket.destroy();
  }
}
