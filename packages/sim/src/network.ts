import { Counters, type Millis, type Random, randomInt, type SocketAddress, seededRandom } from "@adit/core";
import { VirtualClock } from "./clock.ts";
import { Host } from "./host.ts";
import { DEFAULT_LINK, Link, type LinkDirection, type LinkOptions } from "./link.ts";
import { Nat, type NatBehavior } from "./nat.ts";
import { type Datagram, Realm } from "./realm.ts";

/** Why a datagram was not delivered. */
export type DropReason =
  | "loss"
  | "queue-full"
  | "too-big"
  | "cut"
  | "blocked"
  | "no-route"
  | "no-interface"
  | "no-listener"
  | "nat-unmapped"
  | "nat-filtered"
  | "nat-no-hairpin"
  | "nat-full";

export type NetworkEvent =
  | { readonly kind: "sent"; readonly at: Millis; readonly datagram: Datagram }
  | { readonly kind: "delivered"; readonly at: Millis; readonly datagram: Datagram }
  | { readonly kind: "dropped"; readonly at: Millis; readonly datagram: Datagram; readonly reason: DropReason };

/** Matches a datagram's end: an IP address, or one port of it. */
export type EndPattern = string | SocketAddress;

export interface Block {
  remove(): void;
}

export interface NetworkOptions {
  /** Everything random in the network comes from it. Print it when a test fails. */
  readonly seed?: number;
  readonly clock?: VirtualClock;
  /** What a wire is like unless its owner says otherwise. */
  readonly link?: Partial<LinkOptions>;
}

/**
 * A seeded network on virtual time: realms joined by NATs, hosts in them, a wire from each host and NAT to its realm. A
 * datagram from one host to another crosses the sender's wire upwards and the receiver's downwards.
 */
export class Network {
  readonly clock: VirtualClock;
  readonly seed: number;
  /** The realm of public addresses, which has no gateway. */
  readonly internet: Realm;
  readonly drops = new Counters<DropReason>();
  /** Sees everything that is sent, delivered and dropped; for assertions and for a trace of a failed run. */
  onEvent: ((event: NetworkEvent) => void) | null = null;
  readonly #random: Random;
  readonly #linkDefaults: LinkOptions;
  readonly #blocks = new Set<{ readonly from: EndPattern | null; readonly to: EndPattern | null }>();

  constructor(options: NetworkOptions = {}) {
    this.seed = options.seed ?? 1;
    this.clock = options.clock ?? new VirtualClock();
    this.#random = seededRandom(this.seed);
    this.#linkDefaults = { ...DEFAULT_LINK, ...options.link };
    this.internet = new Realm(this, "internet");
  }

  /** A host with one address in `realm` (the internet unless given). */
  addHost(name: string, ip: string, options: { realm?: Realm; link?: Partial<LinkOptions> } = {}): Host {
    const host = new Host(this, name);
    host.addInterface(ip, options);
    return host;
  }

  /** A NAT between a new realm, {@link Nat.inside}, and `options.outside` (the internet unless given). */
  addNat(
    name: string,
    externalIp: string | readonly string[],
    behavior: Partial<NatBehavior> = {},
    options: { outside?: Realm; link?: Partial<LinkOptions> } = {},
  ): Nat {
    return new Nat({
      network: this,
      name,
      externalIps: typeof externalIp === "string" ? [externalIp] : externalIp,
      behavior,
      outside: options.outside ?? this.internet,
      link: this.makeLink(options.link),
      random: this.fork(),
    });
  }

  /** Drops what matches, anywhere on its way, addresses as they stand there; null matches all. Until removed. */
  block(from: EndPattern | null, to: EndPattern | null): Block {
    const rule = { from, to };
    this.#blocks.add(rule);
    return { remove: () => void this.#blocks.delete(rule) };
  }

  /** {@link block}, both ways. */
  blockBoth(a: EndPattern, b: EndPattern): Block {
    const ways = [this.block(a, b), this.block(b, a)];
    return { remove: () => ways.forEach((way) => void way.remove()) };
  }

  /** Nothing passes between the groups, either way. */
  partition(groupA: readonly EndPattern[], groupB: readonly EndPattern[]): Block {
    const cuts = groupA.flatMap((a) => groupB.map((b) => this.blockBoth(a, b)));
    return { remove: () => cuts.forEach((cut) => void cut.remove()) };
  }

  /** @internal Randomness of its own for one part, so that its draws do not disturb the others'. */
  fork(): Random {
    return seededRandom(randomInt(this.#random, 2 ** 32));
  }

  /** @internal */
  makeLink(options: Partial<LinkOptions> = {}): Link {
    return new Link({ ...this.#linkDefaults, ...options }, this.fork());
  }

  /** @internal Sends over a wire, then hands on. Each arrival has bytes of its own. */
  across(wire: LinkDirection, datagram: Datagram, arrive: (datagram: Datagram) => void): void {
    const verdict = wire.enter(this.clock.now(), datagram.data.length);
    if (verdict.kind === "lost") {
      this.dropped(datagram, verdict.reason);
      return;
    }
    for (const at of verdict.at) {
      const copy = { ...datagram, data: datagram.data.slice() };
      this.clock.schedule(at, () => arrive(copy));
    }
  }

  /** @internal */
  isBlocked(datagram: Datagram): boolean {
    for (const { from, to } of this.#blocks) {
      if (matches(from, datagram.from) && matches(to, datagram.to)) return true;
    }
    return false;
  }

  /** @internal */
  sent(datagram: Datagram): void {
    this.onEvent?.({ kind: "sent", at: this.clock.now(), datagram });
  }

  /** @internal */
  delivered(datagram: Datagram): void {
    this.onEvent?.({ kind: "delivered", at: this.clock.now(), datagram });
  }

  /** @internal */
  dropped(datagram: Datagram, reason: DropReason): void {
    this.drops.add(reason);
    this.onEvent?.({ kind: "dropped", at: this.clock.now(), datagram, reason });
  }
}

function matches(pattern: EndPattern | null, address: SocketAddress): boolean {
  if (pattern === null) return true;
  return typeof pattern === "string" ? pattern === address.ip : pattern.equals(address);
}
