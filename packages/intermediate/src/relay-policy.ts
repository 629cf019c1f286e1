/**
 * Which peers a relay may reach for whom. A relay stands inside somebody's network: without this table it is a door into it.
 *
 * Two questions are asked of every peer address: what is it (denied classes, our own addresses), and whom is it relayed for
 * (credentials from signaling reach only session peers). They are asked when a permission is installed and again when data flows.
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
  | "own-address"
  | "no-port"
  | "not-a-session-peer";

export interface RelayPolicyOptions {
  /** `--allow-private-relay`: private and loopback addresses may be reached. Link-local (cloud metadata lives there) stays denied. */
  readonly allowPrivate: boolean;
  /** The IP address in XOR-RELAYED-ADDRESS. */
  readonly relayedIp: string;
  /** Every IP address of this host, as far as known, and the external one. */
  readonly ownIps: readonly string[];
  /** Sockets of this program that no relayed packet may reach. One on the unspecified address stands for every address of this host. */
  readonly services: readonly SocketAddress[];
  /** Whether this port of `relayedIp` is a live allocation. */
  isLivePort(port: number): boolean;
  /** Whether `ip` was observed of a peer that has a session with `peerId`. */
  isSessionPeer(peerId: string, ip: string): boolean;
}

export class RelayPolicy {
  readonly #options: RelayPolicyOptions;
  readonly #ownIps: ReadonlySet<string>;
  #version = 1;

  constructor(options: RelayPolicyOptions) {
    this.#options = options;
    this.#ownIps = new Set([...options.ownIps, options.relayedIp].map(reachedIp));
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
    if (ip === this.#options.relayedIp) return null;
    return this.#denyIp(ip) ?? this.#denyOwner(owner, ip);
  }

  /** Null when packets may be exchanged with `peer`. */
  denyPeer(owner: TurnOwner, peer: SocketAddress): RelayDenial | null {
    if (peer.port === 0) return "no-port";
    if (peer.ip === this.#options.relayedIp && this.#options.isLivePort(peer.port)) return null;
    if (this.#isService(peer)) return "own-address";
    return this.#denyIp(peer.ip) ?? this.#denyOwner(owner, peer.ip);
  }

  #denyIp(ip: string): RelayDenial | null {
    const is = classifyIp(ip);
    if (is === "public") return this.#ownIps.has(reachedIp(ip)) ? "own-address" : null;
    if (is === "loopback" || is === "private") return this.#options.allowPrivate ? null : is;
    return is;
  }

  #denyOwner(owner: TurnOwner, ip: string): RelayDenial | null {
    if (owner.kind === "foreign" || this.#options.isSessionPeer(owner.peerId, ip)) return null;
    return "not-a-session-peer";
  }

  #isService(peer: SocketAddress): boolean {
    return this.#options.services.some((service) => {
      if (service.port !== peer.port) return false;
      const ip = reachedIp(peer.ip);
      if (classifyIp(service.ip) !== "unspecified") return service.ip === ip;
      return this.#ownIps.has(ip) || classifyIp(ip) === "loopback";
    });
  }
}

const NAT64 = parseIp("64:ff9b::") as Uint8Array;
const SIX_TO_FOUR = parseIp("2002::") as Uint8Array;

/** The IPv4 address that a NAT64 (RFC 6052 §2.1) or 6to4 (RFC 3056 §2) address leads to; any other address as it is. */
function reachedIp(ip: string): string {
  const bytes = parseIp(ip);
  if (bytes?.length !== 16) return ip;
  if (ipInPrefix(bytes, NAT64, 96)) return formatIp(bytes.slice(12));
  if (ipInPrefix(bytes, SIX_TO_FOUR, 16)) return formatIp(bytes.slice(2, 6));
  return ip;
}
