/**
 * A small internet of network namespaces: a bridge in the lab's own namespace, public hosts and NATs on it, hosts behind the
 * NATs. Made and removed with `ip` and `nft`; needs to run inside what natlab.sh makes, and is alone there.
 */
import { ip, run } from "./commands.ts";
import type { NatKindOfLab } from "./kinds.ts";
import { HAIRPIN_IN, HAIRPIN_IP, HAIRPIN_OUT, LAN, WAN } from "./nat-rules.ts";
import { NatOfLab, type Side } from "./side.ts";
import { Station } from "./station-client.ts";
import type { WireQuality } from "./wire.ts";
import { Wires } from "./wires.ts";

/** Public as far as `classifyIp` goes: the relay refuses what is reserved for documentation. Nothing leaves the lab. */
export const PUBLIC_NET = "11.0.0";
export const RELAY_IP6 = "2a0b:11:0:0::1";
export const RELAY_IP = `${PUBLIC_NET}.1`;
/** Of a second intermediate, where a world has one. */
export const SECOND_RELAY_IP = `${PUBLIC_NET}.2`;
export const PROBE_IP6 = "2a0b:11:0:0::8";
export const PROBE_IPS = [`${PUBLIC_NET}.8`, `${PUBLIC_NET}.9`] as const;
/** The first 32 bits: the internet's own link is `::/64` of it, each side has a prefix in it. */
const PUBLIC_NET6 = "2a0b:11:0";
const BRIDGE = "net0";
/** So many wait for the process that carries the wires: it loses what a wire's quality says, and not what comes while it has no processor (Linux keeps 1,000). */
const WIRE_FRAMES = 10_000;
const DEFAULT_BINDING_TIMEOUT_S = 120;

interface Cabling {
  readonly wire: WireQuality | null;
  readonly bindingTimeoutS?: number;
}

export interface SideOptions {
  readonly layers: readonly NatKindOfLab[];
  /** Null: on the internet itself. */
  readonly behind: SharedNat | null;
  /** Null: a plain cable. Not for what is behind a shared NAT: the wire is that one's. */
  readonly wire: WireQuality | null;
  readonly bindingTimeoutS?: number;
}

/** Where a side, or a NAT, has its outermost device: on the internet, or behind a NAT that several share. */
interface Place {
  readonly ip: string;
  /** Null: on the internet. */
  readonly behind: SharedNat | null;
}

/** A NAT that several sides are behind. */
export interface SharedNat {
  readonly nat: NatOfLab;
  readonly publicIp: string;
  /** The first three bytes of its inside's addresses. */
  readonly net: string;
  readonly isolated: boolean;
  guests: number;
}

const macOf = (address: string) =>
  `02:00:${address
    .split(".")
    .map((byte) => Number(byte).toString(16).padStart(2, "0"))
    .join(":")}`;

export class Lab {
  readonly #namespaces: string[] = [];
  readonly #publicParties = new Map<string, string>();
  readonly #stations = new Map<string, Station>();
  readonly #wires = new Wires();
  /** The lab's ends of those that are not wires. */
  readonly #cables: string[] = [];
  readonly #endings: (() => void)[] = [];
  #sides = 0;

  constructor() {
    ip(null, [`link add ${BRIDGE} type bridge forward_delay 0`, `link set ${BRIDGE} up`]);
  }

  /** A host on the internet with these addresses. */
  publicHost(name: string, addresses: readonly string[], wire: WireQuality | null): void {
    this.#addNamespace(name);
    this.#plugIn(name, addresses[0] as string, wire);
    this.#later.push(() => this.#address(name, addresses));
  }

  /** What can only be done when the wires are there. */
  readonly #later: (() => void)[] = [];

  /** A NAT for several sides to be behind. */
  sharedNat(
    name: string,
    kind: NatKindOfLab,
    { wire, bindingTimeoutS = DEFAULT_BINDING_TIMEOUT_S }: Cabling,
  ): SharedNat {
    const publicIp = `${PUBLIC_NET}.${++this.#sides * 10}`;
    const net = "100.99.0";
    this.#addNamespace(name);
    this.#plugIn(name, publicIp, wire);
    this.#later.push(() => this.#address(name, [publicIp]));
    const nat = this.#startNat(name, kind, { externalIp: publicIp, insideIp: `${net}.1`, bindingTimeoutS });
    return { nat, publicIp, net, isolated: kind.isolated, guests: 0 };
  }

  side(name: string, { layers, behind, wire, bindingTimeoutS = DEFAULT_BINDING_TIMEOUT_S }: SideOptions): Side {
    const index = ++this.#sides;
    const place: Place = { ip: behind ? `${behind.net}.${index * 10}` : `${PUBLIC_NET}.${index * 10}`, behind };
    const lan = (layer: number) => (layer === 0 ? `192.168.${index}` : `100.64.${index * 10 + layer}`);
    const names = layers.map((_, layer) => `${name}-nat${layer}`);
    const edge = names.at(-1) ?? name;
    for (const namespace of [name, ...names]) this.#addNamespace(namespace);
    this.#settle(edge, place, layers.length === 0, wire);
    const nats = layers.map((kind, layer) => {
      const nat = names[layer] as string;
      const externalIp = layer === layers.length - 1 ? place.ip : `${lan(layer + 1)}.2`;
      const made = this.#startNat(nat, kind, { externalIp, insideIp: `${lan(layer)}.1`, bindingTimeoutS });
      const inside = names[layer - 1] ?? name;
      this.#connectInside(nat, `${lan(layer)}`, inside, layer === 0 ? "eth0" : WAN, `${lan(layer)}.2`, false);
      return made;
    });
    const hostIp = layers.length === 0 ? place.ip : `${lan(0)}.2`;
    return { host: name, hostIp, nats, publicIp: behind ? behind.publicIp : place.ip, edge };
  }

  /** Gives the outermost device its place. */
  #settle(edge: string, { ip: address, behind }: Place, isHost: boolean, wire: WireQuality | null): void {
    if (behind) {
      const device = isHost ? "eth0" : WAN;
      this.#connectInside(behind.nat.name, behind.net, edge, device, address, behind.isolated, behind.guests++);
    } else {
      this.#plugIn(edge, address, wire);
      this.#later.push(() => this.#address(edge, [address]));
    }
  }

  #startNat(
    name: string,
    kind: NatKindOfLab,
    at: { readonly externalIp: string; readonly insideIp: string; readonly bindingTimeoutS: number },
  ): NatOfLab {
    const { externalIp, insideIp, bindingTimeoutS } = at;
    ip(name, [
      `link add ${LAN} type bridge forward_delay 0`,
      `link set ${LAN} up`,
      `addr add ${insideIp}/24 dev ${LAN}`,
    ]);
    run("sysctl", ["-qw", "net.ipv4.ip_forward=1"], { namespace: name });
    if (kind.hairpin) layHairpin(name);
    return new NatOfLab(name, { ...kind, externalIp, generation: 1, bindingTimeoutS });
  }

  /** A cable from a NAT's inside to who is there. */
  #connectInside(
    nat: string,
    net: string,
    inside: string,
    device: string,
    address: string,
    isolated: boolean,
    port = 0,
  ): void {
    ip(nat, [
      `link add port${port} type veth peer name ${device} netns ${inside}`,
      `link set port${port} master ${LAN}`,
      ...(isolated ? [`link set port${port} type bridge_slave isolated on`] : []),
      `link set port${port} up`,
    ]);
    ip(inside, [`addr add ${address}/24 dev ${device}`, `link set ${device} up`, `route add default via ${net}.1`]);
  }

  /** Drops, or lets through, what goes in and out of a namespace other than to itself: rules of nft, the first that decides counts. */
  nft(namespace: string, table: string, ...rules: readonly string[]): void {
    const chain = (hook: string, self: string) =>
      `chain ${hook} { type filter hook ${hook} priority -320; ${self} lo accept\n${rules.join("\n")}\n }`;
    run("nft", ["-f", "-"], {
      namespace,
      input: `table inet ${table} {\n${chain("prerouting", "iifname")}\n${chain("output", "oifname")}\n}`,
    });
  }

  readonly #ipv6: { readonly namespace: string; readonly address: string; readonly prefix: string | null }[] = [];

  /** IPv6 for a side with one NAT at most, whose stateful firewall is on the NAT, or on the host where there is none. */
  addIpv6(side: Side, { alone = false } = {}): void {
    if (side.nats.length > 1)
      throw new RangeError(`${side.host}: IPv6 behind several NATs is not among what the lab can do`);
    const index = Number(side.publicIp.split(".").at(-1));
    const [address, prefix] = [`${PUBLIC_NET6}:0::${index}`, `${PUBLIC_NET6}:${index}`];
    const hasNat = side.nats.length === 1;
    ip(side.edge, [`addr add ${address}/64 dev ${WAN} nodad`]);
    if (hasNat) {
      ip(side.edge, [`addr add ${prefix}::1/64 dev ${LAN} nodad`]);
      ip(side.host, [`addr add ${prefix}::2/64 dev eth0 nodad`, `route add default via ${prefix}::1`]);
      run("sysctl", ["-qw", "net.ipv6.conf.all.forwarding=1"], { namespace: side.edge });
    }
    run("nft", ["-f", "-"], { namespace: side.edge, input: firewall6Rules(hasNat) });
    for (const other of this.#ipv6) {
      if (other.prefix !== null) ip(side.edge, [`route add ${other.prefix}::/64 via ${other.address}`]);
      ip(other.namespace, [`route add ${prefix}::/64 via ${address}`]);
      this.#introduce6(side.edge, other);
      this.#introduce6(other.namespace, { namespace: side.edge, address });
    }
    this.#ipv6.push({ namespace: side.edge, address, prefix });
    const device = hasNat ? "eth0" : WAN;
    if (alone) ip(side.host, [`addr delete ${side.hostIp}/24 dev ${device}`]);
  }

  /** As with IPv4, neighbours are known from the start. */
  #introduce6(to: string, { namespace, address }: { readonly namespace: string; readonly address: string }): void {
    const mac = macOf(this.#publicParties.get(namespace) as string);
    ip(to, [`neigh replace ${address} lladdr ${mac} dev ${WAN} nud permanent`]);
  }

  /** IPv6 for a public host, before any side has it. */
  addPublicIpv6(namespace: string, address: string): void {
    ip(namespace, [`addr add ${address}/64 dev ${WAN} nodad`]);
    this.#ipv6.push({ namespace, address, prefix: null });
  }

  /** A side that is on the internet itself comes from another address there: to all others it is somebody new. */
  renumber(side: Side, publicIp: string): void {
    const mac = macOf(this.#publicParties.get(side.edge) as string);
    const before = this.#addresses.get(side.edge) ?? [];
    this.#addresses.set(side.edge, [publicIp]);
    ip(side.edge, [
      ...before.map((address) => `addr delete ${address}/24 dev ${WAN}`),
      `addr add ${publicIp}/24 dev ${WAN}`,
    ]);
    for (const other of this.#publicParties.keys())
      if (other !== side.edge) ip(other, [`neigh replace ${publicIp} lladdr ${mac} dev ${WAN} nud permanent`]);
    side.nats.at(-1)?.renumber(publicIp);
    for (const inner of side.nats.slice(0, -1)) inner.reboot();
  }

  /** To be called once, when everything that has a wire is there. */
  async up(): Promise<void> {
    await this.#wires.start();
    for (const device of this.#wires.devices)
      ip(null, [
        `link set ${device} master ${BRIDGE}`,
        `link set ${device} txqueuelen ${WIRE_FRAMES}`,
        `link set ${device} up`,
      ]);
    for (const act of this.#later.splice(0)) act();
    // Neighbours are known from the start: address resolution over a slow wire would be measured as time of the programs.
    for (const name of this.#publicParties.keys()) {
      const others = [...this.#publicParties]
        .filter(([other]) => other !== name)
        .flatMap(([other]) => this.#addressesOf(other));
      ip(
        name,
        others.map(([address, mac]) => `neigh replace ${address} lladdr ${mac} dev ${WAN} nud permanent`),
      );
    }
  }

  ip(namespace: string, ...lines: readonly string[]): void {
    ip(namespace, lines);
  }

  /** The station in a namespace, started at the first call. */
  station(namespace: string): Station {
    let station = this.#stations.get(namespace);
    if (!station) {
      station = new Station(namespace);
      this.#stations.set(namespace, station);
    }
    return station;
  }

  /** Something in the lab that ends with it. */
  onClose(end: () => void): void {
    this.#endings.push(end);
  }

  /** What of the lab itself does not work any more; null as long as all is well. */
  get trouble(): string | null {
    return this.#wires.trouble;
  }

  async close(): Promise<void> {
    for (const end of this.#endings) end();
    for (const station of this.#stations.values()) station.close();
    await this.#wires.close();
    // The cables by name: a namespace itself lives on until the last of its processes is gone.
    ip(null, [
      ...this.#cables.map((port) => `link delete ${port}`),
      `link delete ${BRIDGE}`,
      ...this.#namespaces.map((name) => `netns delete ${name}`),
    ]);
  }

  readonly #addresses = new Map<string, readonly string[]>();

  #addressesOf(name: string): (readonly [string, string])[] {
    const mac = macOf(this.#publicParties.get(name) as string);
    return (this.#addresses.get(name) ?? []).map((address) => [address, mac] as const);
  }

  #addNamespace(name: string): void {
    ip(null, [`netns add ${name}`]);
    this.#namespaces.push(name);
    ip(name, ["link set lo up"]);
    // Nobody has our addresses; looking for them would take the first seconds, in which IPv6 does not work.
    run("sysctl", ["-qw", "net.ipv6.conf.default.accept_dad=0"], { namespace: name });
  }

  #plugIn(name: string, address: string, wire: WireQuality | null): void {
    this.#publicParties.set(name, address);
    const port = `to-${address.split(".").at(-1)}`;
    if (wire === null) {
      ip(null, [
        `link add ${port} type veth peer name ${WAN} netns ${name}`,
        `link set ${port} master ${BRIDGE}`,
        `link set ${port} up`,
      ]);
      this.#cables.push(port);
    } else {
      const outside = `/proc/${process.pid}/ns/net`;
      const ends = [
        { namespace: `/run/netns/${name}`, device: WAN },
        { namespace: outside, device: port },
      ] as const;
      this.#wires.add({ ends, quality: wire });
    }
  }

  #address(name: string, addresses: readonly string[]): void {
    this.#addresses.set(name, addresses);
    ip(name, [
      `link set ${WAN} address ${macOf(addresses[0] as string)}`,
      ...addresses.map((address) => `addr add ${address}/24 dev ${WAN}`),
      `link set ${WAN} txqueuelen ${WIRE_FRAMES}`,
      `link set ${WAN} up`,
    ]);
  }
}

/** See {@link HAIRPIN_OUT}. What comes in again has the NAT's own address as its source. */
function layHairpin(namespace: string): void {
  const mac = macOf(HAIRPIN_IP);
  ip(namespace, [
    `link add ${HAIRPIN_OUT} type veth peer name ${HAIRPIN_IN}`,
    `link set ${HAIRPIN_IN} address ${mac}`,
    `link set ${HAIRPIN_IN} up`,
    `link set ${HAIRPIN_OUT} up`,
    `route add ${HAIRPIN_IP} dev ${HAIRPIN_OUT}`,
    `neigh replace ${HAIRPIN_IP} lladdr ${mac} dev ${HAIRPIN_OUT} nud permanent`,
  ]);
  const settings = ["accept_local=1", "rp_filter=0"].map((setting) => `net.ipv4.conf.${HAIRPIN_IN}.${setting}`);
  run("sysctl", ["-qw", "net.ipv4.conf.all.rp_filter=0", ...settings], { namespace });
}

/** RFC 6092 §3.2: what goes out opens the way for its answers. */
const firewall6Rules = (routes: boolean) => `
table ip6 firewall {
  chain guard {
    type filter hook ${routes ? "forward" : "input"} priority filter; policy drop;
    iifname != "${WAN}" accept
    ct state established,related accept
    ${routes ? "" : "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"}
  }
}
`;
