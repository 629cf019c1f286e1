import { type Millis, type Random, randomInt, SocketAddress } from "@adit/core";
import type { Link } from "./link.ts";
import type { Network } from "./network.ts";
import { type Datagram, type Gateway, Realm, type Station } from "./realm.ts";

/** RFC 4787 §4.1: endpoint-independent, address-dependent, address-and-port-dependent mapping. */
export type NatMapping = "EIM" | "ADM" | "APDM";

/** RFC 4787 §5: endpoint-independent, address-dependent, address-and-port-dependent filtering. */
export type NatFiltering = "EIF" | "ADF" | "APDF";

/** RFC 4787 §4.2.1: keep the internal port where it is free, count up, or draw. Ports are never overloaded. */
export type NatPorts = "preserving" | "sequential" | "random";

export interface NatBehavior {
  readonly mapping: NatMapping;
  readonly filtering: NatFiltering;
  readonly ports: NatPorts;
  /** RFC 4787 §6: whether two hosts behind it reach each other by their external addresses ("External source IP address and port"). */
  readonly hairpin: boolean;
  /** RFC 4787 §4.3, REQ-5: "A NAT UDP mapping timer MUST NOT expire in less than two minutes". Real ones do. */
  readonly mappingTimeoutMs: Millis;
  /** RFC 4787 §4.3, REQ-6: outbound traffic always refreshes; inbound may. */
  readonly inboundRefresh: boolean;
  /** RFC 4787 §4.1, REQ-2: with several external addresses, one per internal host, or any per mapping. */
  readonly pooling: "paired" | "arbitrary";
  /** More mappings than this are refused: outgoing datagrams that need one are dropped. */
  readonly maxMappings: number;
}

export const DEFAULT_NAT: NatBehavior = {
  mapping: "EIM",
  filtering: "APDF",
  ports: "preserving",
  hairpin: false,
  mappingTimeoutMs: 120_000,
  inboundRefresh: false,
  pooling: "paired",
  maxMappings: 16_384,
};

interface Mapping {
  readonly key: string;
  readonly internal: SocketAddress;
  readonly external: SocketAddress;
  expiresAt: Millis;
  /** Remote (`ip`, or `ip:port` under APDF) -> when its permission to come in ends. At most {@link MAX_FILTERS}. */
  readonly permits: Map<string, Millis>;
}

const MAX_FILTERS = 4096;
const FIRST_PORT = 1024;
const LAST_PORT = 65_535;

interface NatOptions {
  readonly network: Network;
  readonly name: string;
  readonly externalIps: readonly string[];
  readonly behavior: Partial<NatBehavior>;
  readonly outside: Realm;
  readonly link: Link;
  readonly random: Random;
}

/**
 * A NAT by RFC 4787. Filters belong to the mapping, not to the internal endpoint: where one endpoint has several mappings
 * (ADM, APDM), a remote that was sent to through one is not let in through another, as in the NATs that are out there.
 */
export class Nat implements Station, Gateway {
  readonly name: string;
  /** The realm behind it. */
  readonly inside: Realm;
  readonly outside: Realm;
  /** The wire towards the outside. */
  readonly link: Link;
  readonly #network: Network;
  readonly #random: Random;
  #behavior: NatBehavior;
  #externalIps: readonly string[];
  readonly #byKey = new Map<string, Mapping>();
  readonly #byExternal = new Map<string, Mapping>();
  readonly #forwards = new Map<string, SocketAddress>();
  readonly #paired = new Map<string, string>();
  #nextPort: number;

  constructor(options: NatOptions) {
    if (options.externalIps.length === 0) throw new RangeError("a NAT needs an external address");
    this.name = options.name;
    this.#network = options.network;
    this.#random = options.random;
    this.#behavior = { ...DEFAULT_NAT, ...options.behavior };
    this.#externalIps = options.externalIps;
    this.outside = options.outside;
    this.link = options.link;
    this.inside = new Realm(options.network, `behind ${options.name}`);
    this.inside.gateway = this;
    for (const ip of this.#externalIps) this.outside.attach(ip, this);
    this.#nextPort = FIRST_PORT + randomInt(this.#random, LAST_PORT - FIRST_PORT + 1);
  }

  get behavior(): NatBehavior {
    return this.#behavior;
  }

  get externalIps(): readonly string[] {
    return this.#externalIps;
  }

  /** The live mappings of an internal endpoint, as external addresses, oldest first. */
  mappingsOf(internal: SocketAddress): readonly SocketAddress[] {
    const now = this.#network.clock.now();
    return [...this.#byKey.values()]
      .filter((mapping) => mapping.expiresAt > now && mapping.internal.equals(internal))
      .map(({ external }) => external);
  }

  /** A static port mapping: what comes to it from anyone goes to `internal`. */
  forwardPort(externalPort: number, internal: SocketAddress): void {
    for (const ip of this.#externalIps) this.#forwards.set(SocketAddress.of(ip, externalPort).key, internal);
  }

  /** Forgets every mapping, as a reboot does. */
  flush(): void {
    this.#byKey.clear();
    this.#byExternal.clear();
    this.#paired.clear();
  }

  /** Gets other external addresses, as after a reconnect of the line: mappings are gone, the old addresses are nobody's. */
  renumber(...externalIps: readonly string[]): void {
    if (externalIps.length === 0) throw new RangeError("a NAT needs an external address");
    for (const ip of this.#externalIps) this.outside.detach(ip, this);
    this.#externalIps = externalIps;
    for (const ip of externalIps) this.outside.attach(ip, this);
    this.#forwards.clear();
    this.flush();
  }

  fromInside(datagram: Datagram): void {
    const mapping = this.#outboundMapping(datagram.from, datagram.to);
    if (!mapping) {
      this.#network.dropped(datagram, "nat-full");
      return;
    }
    const translated = { ...datagram, from: mapping.external };
    if (!this.#externalIps.includes(datagram.to.ip)) {
      this.#network.across(this.link.up, translated, (left) => this.outside.carry(left));
    } else if (this.#behavior.hairpin) {
      this.receive(translated);
    } else {
      this.#network.dropped(datagram, "nat-no-hairpin");
    }
  }

  receive(datagram: Datagram): void {
    const { from, to } = datagram;
    const now = this.#network.clock.now();
    const forward = this.#forwards.get(to.key);
    if (forward) {
      this.inside.deliver({ ...datagram, to: forward });
      return;
    }
    const mapping = this.#byExternal.get(to.key);
    if (!mapping || mapping.expiresAt <= now) {
      this.#network.dropped(datagram, "nat-unmapped");
      return;
    }
    if (!this.#admits(mapping, from, now)) {
      this.#network.dropped(datagram, "nat-filtered");
      return;
    }
    if (this.#behavior.inboundRefresh) this.#refresh(mapping, from, now);
    this.inside.deliver({ ...datagram, to: mapping.internal });
  }

  #outboundMapping(internal: SocketAddress, remote: SocketAddress): Mapping | null {
    const now = this.#network.clock.now();
    const key = this.#mappingKey(internal, remote);
    let mapping = this.#byKey.get(key);
    if (mapping && mapping.expiresAt <= now) {
      this.#forget(mapping);
      mapping = undefined;
    }
    mapping ??= this.#allocate(key, internal, now) ?? undefined;
    if (mapping) this.#refresh(mapping, remote, now);
    return mapping ?? null;
  }

  #mappingKey(internal: SocketAddress, remote: SocketAddress): string {
    switch (this.#behavior.mapping) {
      case "EIM":
        return internal.key;
      case "ADM":
        return `${internal.key}|${remote.ip}`;
      case "APDM":
        return `${internal.key}|${remote.key}`;
    }
  }

  #admits(mapping: Mapping, remote: SocketAddress, now: Millis): boolean {
    if (this.#behavior.filtering === "EIF") return true;
    return (mapping.permits.get(this.#filterKey(remote)) ?? now) > now;
  }

  #filterKey(remote: SocketAddress): string {
    return this.#behavior.filtering === "APDF" ? remote.key : remote.ip;
  }

  #refresh(mapping: Mapping, remote: SocketAddress, now: Millis): void {
    mapping.expiresAt = now + this.#behavior.mappingTimeoutMs;
    if (this.#behavior.filtering === "EIF") return;
    const key = this.#filterKey(remote);
    mapping.permits.delete(key); // to the end: the map is in order of use, and the first is the oldest
    mapping.permits.set(key, mapping.expiresAt);
    if (mapping.permits.size > MAX_FILTERS) {
      for (const oldest of mapping.permits.keys()) {
        mapping.permits.delete(oldest);
        break;
      }
    }
  }

  #allocate(key: string, internal: SocketAddress, now: Millis): Mapping | null {
    if (this.#byKey.size >= this.#behavior.maxMappings) {
      for (const old of this.#byKey.values()) if (old.expiresAt <= now) this.#forget(old);
      if (this.#byKey.size >= this.#behavior.maxMappings) return null;
    }
    const external = this.#freePort(this.#chooseIp(internal), internal.port, now);
    if (!external) return null;
    const mapping: Mapping = { key, internal, external, expiresAt: now, permits: new Map() };
    this.#byKey.set(key, mapping);
    this.#byExternal.set(external.key, mapping);
    return mapping;
  }

  #chooseIp(internal: SocketAddress): string {
    const ips = this.#externalIps;
    const pick = (index: number) => ips[index % ips.length] as string;
    if (this.#behavior.pooling === "arbitrary") return pick(randomInt(this.#random, ips.length));
    const known = this.#paired.get(internal.ip);
    if (known) return known;
    const ip = pick(this.#paired.size);
    this.#paired.set(internal.ip, ip);
    return ip;
  }

  #freePort(ip: string, internalPort: number, now: Millis): SocketAddress | null {
    const span = LAST_PORT - FIRST_PORT + 1;
    let port = this.#firstChoice(internalPort);
    for (let tries = 0; tries < span; tries++) {
      const external = SocketAddress.of(ip, port);
      const holder = this.#byExternal.get(external.key);
      if (holder && holder.expiresAt <= now) this.#forget(holder);
      if (!this.#byExternal.has(external.key) && !this.#forwards.has(external.key)) {
        if (this.#behavior.ports === "sequential") this.#nextPort = port + 1;
        return external;
      }
      port = port >= LAST_PORT ? FIRST_PORT : port + 1;
    }
    return null;
  }

  #firstChoice(internalPort: number): number {
    switch (this.#behavior.ports) {
      case "preserving":
        return internalPort;
      case "sequential":
        return this.#nextPort > LAST_PORT ? FIRST_PORT : this.#nextPort;
      case "random":
        return FIRST_PORT + randomInt(this.#random, LAST_PORT - FIRST_PORT + 1);
    }
  }

  #forget(mapping: Mapping): void {
    if (this.#byKey.get(mapping.key) === mapping) this.#byKey.delete(mapping.key);
    if (this.#byExternal.get(mapping.external.key) === mapping) this.#byExternal.delete(mapping.external.key);
  }
}
