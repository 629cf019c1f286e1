import { type Logger, parseIp, parseSocketAddress, type SocketAddress, type SocketId } from "@adit/core";
import { connectStunStream, type StunStream, type StunStreamOptions } from "../turn/stun-stream.ts";
import { MAX_SOCKETS } from "./host-addresses.ts";
import { listenPassive, openActive, type TcpSocket } from "./tcp.ts";
import { bindUdp, type Udp } from "./udp.ts";

/** What the sockets tell: each by its ID. */
export interface LocalSocketsOptions {
  /** ICE-TCP beside UDP: one socket that connects and one that listens for each address. */
  readonly tcp: boolean;
  readonly onDatagram: (socket: SocketId, data: Uint8Array, from: SocketAddress) => void;
  /** A connection could not be made, or is gone by itself. */
  readonly onClosed: (socket: SocketId, remote: SocketAddress) => void;
  readonly isKnown: (socket: SocketId, remote: SocketAddress) => boolean;
  readonly log: Logger;
}

export interface OpenSocket {
  readonly id: SocketId;
  readonly address: SocketAddress;
  /** Null: UDP. */
  readonly tcpType: TcpSocket["tcpType"] | null;
}

export interface OpenStream {
  readonly id: SocketId;
  /** Our end. */
  readonly address: SocketAddress;
}

/** The sockets of one agent, by ID: for at most {@link MAX_SOCKETS} addresses. */
export class LocalSockets {
  readonly #options: LocalSocketsOptions;
  readonly #udp = new Map<SocketId, Udp>();
  readonly #tcp = new Map<SocketId, TcpSocket>();
  /** Streams to servers: each stands for one remote address. */
  readonly #streams = new Map<SocketId, StunStream>();
  /** In use, or about to be. An ID is used again: those from 1000 on name allocations. */
  readonly #ids = new Set<SocketId>();
  #closed = false;

  constructor(options: LocalSocketsOptions) {
    this.#options = options;
  }

  get all(): readonly OpenSocket[] {
    return [
      ...[...this.#udp].map(([id, { address }]) => ({ id, address, tcpType: null })),
      ...[...this.#tcp].map(([id, { address, tcpType }]) => ({ id, address, tcpType })),
    ];
  }

  /** How many more addresses may be opened. */
  get room(): number {
    return Math.max(0, MAX_SOCKETS - this.#udp.size);
  }

  /**
   * `IP` or `IP:port`. With a port TCP listens on the same.
   * @returns what was opened.
   * @throws IceConnectionError `bind-failed`; AddressError `bad-address`.
   */
  async open(text: string): Promise<readonly OpenSocket[]> {
    const { ip, port } = parseIp(text) ? { ip: text, port: 0 } : parseSocketAddress(text);
    const { log, onDatagram, tcp } = this.#options;
    const udp = async (id: SocketId) =>
      void this.#udp.set(id, await bindUdp(ip, port, (data, from) => onDatagram(id, data, from), log));
    const active = async (id: SocketId) => void this.#tcp.set(id, openActive(ip, this.#events(id), log));
    const passive = async (id: SocketId) =>
      void this.#tcp.set(id, await listenPassive(ip, port, this.#events(id), log));
    const opened: SocketId[] = [];
    try {
      for (const open of tcp ? [udp, active, passive] : [udp]) opened.push(await this.#take(open));
    } catch (error) {
      for (const id of opened) this.#end(id); // all or none
      throw error;
    }
    return this.all.filter(({ id }) => opened.includes(id));
  }

  /**
   * Connects to a server. What it says comes as from `options.server`; its end comes as `onClosed`, with that address.
   * @throws StunStreamError
   */
  async connect(options: Pick<StunStreamOptions, "server" | "tls" | "signal">): Promise<OpenStream> {
    const { onDatagram, onClosed } = this.#options;
    const { server } = options;
    const made: { stream: StunStream | null } = { stream: null };
    const id = await this.#take(async (one) => {
      made.stream = await connectStunStream({
        ...options,
        onMessage: (data) => onDatagram(one, data, server),
        onClosed: () => {
          this.#forget(one);
          onClosed(one, server);
        },
      });
      this.#streams.set(one, made.stream);
    });
    if (this.#closed) made.stream?.close();
    return { id, address: made.stream?.local ?? server };
  }

  /** Closes what is on an address; returns the IDs. */
  remove(ip: string): readonly SocketId[] {
    const gone = this.all.filter(({ address }) => address.ip === ip).map(({ id }) => id);
    for (const id of gone) this.#end(id);
    return gone;
  }

  send(id: SocketId, data: Uint8Array, to: SocketAddress, sent?: () => void): void {
    const socket = this.#get(id);
    if (socket) return socket.send(data, to, sent);
    this.#streams.get(id)?.send(data); // it goes out before the stream ends
    sent?.();
  }

  /** The path is given up: a TCP connection is closed, for UDP nothing is to be done. */
  drop(id: SocketId, remote: SocketAddress): void {
    this.#tcp.get(id)?.drop(remote);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stream of this.#streams.values()) stream.close();
    this.#streams.clear();
    await Promise.all([...this.#udp.values(), ...this.#tcp.values()].map((socket) => socket.close()));
    this.#udp.clear();
    this.#tcp.clear();
  }

  async #take(open: (id: SocketId) => Promise<void>): Promise<SocketId> {
    let id: SocketId = 0;
    while (this.#ids.has(id)) id++;
    this.#ids.add(id);
    try {
      await open(id);
      return id;
    } catch (error) {
      this.#ids.delete(id);
      throw error;
    }
  }

  #end(id: SocketId): void {
    void this.#get(id)?.close();
    this.#forget(id);
  }

  #forget(id: SocketId): void {
    this.#ids.delete(id);
    this.#udp.delete(id);
    this.#tcp.delete(id);
    this.#streams.delete(id);
  }

  #get(id: SocketId): Udp | undefined {
    return this.#udp.get(id) ?? this.#tcp.get(id);
  }

  #events(id: SocketId) {
    const { onDatagram, onClosed, isKnown } = this.#options;
    return {
      onDatagram: (data: Uint8Array, from: SocketAddress) => onDatagram(id, data, from),
      onClosed: (remote: SocketAddress) => onClosed(id, remote),
      isKnown: (remote: SocketAddress) => isKnown(id, remote),
    };
  }
}
