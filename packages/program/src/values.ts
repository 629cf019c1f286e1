import { isIP } from "node:net";
import { AditError, formatIp, fromBase32, parseIp, parseSocketAddress, type SocketAddress } from "@adit/core";

/** Why a value was not taken, when there is more to say than what was expected. */
export class ValueError extends AditError {
  override readonly code = "bad-value";
}

/** How the text of one option or configuration value is read. */
export interface ValueType<T> {
  /** How it is written in a help text: `HOST:PORT`. */
  readonly placeholder: string;
  /** What is expected, after the words "expected ". */
  readonly expected: string;
  /** A bad one is not repeated in the message: always, or if it looks like one that is secret. */
  readonly secret?: boolean | ((text: string) => boolean);
  /** Null when the text is not what is expected. @throws ValueError when there is more to say. */
  parse(text: string): T | null;
}

const valueType = <T>(placeholder: string, expected: string, parse: (text: string) => T | null): ValueType<T> => ({
  placeholder,
  expected,
  parse,
});

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
/** 365 days: no timer of ours is longer, and it fits what timers can hold after being cut into pieces. */
const MAX_DURATION_MS = 365 * UNIT_MS.d;

/** A duration, in ms. */
export const duration: ValueType<number> = valueType("DURATION", "a duration such as 500ms, 10s, 5m or 24h", (text) => {
  const match = /^(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)$/.exec(text);
  if (!match) return null;
  const ms = Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS];
  return ms <= MAX_DURATION_MS ? ms : null;
});

export const count: ValueType<number> = valueType("N", "a whole number from 1 to 1000000", (text) =>
  /^[1-9]\d{0,6}$/.test(text) && Number(text) <= 1_000_000 ? Number(text) : null,
);

export const text: ValueType<string> = valueType("TEXT", "a text that is not empty", (value) => value || null);

export const filePath: ValueType<string> = valueType("FILE", "the path of a file", (value) => value || null);

export const directory: ValueType<string> = valueType("DIR", "the path of a directory", (value) => value || null);

/** One of a few words. */
export function oneOf<const W extends string>(words: readonly W[]): ValueType<W> {
  return valueType(
    words.join("|"),
    `one of ${words.join(", ")}`,
    (value) => words.find((word) => word === value) ?? null,
  );
}

export const ipAddress: ValueType<string> = valueType("IP", "an IP address such as 203.0.113.7", (value) => {
  const bytes = parseIp(value);
  return bytes ? formatIp(bytes) : null;
});

/** IP addresses that begin alike. */
export interface IpPrefix {
  /** 4 or 16 bytes; those behind the prefix do not matter. */
  readonly network: Uint8Array;
  /** In bits. */
  readonly length: number;
}

/** `10.0.0.0/8`, or one address. The prefix of IPv4-mapped IPv6 addresses is the IPv4 prefix that it is. */
export const ipPrefix: ValueType<IpPrefix> = valueType(
  "CIDR",
  "an IP prefix such as 10.0.0.0/8 or 2001:db8::/32, or an IP address",
  (value) => {
    const [ip = "", bits, ...rest] = value.split("/");
    const network = parseIp(ip);
    if (!network || rest.length > 0) return null;
    // An IPv4-mapped address is parsed to its 4 bytes, but its length counts from the front of 16.
    const mapped = network.length === 4 && ip.includes(":") ? 96 : 0;
    if (bits === undefined) return { network, length: network.length * 8 };
    if (!/^\d{1,3}$/.test(bits)) return null;
    const length = Number(bits) - mapped;
    return length >= 0 && length <= network.length * 8 ? { network, length } : null;
  },
);

/** `IP:port`, IPv6 in brackets; port 0 lets the system choose. */
export const socketAddress: ValueType<SocketAddress> = valueType(
  "ADDR:PORT",
  "IP:port such as 127.0.0.1:4433 or [::1]:4433",
  (value) => readSocketAddress(value),
);

export const socketAddressOrOff: ValueType<SocketAddress | "off"> = valueType(
  "ADDR:PORT|off",
  "IP:port such as 0.0.0.0:443, or off",
  (value) => (value === "off" ? "off" : readSocketAddress(value)),
);

/** `ADDR[:PORT]`: where the UDP socket binds; no port is port 0, the system's choice. */
export const bindAddress: ValueType<{ ip: string; port: number }> = valueType(
  "ADDR[:PORT]",
  "an IP address, with a port if need be, such as 192.0.2.1, 192.0.2.1:40000 or [2001:db8::1]:40000",
  (value) => {
    const bytes = parseIp(value.replace(/^\[([^\]]*)\]$/, "$1"));
    if (bytes) return { ip: formatIp(bytes), port: 0 };
    const address = readSocketAddress(value);
    return address ? { ip: address.ip, port: address.port } : null;
  },
);

/** First and last port, both included. */
export const portRange: ValueType<{ first: number; last: number }> = valueType(
  "FIRST-LAST",
  "a range of ports such as 49152-65535",
  (value) => {
    const match = /^(\d{1,5})-(\d{1,5})$/.exec(value);
    const [first, last] = [Number(match?.[1]), Number(match?.[2])];
    return match && first > 0 && first <= last && last <= 65_535 ? { first, last } : null;
  },
);

const NAME = /^[a-z0-9-]{1,40}$/;
const NAME_WORDS = "1 to 40 of a-z, 0-9 and -";

/** The name of a peer. */
export const peerName: ValueType<string> = valueType("NAME", `a name of ${NAME_WORDS}`, (value) =>
  NAME.test(value) ? value : null,
);

export const serviceName: ValueType<string> = {
  ...peerName,
  placeholder: "SERVICE",
  expected: `a service's name, ${NAME_WORDS}`,
};

/** Whether this is a PeerId: the base32 of 32 bytes, 52 characters. */
export const isPeerId = (value: string): boolean => value.length === 52 && fromBase32(value)?.length === 32;

/** A PeerId, or `any`. */
export const peerIdOrAny: ValueType<string> = valueType(
  "PEERID|any",
  "a PeerId (52 characters, as `adit-agent id` prints it) or any",
  (value) => (value === "any" || isPeerId(value) ? value : null),
);

/** A server that has no key of its own. */
export const hostPort: ValueType<{ readonly host: string; readonly port: number }> = valueType(
  "HOST:PORT",
  "HOST:PORT such as stun.example.org:3478",
  (value) => readHostPort(value),
);

/** Where to find an intermediate, and the key it must have when that was said. */
export interface IntermediateAddress {
  readonly peerId: string | null;
  /** An IP address (no brackets) or a host name in lower case. */
  readonly host: string;
  readonly port: number;
  /** `host:port` in one spelling: what its pin is filed under. */
  readonly key: string;
}

export const intermediateAddress: ValueType<IntermediateAddress> = valueType(
  "[PEERID@]HOST:PORT",
  "[PEERID@]HOST:PORT such as relay.example.org:4433",
  (value) => {
    const at = value.indexOf("@");
    const peerId = at < 0 ? null : value.slice(0, at);
    if (peerId !== null && !isPeerId(peerId)) throw new ValueError(`"${peerId}" is not a PeerId (52 characters)`);
    const place = readHostPort(value.slice(at + 1));
    return place && { peerId, ...place };
  },
);

/** What `--to` names. */
export type Target =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "peer"; readonly peerId: string }
  /** The text of a ticket. A secret. */
  | { readonly kind: "ticket"; readonly text: string };

/** What nothing but a ticket begins with that is longer than names and PeerIds are. */
const TICKET = /^adit1.{48}/is;

export const target: ValueType<Target> = {
  placeholder: "NAME|PEERID|TICKET",
  expected: `the name of a connector (${NAME_WORDS}), its PeerId (52 characters), or a ticket (adit1...)`,
  secret: (value) => TICKET.test(value),
  parse: (value) => {
    if (NAME.test(value)) return { kind: "name", name: value };
    if (isPeerId(value)) return { kind: "peer", peerId: value };
    if (!TICKET.test(value)) return null;
    if (!/^adit1[a-z2-7]{1,2043}$/.test(value))
      throw new ValueError("the ticket has characters that none has; copy it again, as one word in lower case");
    return { kind: "ticket", text: value };
  },
};

/** A service of a connector and the server behind it. */
export interface Exposure {
  readonly service: string;
  readonly protocol: "tcp" | "udp";
  readonly host: string;
  readonly port: number;
}

export const exposure: ValueType<Exposure> = valueType(
  "SERVICE=tcp://HOST:PORT|udp://HOST:PORT",
  "SERVICE=tcp://HOST:PORT or SERVICE=udp://HOST:PORT such as web=tcp://127.0.0.1:8080 or dns=udp://127.0.0.1:53",
  (value) => {
    const match = /^([^=]*)=([a-z]+):\/\/(.*)$/.exec(value);
    if (!match) return null;
    const [, service = "", protocol, place = ""] = match;
    const hostPort = readHostPort(place);
    if ((protocol !== "tcp" && protocol !== "udp") || !hostPort) return null;
    checkServiceName(service);
    return { service, protocol, host: hostPort.host, port: hostPort.port };
  },
);

/** A local listener and the service it leads to; port 0 lets the system choose. */
export interface LocalListener {
  readonly protocol: "tcp" | "udp";
  readonly address: SocketAddress;
  readonly service: string;
}

export const localListener: ValueType<LocalListener> = valueType(
  "[udp:][ADDR:]PORT=SERVICE",
  "[udp:][ADDR:]PORT=SERVICE such as 8080=web, 127.0.0.2:8080=web or udp:5353=dns",
  (value) => {
    const equals = value.lastIndexOf("=");
    if (equals < 0) return null;
    const protocol = value.startsWith("udp:") ? "udp" : "tcp";
    const place = value.slice(protocol === "udp" ? 4 : 0, equals);
    const address = readSocketAddress(/^\d+$/.test(place) ? `127.0.0.1:${place}` : place);
    if (!address) return null;
    const service = value.slice(equals + 1);
    checkServiceName(service);
    return { protocol, address, service };
  },
);

/** `NAME:PASSWORD` of a TURN user; the password is everything behind the first colon. */
export const userPassword: ValueType<{ name: string; password: string }> = {
  placeholder: "NAME:PASSWORD",
  expected: "NAME:PASSWORD",
  secret: true,
  parse: (value) => {
    const colon = value.indexOf(":");
    if (colon < 1 || colon === value.length - 1) return null;
    return { name: value.slice(0, colon), password: value.slice(colon + 1) };
  },
};

export const secretText: ValueType<string> = {
  placeholder: "SECRET",
  expected: "a secret that is not empty",
  secret: true,
  parse: (value) => value || null,
};

function checkServiceName(service: string): void {
  if (!NAME.test(service)) throw new ValueError(`"${service}" is not a service's name (${NAME_WORDS})`);
}

function readSocketAddress(value: string): SocketAddress | null {
  try {
    return parseSocketAddress(value);
  } catch {
    return null;
  }
}

/** RFC 1123 §2.1 host names; an underscore is let through, as resolvers do. */
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i;

function readHostPort(value: string): { host: string; port: number; key: string } | null {
  const address = readSocketAddress(value);
  if (address) return address.port === 0 ? null : { host: address.ip, port: address.port, key: address.key };
  const match = /^([^:]+):(\d{1,5})$/.exec(value);
  const host = match?.[1]?.toLowerCase() ?? "";
  const port = Number(match?.[2]);
  // 300.1.1.1 looks like an address and is none; as a name it would only fail to resolve, much later.
  if (!HOST_NAME.test(host) || /^[\d.]+$/.test(host) || isIP(host) !== 0) return null;
  return port >= 1 && port <= 65_535 ? { host, port, key: `${host}:${port}` } : null;
}
