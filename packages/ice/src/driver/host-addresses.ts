import { networkInterfaces } from "node:os";
import { classifyIp, ipInPrefix, parseIp } from "@adit/core";

/** More interface addresses than this are left alone. */
export const MAX_SOCKETS = 16;

/** The interfaces of this machine by name, as `os.networkInterfaces()` has them. */
export type Interfaces = NodeJS.Dict<readonly { readonly address: string }[]>;

const SITE_LOCAL = parseIp("fec0::") as Uint8Array;
const IPV4_COMPATIBLE = parseIp("::") as Uint8Array;

/**
 * The addresses that others may reach, the preferred first. RFC 8445 §5.1.1.1: no loopback addresses, no IPv6 site-local,
 * IPv4-mapped or IPv4-compatible ones, none that give the machine away where the interface has another. IPv6 link-local ones are left
 * out too, as a candidate cannot carry the zone that they need.
 */
export function hostAddresses(
  interfaces: Interfaces = networkInterfaces(),
  isWanted: (name: string) => boolean = () => true,
): string[] {
  const ips = Object.entries(interfaces)
    .filter(([name]) => isWanted(name))
    .flatMap(([, addresses]) =>
      withoutTrackable((addresses ?? []).map(({ address }) => address).filter(isCandidateIp)),
    );
  return interleaveFamilies([...new Set(ips)]).slice(0, MAX_SOCKETS);
}

/**
 * RFC 8421 §4: IPv6 first, but an IPv4 address after each (N4 + N6) / N4 IPv6 ones, so that a family that does not work does not
 * hold up the other. Two IPv4 and six IPv6 addresses give four IPv6, one IPv4, two IPv6, one IPv4.
 */
export function interleaveFamilies(ips: readonly string[]): string[] {
  const v6 = ips.filter((ip) => ip.includes(":"));
  const v4 = ips.filter((ip) => !ip.includes(":"));
  if (v4.length === 0) return v6;
  const headStart = Math.floor((v4.length + v6.length) / v4.length);
  const order: string[] = [];
  while (v6.length > 0 || v4.length > 0) order.push(...v6.splice(0, headStart), ...v4.splice(0, 1));
  return order;
}

function isCandidateIp(ip: string): boolean {
  const bytes = parseIp(ip);
  if (!bytes) return false; // with a zone
  const is = classifyIp(ip);
  if (is === "loopback" || is === "unspecified" || is === "multicast") return false;
  if (bytes.length === 4) return !ip.includes(":"); // IPv4-mapped
  return is !== "link-local" && !ipInPrefix(bytes, SITE_LOCAL, 10) && !ipInPrefix(bytes, IPV4_COMPATIBLE, 96);
}

/**
 * Of one interface. RFC 8445 §5.1.1.1: "host candidates that correspond to IPv6 addresses that do allow location tracking, are configured
 * on the same interface, and are part of the same network prefix MUST NOT be gathered" where there is one that does not.
 */
function withoutTrackable(ips: readonly string[]): readonly string[] {
  const isTwin = (trackable: Uint8Array) => (ip: string) => {
    const other = parseIp(ip);
    return other?.length === 16 && !isEui64(other) && ipInPrefix(other, trackable, 64);
  };
  return ips.filter((ip) => {
    const bytes = parseIp(ip);
    return !bytes || !isEui64(bytes) || !ips.some(isTwin(bytes));
  });
}

/** Whether an IPv6 address is made from the hardware address (modified EUI-64, RFC 4291 appendix A). */
const isEui64 = (bytes: Uint8Array): boolean => bytes.length === 16 && bytes[11] === 0xff && bytes[12] === 0xfe;
