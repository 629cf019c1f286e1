import type { SocketAddress } from "@adit/core";
import type { Link } from "./link.ts";
import type { Network } from "./network.ts";

/** What travels: plain bytes with the addresses as they stand on the wire at that point. */
export interface Datagram {
  readonly data: Uint8Array;
  readonly from: SocketAddress;
  readonly to: SocketAddress;
}

/** What holds an address in a realm. */
export interface Station {
  readonly link: Link;
  /** A datagram that came down the station's link. */
  receive(datagram: Datagram): void;
}

/** The way out of a realm. */
export interface Gateway {
  fromInside(datagram: Datagram): void;
}

/**
 * An address realm (RFC 2663 §2.1): addresses are unique inside one, and mean something else in another. A NAT is the gateway
 * of the realm behind it.
 */
export class Realm {
  readonly name: string;
  readonly network: Network;
  gateway: Gateway | null = null;
  readonly #stations = new Map<string, Station>();

  constructor(network: Network, name: string) {
    this.network = network;
    this.name = name;
  }

  attach(ip: string, station: Station): void {
    if (this.#stations.has(ip)) throw new RangeError(`${ip} is taken in realm ${this.name}`);
    this.#stations.set(ip, station);
  }

  detach(ip: string, station: Station): void {
    if (this.#stations.get(ip) === station) this.#stations.delete(ip);
  }

  /** From a station inside: to another one, or out through the gateway. */
  carry(datagram: Datagram): void {
    if (this.#stations.has(datagram.to.ip)) this.deliver(datagram);
    else if (this.network.isBlocked(datagram)) this.network.dropped(datagram, "blocked");
    else if (this.gateway) this.gateway.fromInside(datagram);
    else this.network.dropped(datagram, "no-route");
  }

  /** To a station inside. */
  deliver(datagram: Datagram): void {
    const station = this.#stations.get(datagram.to.ip);
    if (!station) this.network.dropped(datagram, "no-route");
    else if (this.network.isBlocked(datagram)) this.network.dropped(datagram, "blocked");
    else this.network.across(station.link.down, datagram, (arrived) => station.receive(arrived));
  }
}
