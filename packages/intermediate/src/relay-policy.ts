/**
 * Which peers a relay may reach for whom. A relay stands inside somebody's network: without this table it is a door into it.
 *
 * Two questions are asked of every peer address: what is it (the operator's lists, denied classes, our own addresses), and whom is it
 * relayed for (credentials from signaling reach only session peers). They are asked when a permission is installed and again when data
 * flows.
 */
import { classifyIp, formatIp, ipInPrefix, parseIp, type SocketAddress } from "@adit/core";

/** Who holds the credentials of an allocation. `key` is equal for the same holder, whatever the expiry in the user name. */
export type TurnOwner =
  | { readonly kind: "peer"; readonly key: string; readonly peerId: string }
  | { readonly kind: "foreign"; readonly key: string };

export type RelayDenial =
  | "unspecified"
  | "loopback"
  | "private"
  | "link-local"
  | "multicast"
  | "broadcast"
  | "reserved"
  | "metadata"
  | "denied-list"
  | "own-address"
  | "no-port"
  | "not-a-session-peer";

/** IP addresses that begin alike. */
export interface Prefix {
  /** 4 or 16 bytes. */
  readonly network: Uint8Array;
  /** In bits. */
  readonly length: number;
}

export interface RelayPolicyOptions {
  /** `--allow-private-relay`: private and loopback addresses may be reached. Link-local stays denied. */
  readonly allowPrivate: boolean;
  /** `--relay-allow` and `--relay-deny`: the longest prefix counts, and of equally long ones the denial. */
  readonly allow?: readonly Prefix[];
  readonly deny?: readonly Prefix[];
  /** The IP addresses in XOR-RELAYED-ADDRESS. */
  readonly relayedIps: readonly string[];
  /** Every IP address of this host, as far as known, and the external ones. */
  readonly ownIps: readonly string[];
  /** Sockets of this program that no relayed packet may reach. One on the unspecified address stands for every address of this host. */
  readonly services: readonly SocketAddress[];
  /** Whether this is the relayed address of a live allocation. */
  isLive(address: SocketAddress): boolean;
  /** Whether `ip` was observed of a peer that has a session with `peerId`. */
  isSessionPeer(peerId: string, ip: string): boolean;
}

/**
 * Where clouds tell a host its secrets without asking who it is. Some lie among private addresses, one among public ones, so no class
 * covers them; and no list of an operator lifts them.
 */
const METADATA: ReadonlySet<string> = new Set([
  "169.254.169.254", // AWS, Google, Azure, Hetzner, DigitalOcean, Oracle, OpenStack
  "169.254.170.2", // AWS, containers
  "169.254.170.23", // AWS, pods
  "169.254.42.42", // Scaleway
  "100.100.100.200", // Alibaba
  "192.0.0.192", // Oracle
  "168.63.129.16", // Azure's host
  "fd00:ec2::254", // AWS
  "fd00:ec2::23", // AWS, pods
  "fd20:ce::254", // Google
  "fd00:42::42", // Scaleway
]);

/** What no list of an operator lifts: nothing good is there for a relay. */
const NEVER: ReadonlySet<RelayDenial> = new Set(["unspecified", "multicast", "broadcast"]);

export class RelayPolicy {
  readonly #options: RelayPolicyOptions;
  #ownIps: ReadonlySet<string> = new Set();
  readonly #relayedIps: ReadonlySet<string>;
  readonly #lists: readonly { readonly prefix: Prefix; readonly allow: boolean }[];
  #version = 1;

  constructor(options: RelayPolicyOptions) {
    const { ownIps, relayedIps, allow = [], deny = [] } = options;
    this.#options = options;
    this.setOwnIps(ownIps);
    this.#relayedIps = new Set(relayedIps);
    this.#lists = [
      ...deny.map((prefix) => ({ prefix, allow: false })),
      ...allow.map((prefix) => ({ prefix, allow: true })),
    ].sort((a, b) => b.prefix.length - a.prefix.length); // stable: of equally long ones the denials stay first
  }

  /** The addresses of this host are others now: DHCP gave it one, or IPv6 its temporary one of the day (RFC 8981). */
  setOwnIps(ips: readonly string[]): void {
    const own = new Set([...ips, ...this.#options.relayedIps].flatMap(reachedIps));
    if (own.size === this.#ownIps.size && [...own].every((ip) => this.#ownIps.has(ip))) return;
    this.#ownIps = own;
    this.#version++;
  }

  /** Grows whenever an answer may have changed, so that the answer for a flow can be kept between packets. */
  get version(): number {
    return this.#version;
  }

  /** To be called when sessions, observed addresses or allocations change. */
  invalidate(): void {
    this.#version++;
  }

  /** Null when a permission for `ip` may be installed. Permissions have no port (RFC 8656 §9), so our own IP passes for its live allocations. */
  denyPermission(owner: TurnOwner, ip: string): RelayDenial | null {
    if (this.#relayedIps.has(ip)) return null;
    return this.#denyIp(ip) ?? this.#denyOwner(owner, ip);
  }

  /** Null when packets may be exchanged with `peer`. */
  denyPeer(owner: TurnOwner, peer: SocketAddress): RelayDenial | null {
    if (peer.port === 0) return "no-port";
    if (this.#options.isLive(peer)) return null;
    if (this.#isService(peer)) return "own-address";
    return this.#denyIp(peer.ip) ?? this.#denyOwner(owner, peer.ip);
  }

  /** An address is judged as what it leads to; a list may name either. */
  #denyIp(ip: string): RelayDenial | null {
    const forms = reachedIps(ip).map((form) => ({ denial: this.#denyClass(form), listed: this.#listed(form) }));
    for (const { denial } of forms) if (denial === "metadata" || (denial && NEVER.has(denial))) return denial;
    if (this.#listed(ip) === "deny" || forms.some(({ listed }) => listed === "deny")) return "denied-list";
    return forms.find(({ denial, listed }) => denial !== null && listed !== "allow")?.denial ?? null;
  }

  #denyClass(ip: string): RelayDenial | null {
    if (METADATA.has(ip)) return "metadata";
    const is = classifyIp(ip);
    if (is === "public") return this.#ownIps.has(ip) ? "own-address" : null;
    if (is === "loopback" || is === "private") return this.#options.allowPrivate ? null : is;
    return is;
  }

  #listed(ip: string): "allow" | "deny" | null {
    if (this.#lists.length === 0) return null;
    const bytes = parseIp(ip);
    const hit = bytes && this.#lists.find(({ prefix }) => ipInPrefix(bytes, prefix.network, prefix.length));
    return hit ? (hit.allow ? "allow" : "deny") : null;
  }

  #denyOwner(owner: TurnOwner, ip: string): RelayDenial | null {
    if (owner.kind === "foreign" || this.#options.isSessionPeer(owner.peerId, ip)) return null;
    return "not-a-session-peer";
  }

  #isService(peer: SocketAddress): boolean {
    return this.#options.services.some((service) => {
      if (service.port !== peer.port) return false;
      const ips = reachedIps(peer.ip);
      if (classifyIp(service.ip) !== "unspecified") return ips.includes(service.ip);
      return ips.some((ip) => this.#ownIps.has(ip) || classifyIp(ip) === "loopback");
    });
  }
}

/** The addresses that stand for one of IPv4, and where in them it stands. */
const EMBEDDING: readonly { readonly network: Uint8Array; readonly length: number; readonly at: number }[] = [
  { network: parseIp("64:ff9b::") as Uint8Array, length: 96, at: 12 }, // NAT64, RFC 6052 §2.1
  { network: parseIp("2002::") as Uint8Array, length: 16, at: 2 }, // 6to4, RFC 3056 §2
];

/** NAT64 prefixes of a site's own choice, RFC 8215. */
const LOCAL_NAT64 = Uint8Array.of(0, 0x64, 0xff, 0x9b, 0, 1);

/**
 * What leads to an IPv4 address where a site has set it up so, and else to itself: it has `bytes` from byte `from` on, and the IPv4 address at
 * `places`. How long a site's NAT64 prefix is nobody tells: RFC 6052 §2.2 has these places, around byte 8.
 */
const MAYBE_EMBEDDING: readonly {
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly places: readonly number[];
}[] = [
  { bytes: LOCAL_NAT64, from: 0, places: [6, 7, 9, 10] },
  { bytes: LOCAL_NAT64, from: 0, places: [7, 9, 10, 11] },
  { bytes: LOCAL_NAT64, from: 0, places: [9, 10, 11, 12] },
  { bytes: LOCAL_NAT64, from: 0, places: [12, 13, 14, 15] },
  { bytes: new Uint8Array(12), from: 0, places: [12, 13, 14, 15] }, // IPv4-compatible, RFC 4291 §2.5.5.1
  { bytes: Uint8Array.of(0xff, 0xff, 0, 0), from: 8, places: [12, 13, 14, 15] }, // IPv4-translated, RFC 2765 §2.1
  { bytes: Uint8Array.of(0, 0, 0x5e, 0xfe), from: 8, places: [12, 13, 14, 15] }, // ISATAP, RFC 5214 §6.1
  { bytes: Uint8Array.of(2, 0, 0x5e, 0xfe), from: 8, places: [12, 13, 14, 15] },
];

/** What an address leads to: itself; or the IPv4 address in it, if it is one of NAT64 or 6to4; or any of several that may be meant. */
function reachedIps(ip: string): readonly string[] {
  const bytes = parseIp(ip);
  if (bytes?.length !== 16) return [ip];
  const embedded = EMBEDDING.find(({ network, length }) => ipInPrefix(bytes, network, length));
  if (embedded) return [formatIp(bytes.slice(embedded.at, embedded.at + 4))];
  const meant = MAYBE_EMBEDDING.filter((one) => one.bytes.every((byte, i) => bytes[one.from + i] === byte));
  const readings = meant.map(({ places }) => formatIp(bytes.filter((_, i) => places.includes(i))));
  // Where it does not stand there are zeros.
  return [ip, ...readings.filter((reading) => classifyIp(reading) !== "unspecified")];
}
