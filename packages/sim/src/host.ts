import { type IpFamily, SocketAddress } from "@adit/core";
import type { Link, LinkOptions } from "./link.ts";
import type { Network } from "./network.ts";
import type { Datagram, Realm, Station } from "./realm.ts";

/** A UDP socket of a simulated host. */
export interface SimSocket {
  readonly host: Host;
  /** The bound port, and the bound IP or, on a wildcard socket, null: then the source is the interface that routes there. */
  readonly port: number;
  readonly ip: string | null;
  /** Where others in the realm reach it: the bound IP, or the first interface's. */
  readonly address: SocketAddress;
  /** Bytes are copied. Sending never fails: what cannot leave is dropped and counted. */
  send(data: Uint8Array, to: SocketAddress): void;
  close(): void;
}

interface Interface extends Station {
  readonly ip: string;
  readonly family: IpFamily;
  readonly realm: Realm;
}

const FIRST_EPHEMERAL_PORT = 49_152;

/** A machine with one or more interfaces, each in a realm, and sockets on them. */
export class Host {
  readonly name: string;
  readonly network: Network;
  readonly #interfaces: Interface[] = [];
  readonly #sockets = new Map<string, { readonly onDatagram: (datagram: Datagram) => void }>();
  #nextPort = FIRST_EPHEMERAL_PORT;

  constructor(network: Network, name: string) {
    this.network = network;
    this.name = name;
  }

  /** The addresses of its interfaces, in the order in which they were added. */
  get ips(): readonly string[] {
    return this.#interfaces.map(({ ip }) => ip);
  }

  /** The wire of an interface (the first unless `ip` is given). @throws RangeError when there is none. */
  link(ip?: string): Link {
    const found = this.#interfaces.find((one) => ip === undefined || one.ip === ip);
    if (!found) throw new RangeError(`${this.name} has no interface ${ip ?? ""}`);
    return found.link;
  }

  addInterface(ip: string, options: { realm?: Realm; link?: Partial<LinkOptions> } = {}): void {
    const address = SocketAddress.of(ip, 0);
    const one: Interface = {
      ip: address.ip,
      family: address.family,
      realm: options.realm ?? this.network.internet,
      link: this.network.makeLink(options.link),
      receive: (datagram) => this.#receive(datagram),
    };
    one.realm.attach(one.ip, one);
    this.#interfaces.push(one);
  }

  /** The address is gone: what was under way to it finds no route. Its bound sockets stay, mute. */
  removeInterface(ip: string): void {
    const index = this.#interfaces.findIndex((one) => one.ip === ip);
    const one = this.#interfaces[index];
    if (!one) throw new RangeError(`${this.name} has no interface ${ip}`);
    this.#interfaces.splice(index, 1);
    one.realm.detach(ip, one);
  }

  /** Leaves every network it is in and joins another, as a laptop does. Wildcard sockets live on. */
  moveTo(ip: string, options: { realm?: Realm; link?: Partial<LinkOptions> } = {}): void {
    for (const old of this.ips) this.removeInterface(old);
    this.addInterface(ip, options);
  }

  /**
   * Binds a UDP socket: port 0 (the default) chooses one, no `ip` is the wildcard.
   * @throws RangeError when the port is taken or the address is not the host's.
   */
  bind(onDatagram: (datagram: Datagram) => void, options: { port?: number; ip?: string } = {}): SimSocket {
    const ip = options.ip ?? null;
    if (ip !== null && !this.ips.includes(ip)) throw new RangeError(`${ip} is not an address of ${this.name}`);
    const port = options.port || this.#freePort();
    const key = socketKey(ip, port);
    if (this.#sockets.has(key)) throw new RangeError(`${key} is taken on ${this.name}`);
    const entry = { onDatagram };
    this.#sockets.set(key, entry);
    const host = this;
    return {
      host,
      port,
      ip,
      get address() {
        return SocketAddress.of(ip ?? host.ips[0] ?? "0.0.0.0", port);
      },
      send: (data, to) => {
        if (this.#sockets.get(key) === entry) this.#send(ip, port, data.slice(), to);
      },
      close: () => {
        if (this.#sockets.get(key) === entry) this.#sockets.delete(key);
      },
    };
  }

  #freePort(): number {
    const taken = new Set([...this.#sockets.keys()].map((key) => Number(key.slice(key.lastIndexOf("|") + 1))));
    for (let tries = 0; tries < 65_536 - FIRST_EPHEMERAL_PORT; tries++) {
      const port = this.#nextPort++;
      if (this.#nextPort > 65_535) this.#nextPort = FIRST_EPHEMERAL_PORT;
      if (!taken.has(port)) return port;
    }
    throw new RangeError(`${this.name} has no free port`);
  }

  #send(ip: string | null, port: number, data: Uint8Array, to: SocketAddress): void {
    const out = this.#interfaces.find((one) => (ip === null ? one.family === to.family : one.ip === ip));
    const datagram = { data, from: SocketAddress.of(out?.ip ?? ip ?? "0.0.0.0", port), to };
    this.network.sent(datagram);
    if (!out || out.family !== to.family) {
      this.network.dropped(datagram, "no-interface");
      return;
    }
    this.network.across(out.link.up, datagram, (left) => out.realm.carry(left));
  }

  #receive(datagram: Datagram): void {
    const { ip, port } = datagram.to;
    const socket = this.#sockets.get(socketKey(ip, port)) ?? this.#sockets.get(socketKey(null, port));
    if (!socket) {
      this.network.dropped(datagram, "no-listener");
      return;
    }
    this.network.delivered(datagram);
    socket.onDatagram(datagram);
  }
}

const socketKey = (ip: string | null, port: number): string => `${ip ?? "*"}|${port}`;
