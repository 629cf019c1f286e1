import { classifyIp, type IpFamily, ipInPrefix, parseIp, SocketAddress } from "@adit/core";
import { type Interfaces, SystemInterfaces } from "./system-interfaces.ts";

export interface LocalAddress {
  /** Canonical text. */
  readonly ip: string;
  readonly family: IpFamily;
  /** The interface's name, as the system has it. */
  readonly interface: string;
}

export interface LocalAddressOptions {
  /** Both families unless given. */
  readonly family?: IpFamily;
  /** Only for those who ask: "Addresses from a loopback interface MUST NOT be included in the candidate addresses" (RFC 8445 §5.1.1.1). */
  readonly includeLoopback?: boolean;
  /** Where the addresses come from; the system unless given. */
  readonly interfaces?: Interfaces;
}

const system = new SystemInterfaces();

/** More addresses than this make more pairs than a checklist holds (RFC 8445 §6.1.2.5: 100), and help nobody. */
export const MAX_LOCAL_ADDRESSES = 16;

/**
 * Interfaces that lead to containers and virtual machines on this same host. Their addresses are the same on many hosts
 * (172.17.0.1), so that a check to one reaches a stranger there, or this very machine.
 */
const VIRTUAL_INTERFACE =
  /^(docker\d|br-[0-9a-f]{12}$|veth|virbr\d|vboxnet\d|vmnet\d|cni\d|cali|flannel|lxcbr\d|lxdbr\d|podman\d)/;

/**
 * The addresses of this machine that may become host candidates, by RFC 8445 §5.1.1.1: no loopback unless asked for, no
 * deprecated "IPv4-compatible IPv6 addresses [RFC4291] and IPv6 site-local unicast addresses [RFC3879]", no IPv4-mapped ones, no
 * IPv6 link-local ones (they mean nothing without a zone, which a candidate cannot carry), none that allow location tracking
 * where the interface has one in the same /64 that does not, and none of bridges to containers.
 * Each once, IPv6 before IPv4, otherwise in the system's order; at most {@link MAX_LOCAL_ADDRESSES}.
 */
export function localAddresses(options: LocalAddressOptions = {}): LocalAddress[] {
  const found = new Map<string, LocalAddress>();
  for (const [name, addresses] of Object.entries(options.interfaces ?? system.current())) {
    for (const { address, internal } of addresses ?? []) {
      if (isCandidate(name, address, internal, options.includeLoopback ?? false)) {
        const { ip, family } = SocketAddress.of(address, 0);
        if (!found.has(ip)) found.set(ip, { ip, family, interface: name });
      }
    }
  }
  return [...found.values()]
    .filter((one, _, all) => !isTrackableTwin(one, all))
    .filter(({ family }) => options.family === undefined || options.family === family)
    .sort((a, b) => b.family - a.family)
    .slice(0, MAX_LOCAL_ADDRESSES);
}

function isCandidate(name: string, address: string, internal: boolean, includeLoopback: boolean): boolean {
  const bytes = parseIp(address);
  if (!bytes || (bytes.length === 4 && address.includes(":"))) return false; // a zone, or IPv4-mapped
  const kind = classifyIp(address);
  if (kind === "loopback") return includeLoopback;
  if (internal || VIRTUAL_INTERFACE.test(name)) return false;
  if (kind === "unspecified" || kind === "multicast" || kind === "broadcast") return false;
  // RFC 8445 leaves IPv4 link-local in: two machines on a cable without DHCP have nothing else.
  if (bytes.length === 16) return kind !== "link-local" && !isDeprecatedV6(bytes);
  return true;
}

/** Site-local fec0::/10, and IPv4-compatible ::/96. */
function isDeprecatedV6(bytes: Uint8Array): boolean {
  const siteLocal = bytes[0] === 0xfe && ((bytes[1] as number) & 0xc0) === 0xc0;
  return siteLocal || bytes.subarray(0, 12).every((byte) => byte === 0);
}

/**
 * Whether an IPv6 address is made from the hardware address (modified EUI-64, RFC 4291 Appendix A) while its interface has
 * another in the same /64 that is not: "host candidates that correspond to IPv6 addresses that do allow location tracking, are
 * configured on the same interface, and are part of the same network prefix MUST NOT be gathered".
 */
function isTrackableTwin(one: LocalAddress, all: readonly LocalAddress[]): boolean {
  const bytes = eui64Bytes(one);
  return (
    bytes !== null &&
    all.some(
      (other) =>
        other.interface === one.interface &&
        other.family === 6 &&
        eui64Bytes(other) === null &&
        ipInPrefix(SocketAddress.of(other.ip, 0).bytes, bytes, 64),
    )
  );
}

/** The bytes of an address with ff:fe in the middle of its interface identifier, else null. */
function eui64Bytes({ ip, family }: LocalAddress): Uint8Array | null {
  if (family !== 6) return null;
  const { bytes } = SocketAddress.of(ip, 0);
  return bytes[11] === 0xff && bytes[12] === 0xfe ? bytes : null;
}

/** The machine's addresses as text: the same text for the same addresses. */
export function describeAddresses(): string {
  return localAddresses()
    .map(({ interface: name, ip }) => `${name} ${ip}`)
    .sort()
    .join(", ");
}

/** One socket per address family, for IPv6 only where an address of it could lead anywhere; with an address to bind to, that one alone. */
export function placesToBind(bind?: { readonly ip: string; readonly port: number }) {
  if (bind) return [bind];
  const v4 = { ip: "0.0.0.0", port: 0 };
  return localAddresses({ family: 6 }).length > 0 ? [v4, { ip: "::", port: 0 }] : [v4];
}
