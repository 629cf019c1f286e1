import { type Logger, parseIp, parseSocketAddress, type SocketAddress, type SocketId } from "@adit/core";
import { MAX_SOCKETS } from "./host-addresses.ts";
import { listenPassive, openActive, type TcpSocket } from "./tcp.ts";
import { bindUdp, type Udp } from "./udp.ts";

/** What the sockets tell: each by its ID. */
export interface LocalSocketsOptions {
  /** ICE-TCP beside UDP: one socket that connects and one that listens for each address. */
  readonly tcp: boolean;
  readonly onDatagram: (socket: SocketId, data: Uint8Array, from: SocketAddress) => void;
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

/** The sockets of one agent, by ID: for at most {@link MAX_SOCKETS} addresses. */
export class LocalSockets {
  readonly #options: LocalSocketsOptions;
  readonly #udp = new Map<SocketId, Udp>();
  readonly #tcp = new Map<SocketId, TcpSocket>();
  #next: SocketId = 0;

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
    const id = this.#next++;
    const udp = await bindUdp(ip, port, (data, from) => onDatagram(id, data, from), log);
    this.#udp.set(id, udp);
    const opened: OpenSocket[] = [{ id, address: udp.address, tcpType: null }];
    if (!tcp) return opened;
    const [active, passive] = [this.#next++, this.#next++];
    this.#tcp.set(active, openActive(ip, this.#events(active), log));
    this.#tcp.set(passive, await listenPassive(ip, port, this.#events(passive), log));
    for (const { id: one, ...rest } of this.all) {
      if (one === active || one === passive) opened.push({ id: one, ...rest });
    }
    return opened;
  }

  /** Closes what is on an address; returns the IDs. */
  remove(ip: string): readonly SocketId[] {
    const gone = this.all.filter(({ address }) => address.ip === ip).map(({ id }) => id);
    for (const id of gone) {
      void this.#get(id)?.close();
      this.#udp.delete(id);
      this.#tcp.delete(id);
    }
    return gone;
  }

  send(id: SocketId, data: Uint8Array, to: SocketAddress, sent?: () => void): void {
    const socket = this.#get(id);
    if (socket) socket.send(data, to, sent);
    else sent?.();
  }

  /** The path is given up: a TCP connection is closed, for UDP nothing is to be done. */
  drop(id: SocketId, remote: SocketAddress): void {
    this.#tcp.get(id)?.drop(remote);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#udp.values(), ...this.#tcp.values()].map((socket) => socket.close()));
    this.#udp.clear();
    this.#tcp.clear();
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
