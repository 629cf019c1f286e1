import { parseIp } from "./address.ts";

/** What an IP address is for, as far as a relay or a candidate filter cares (RFC 6890 and its registries). */
export type IpClass =
  | "unspecified"
  | "loopback"
  | "link-local"
  | "private"
  | "multicast"
  | "broadcast"
  | "reserved"
  | "public";

/**
 * The class of an IP address, numerically. IPv4 inside IPv6 (mapped, NAT64 64:ff9b::/96, 6to4 2002::/16) is judged as the
 * IPv4 address that traffic would reach.
 */
export function classifyIp(ip: string): IpClass {
  const bytes = parseIp(ip);
  if (!bytes) return "reserved";
  if (bytes.length === 4) return classifyV4(bytes);
  const embedded = embeddedV4(bytes);
  return embedded ? classifyV4(embedded) : classifyV6(bytes);
}

const V4: readonly (readonly [string, number, IpClass])[] = [
  ["0.0.0.0", 8, "unspecified"],
  ["10.0.0.0", 8, "private"],
  ["100.64.0.0", 10, "private"], // RFC 6598 shared address space (carrier NAT)
  ["127.0.0.0", 8, "loopback"],
  ["169.254.0.0", 16, "link-local"],
  ["172.16.0.0", 12, "private"],
  ["192.0.0.0", 24, "reserved"],
  ["192.0.2.0", 24, "reserved"],
  ["192.88.99.0", 24, "reserved"], // 6to4 relays, deprecated by RFC 7526
  ["192.168.0.0", 16, "private"],
  ["198.18.0.0", 15, "reserved"],
  ["198.51.100.0", 24, "reserved"],
  ["203.0.113.0", 24, "reserved"],
  ["224.0.0.0", 4, "multicast"],
  ["255.255.255.255", 32, "broadcast"],
  ["240.0.0.0", 4, "reserved"],
];

const V6: readonly (readonly [string, number, IpClass])[] = [
  ["::", 128, "unspecified"],
  ["::1", 128, "loopback"],
  ["fe80::", 10, "link-local"],
  ["fec0::", 10, "private"], // site-local, deprecated by RFC 3879 but still routed here and there
  ["fc00::", 7, "private"],
  ["ff00::", 8, "multicast"],
  ["2001::", 23, "reserved"], // IETF protocol assignments: Teredo (RFC 4380), ORCHID, benchmarking; no hosts of the internet
  ["2001:db8::", 32, "reserved"],
  ["3fff::", 20, "reserved"], // documentation, RFC 9637
  ["100::", 64, "reserved"],
  ["2000::", 3, "public"],
  ["::", 0, "reserved"],
];

/** Whether `ip` lies in `network/prefixLength`, compared numerically. Families never mix. */
export function ipInPrefix(ip: Uint8Array, network: Uint8Array, prefixLength: number): boolean {
  if (ip.length !== network.length) return false;
  const whole = prefixLength >> 3;
  for (let i = 0; i < whole; i++) if (ip[i] !== network[i]) return false;
  const bits = prefixLength & 7;
  if (bits === 0) return true;
  const mask = (0xff << (8 - bits)) & 0xff;
  return ((ip[whole] as number) & mask) === ((network[whole] as number) & mask);
}

const compile = (table: typeof V4) =>
  table.map(([network, length, is]) => ({ network: parseIp(network) as Uint8Array, length, is }));
const v4Table = compile(V4);
const v6Table = compile(V6);

function classifyV4(bytes: Uint8Array): IpClass {
  return v4Table.find(({ network, length }) => ipInPrefix(bytes, network, length))?.is ?? "public";
}

function classifyV6(bytes: Uint8Array): IpClass {
  return v6Table.find(({ network, length }) => ipInPrefix(bytes, network, length))?.is ?? "reserved";
}

const NAT64 = parseIp("64:ff9b::") as Uint8Array;
const SIX_TO_FOUR = parseIp("2002::") as Uint8Array;

function embeddedV4(bytes: Uint8Array): Uint8Array | null {
  if (ipInPrefix(bytes, NAT64, 96)) return bytes.slice(12); // RFC 6052 §2.1
  if (ipInPrefix(bytes, SIX_TO_FOUR, 16)) return bytes.slice(2, 6); // RFC 3056 §2
  return null;
}
