import { isIPv6 } from "node:net";
import { AditError } from "./errors.ts";

/** 4 or 6: the address family of an IP address. */
export type IpFamily = 4 | 6;

/** What {@link parseSocketAddress} throws, code `bad-address`. */
export class AddressError extends AditError {
  override readonly code = "bad-address";
}

/**
 * An IP address and a UDP or TCP port.
 *
 * `ip` is canonical (dotted decimal; RFC 5952 text for IPv6), so two addresses are equal exactly when their `key`s are.
 */
export class SocketAddress {
  /** `ip:port`, IPv6 in brackets: the text form, and the key for maps. */
  readonly key: string;
  readonly ip: string;
  readonly port: number;
  readonly family: IpFamily;

  private constructor(ip: string, port: number, family: IpFamily) {
    this.ip = ip;
    this.port = port;
    this.family = family;
    this.key = family === 4 ? `${ip}:${port}` : `[${ip}]:${port}`;
  }

  /**
   * From an IP address in any textual spelling and a port. An IPv4-mapped IPv6 address becomes the IPv4 address that it is.
   * @throws AddressError `bad-address` when `ip` is no IP address or `port` is outside 0..65535.
   */
  static of(ip: string, port: number): SocketAddress {
    const hit = internedByIp.get(ip)?.get(port);
    if (hit) return hit;
    return intern(ip, port);
  }

  /**
   * From 4 or 16 bytes in network order and a port.
   * @throws AddressError `bad-address` for any other length.
   */
  static fromBytes(bytes: Uint8Array, port: number): SocketAddress {
    return SocketAddress.of(formatIp(bytes), port);
  }

  /** @internal Made by {@link SocketAddress.of} only, so that the text is canonical. */
  static make(ip: string, port: number, family: IpFamily): SocketAddress {
    return new SocketAddress(ip, port, family);
  }

  /** 4 or 16 bytes in network order. */
  get bytes(): Uint8Array {
    return parseIp(this.ip) as Uint8Array;
  }

  equals(other: SocketAddress | null | undefined): boolean {
    return this === other || (other != null && this.key === other.key);
  }

  withPort(port: number): SocketAddress {
    return SocketAddress.of(this.ip, port);
  }

  toString(): string {
    return this.key;
  }

  toJSON(): string {
    return this.key;
  }
}

/**
 * One object per address keeps the receive path free of allocation. Bounded: strangers choose source addresses, so when the
 * table is full it is emptied; the objects handed out stay valid, which is why equality is by `key`.
 */
const INTERNED_LIMIT = 65_536;
const internedByIp = new Map<string, Map<number, SocketAddress>>();
let internedCount = 0;

function intern(ip: string, port: number): SocketAddress {
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new AddressError(`port ${port} is outside 0..65535`);
  }
  const bytes = parseIp(ip);
  if (!bytes) throw new AddressError(`"${ip}" is not an IP address`);
  const canonical = formatIp(bytes);
  if (canonical !== ip) return SocketAddress.of(canonical, port);
  const address = SocketAddress.make(canonical, port, bytes.length === 4 ? 4 : 6);
  if (internedCount >= INTERNED_LIMIT) {
    internedByIp.clear();
    internedCount = 0;
  }
  let byPort = internedByIp.get(canonical);
  if (!byPort) {
    byPort = new Map();
    internedByIp.set(canonical, byPort);
  }
  byPort.set(port, address);
  internedCount++;
  return address;
}

/**
 * Reads `IP:port`, IPv6 in brackets. Host names are not resolved here.
 * @throws AddressError `bad-address` with what was expected.
 */
export function parseSocketAddress(text: string): SocketAddress {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const ip = match?.[1] ?? match?.[2];
  if (!match || ip === undefined || !parseIp(ip)) {
    throw new AddressError(`"${text}" is not IP:port (IPv6 in brackets, such as [2001:db8::1]:4433)`);
  }
  return SocketAddress.of(ip, Number(match[3]));
}

/** 4 or 16 bytes of an IP address's text; IPv4-mapped IPv6 gives 4; null when it is not one. A zone (`%eth0`) is not accepted. */
export function parseIp(text: string): Uint8Array | null {
  if (!text.includes(":")) return parseIpv4(text);
  const bytes = parseIpv6(text);
  return bytes && isV4Mapped(bytes) ? bytes.slice(12) : bytes;
}

/** `HOST:PORT`, an IPv6 address in brackets; the host may be a name. */
export const formatHostPort = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

/** The canonical text of 4 or 16 bytes: dotted decimal, or RFC 5952; IPv4-mapped IPv6 is written as the IPv4 address. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) throw new AddressError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
  if (isV4Mapped(bytes)) return bytes.subarray(12).join(".");
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i] as number) << 8) | (bytes[i + 1] as number));
  // RFC 5952 §4.2: the longest run of two or more zero groups becomes "::", the first one when several are as long.
  let bestStart = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === 0) length++;
    if (length > bestLength) [bestStart, bestLength] = [i, length];
    if (length > 0) i += length - 1;
  }
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(":");
  if (bestStart < 0) return hex(groups);
  return `${hex(groups.slice(0, bestStart))}::${hex(groups.slice(bestStart + bestLength))}`;
}

function parseIpv4(text: string): Uint8Array | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = parts[i] as string;
    // No leading zeros: some readers take them for octal, and an address must mean one thing.
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return null;
    bytes[i] = Number(part);
  }
  return bytes;
}

function parseIpv6(text: string): Uint8Array | null {
  if (!isIPv6(text) || text.includes("%")) return null;
  let rest = text;
  const tail: number[] = [];
  const lastColon = rest.lastIndexOf(":");
  if (rest.includes(".")) {
    const v4 = parseIpv4(rest.slice(lastColon + 1));
    if (!v4) return null;
    tail.push(((v4[0] as number) << 8) | (v4[1] as number), ((v4[2] as number) << 8) | (v4[3] as number));
    rest = rest.slice(0, lastColon);
    if (rest.endsWith(":")) rest += ":";
  }
  const halves = rest.split("::");
  if (halves.length > 2) return null;
  const read = (part: string): number[] | null => {
    if (part === "") return [];
    const groups: number[] = [];
    for (const group of part.split(":")) {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return null;
      groups.push(Number.parseInt(group, 16));
    }
    return groups;
  };
  const head = read(halves[0] as string);
  const after = halves.length === 2 ? read((halves[1] as string).replace(/:$/, "")) : [];
  if (!head || !after) return null;
  const known = head.length + after.length + tail.length;
  if (halves.length === 2 ? known > 7 : known !== 8) return null;
  const groups = [...head, ...new Array<number>(8 - known).fill(0), ...after, ...tail];
  const bytes = new Uint8Array(16);
  groups.forEach((group, i) => {
    bytes[i * 2] = group >> 8;
    bytes[i * 2 + 1] = group & 0xff;
  });
  return bytes;
}

function isV4Mapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false;
  return bytes.length === 16 && bytes[10] === 0xff && bytes[11] === 0xff;
}
