/**
 * A small internet of network namespaces: a bridge in the lab's own namespace, public hosts and NATs on it, hosts behind the
 * NATs. Made and removed with `ip` and `nft`; needs to run inside what natlab.sh makes, and is alone there.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { LAN, type NatKindOfLab, type NatSetting, natRules, WAN } from "./nat-rules.ts";
import { Station } from "./station-client.ts";
import type { WireEnds, WireQuality } from "./wire.ts";

/** Public as far as `classifyIp` goes: the relay refuses what is reserved for documentation. Nothing leaves the lab. */
const PUBLIC_NET = "11.0.0";
export const RELAY_IP = `${PUBLIC_NET}.1`;
export const PROBE_IPS = [`${PUBLIC_NET}.8`, `${PUBLIC_NET}.9`] as const;
const BRIDGE = "net0";
const DEFAULT_BINDING_TIMEOUT_S = 120;

export interface SideOptions {
  readonly layers: readonly NatKindOfLab[];
  /** Null: a plain cable. */
  readonly wire: WireQuality | null;
  readonly bindingTimeoutS?: number;
}

/** A host and the NATs between it and the internet. */
export interface Side {
  /** The host's namespace. */
  readonly host: string;
  readonly hostIp: string;
  /** The innermost first. */
  readonly nats: readonly NatOfLab[];
  readonly publicIp: string;
  /** The namespace whose `wan` is on the internet. */
  readonly edge: string;
}

/** One NAT; every change replaces its rules at once. */
export class NatOfLab {
  readonly name: string;
  #setting: NatSetting;

  constructor(name: string, setting: NatSetting) {
    this.name = name;
    this.#setting = setting;
    this.#load();
  }

  /** Forgets all mappings, as a reboot does. */
  reboot(): void {
    this.#setting = { ...this.#setting, generation: this.#setting.generation + 1 };
    this.#load();
  }

  /** Datagrams to and from these addresses are dropped without a word, and no others. */
  block(ips: readonly string[]): void {
    run("nft", ["-f", "-"], {
      namespace: this.name,
      input: [
        "add table ip block",
        "delete table ip block",
        "add table ip block",
        "add chain ip block arriving { type filter hook prerouting priority -310; }",
        ...ips.flatMap((ip) => [
          `add rule ip block arriving ip saddr ${ip} drop`,
          `add rule ip block arriving ip daddr ${ip} drop`,
        ]),
      ].join("\n"),
    });
  }

  #load(): void {
    run("nft", ["-f", "-"], { namespace: this.name, input: natRules(this.#setting) });
  }
}

interface RunOptions {
  readonly namespace?: string;
  readonly input?: string;
}

/** Runs a command to its end. @throws with what it said when it fails. */
function run(command: string, args: readonly string[], { namespace, input }: RunOptions = {}): void {
  const [file, all] = namespace
    ? ["nsenter", [`--net=/run/netns/${namespace}`, command, ...args]]
    : [command, [...args]];
  const { status, stderr, error } = spawnSync(file as string, all as string[], { input: input ?? "" });
  if (status !== 0) throw new Error(`${namespace ?? ""} ${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
}

/** `ip` commands in one namespace, or in the lab's own. */
function ip(namespace: string | null, lines: readonly string[]): void {
  try {
    run("ip", ["-batch", "-"], { input: lines.join("\n"), ...(namespace ? { namespace } : {}) });
  } catch (error) {
    throw new Error(`${(error as Error).message.trim()} of:\n${lines.join("\n")}`);
  }
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
  readonly #wires: WireEnds[] = [];
  /** The lab's ends of those that are not wires. */
  readonly #cables: string[] = [];
  #wireProcess: ChildProcess | null = null;
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

  side(name: string, { layers, wire, bindingTimeoutS = DEFAULT_BINDING_TIMEOUT_S }: SideOptions): Side {
    const index = ++this.#sides;
    const publicIp = `${PUBLIC_NET}.${index * 10}`;
    const lan = (layer: number) => (layer === 0 ? `192.168.${index}` : `100.64.${index * 10 + layer}`);
    const nats: NatOfLab[] = [];
    const names = layers.map((_, layer) => `${name}-nat${layer}`);
    const edge = names.at(-1) ?? name;
    for (const namespace of [name, ...names]) this.#addNamespace(namespace);
    this.#plugIn(edge, publicIp, wire);
    names.forEach((nat, layer) => {
      const inside = names[layer - 1] ?? name;
      const insideDevice = layer === 0 ? "eth0" : WAN;
      ip(nat, [
        `link add ${LAN} type bridge forward_delay 0`,
        `link add port0 type veth peer name ${insideDevice} netns ${inside}`,
        `link set port0 master ${LAN}`,
        "link set port0 up",
        `link set ${LAN} up`,
        `addr add ${lan(layer)}.1/24 dev ${LAN}`,
      ]);
      ip(inside, [
        `addr add ${lan(layer)}.2/24 dev ${insideDevice}`,
        `link set ${insideDevice} up`,
        `route add default via ${lan(layer)}.1`,
      ]);
      run("sysctl", ["-qw", "net.ipv4.ip_forward=1", ...conntrackTimeouts(bindingTimeoutS)], { namespace: nat });
      const kind = layers[layer] as NatKindOfLab;
      const externalIp = layer === layers.length - 1 ? publicIp : `${lan(layer + 1)}.2`;
      nats.push(new NatOfLab(nat, { ...kind, externalIp, generation: 1, bindingTimeoutS }));
    });
    this.#later.push(() => this.#address(edge, [publicIp]));
    return { host: name, hostIp: layers.length === 0 ? publicIp : `${lan(0)}.2`, nats, publicIp, edge };
  }

  /** To be called once, when everything that has a wire is there. */
  async up(): Promise<void> {
    if (this.#wires.length > 0) await this.#startWires();
    for (const wire of this.#wires)
      ip(null, [`link set ${wire.ends[1].device} master ${BRIDGE}`, `link set ${wire.ends[1].device} up`]);
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

  close(): void {
    for (const station of this.#stations.values()) station.close();
    this.#wireProcess?.kill("SIGKILL");
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
      this.#wires.push({ ends, quality: wire });
    }
  }

  #address(name: string, addresses: readonly string[]): void {
    this.#addresses.set(name, addresses);
    ip(name, [
      `link set ${WAN} address ${macOf(addresses[0] as string)}`,
      ...addresses.map((address) => `addr add ${address}/24 dev ${WAN}`),
      `link set ${WAN} up`,
    ]);
  }

  async #startWires(): Promise<void> {
    const child = spawn(process.execPath, [`${import.meta.dir}/wire.ts`, JSON.stringify(this.#wires)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#wireProcess = child;
    const ended = once(child, "exit").then(([status]) => {
      throw new Error(`the wires ended with status ${status}`);
    });
    await Promise.race([once(child.stdout, "data"), ended]);
    ended.catch(() => {}); // at the lab's end
  }
}

const conntrackTimeouts = (seconds: number) => [
  `net.netfilter.nf_conntrack_udp_timeout=${seconds}`,
  `net.netfilter.nf_conntrack_udp_timeout_stream=${seconds}`,
];
