import { lookup } from "node:dns/promises";
import { parseIp, SocketAddress } from "@adit/core";
import type { TurnTransport } from "../turn/options.ts";
import { IceConnectionError } from "./errors.ts";
import type { TurnServer } from "./gatherer.ts";
import type { TurnServerOptions } from "./options.ts";
import type { StreamServer } from "./turn-streams.ts";

/** A server as it was named. */
export interface ServerName {
  readonly host: string;
  readonly port: number;
  readonly transport: TurnTransport;
}

/** RFC 7064 §3.2, RFC 7065 §3.2: 3478, and 5349 over TLS. */
const DEFAULT_PORT = 3478;
const DEFAULT_TLS_PORT = 5349;

const HOST_PORT = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:[\]?@/]+))(?::(\d{1,5}))?$/;

/**
 * Reads `host:port`, or a URI: `stun:host[:port]` (RFC 7064), `turn:host[:port][?transport=udp|tcp]`, `turns:...` (RFC 7065), which is
 * TURN over TLS. IPv6 addresses stand in brackets.
 * @throws IceConnectionError `bad-server`.
 */
export function parseServer(text: string, kind: "stun" | "turn"): ServerName {
  const bad = (why: string) => new IceConnectionError("bad-server", `"${text}" ${why}`);
  const [, scheme = null, rest = ""] = /^(?:(stuns?|turns?):(?!\d{1,5}$))?(.*)$/is.exec(text) ?? [];
  const [authority = "", ...queries] = rest.split("?");
  const query = queries.join("?");
  const [, bracketed, name, digits] = HOST_PORT.exec(authority) ?? [];
  const host = bracketed ?? name;
  const port = digits === undefined ? null : Number(digits);
  if (host === undefined || (scheme === null && port === null)) {
    throw bad("is neither host:port (IPv6 addresses in brackets) nor a stun:, turn: or turns: URI");
  }
  if (port !== null && (port < 1 || port > 65_535)) throw bad("has a port that is none");
  const schemeName = scheme?.toLowerCase() ?? kind;
  const isTls = schemeName === "turns";
  if (schemeName !== kind && !(kind === "turn" && isTls)) {
    throw bad(
      `cannot serve as a ${kind.toUpperCase()} server${schemeName === "stuns" ? ": it is asked over UDP" : ""}`,
    );
  }
  const transport = /^transport=(udp|tcp)$/i.exec(query)?.[1]?.toLowerCase() ?? null;
  if (query !== "" && (transport === null || kind === "stun")) throw bad("has a query that means nothing");
  if (isTls && transport === "udp")
    throw bad("asks for TURN over DTLS, which is not supported; leave ?transport=udp away");
  const over = isTls ? "tls" : transport === "tcp" ? "tcp" : "udp";
  return { host, port: port ?? (isTls ? DEFAULT_TLS_PORT : DEFAULT_PORT), transport: over };
}

/** The addresses of a server, of each family the first. @throws IceConnectionError `bad-server`. */
export async function resolveAll({ host, port }: ServerName): Promise<readonly SocketAddress[]> {
  if (parseIp(host)) return [SocketAddress.of(host, port)];
  try {
    const found = (await lookup(host, { all: true })).map(({ address }) => SocketAddress.of(address, port));
    return found.filter(({ family }, index) => found.findIndex((one) => one.family === family) === index);
  } catch (cause) {
    throw new IceConnectionError("bad-server", `the server ${host} cannot be resolved; check its name`, { cause });
  }
}

export interface ResolvedTurnServers {
  /** Reached by UDP, an entry for each address. */
  readonly udp: readonly TurnServer[];
  readonly streams: readonly StreamServer[];
}

/** @throws IceConnectionError `bad-server`. */
export async function resolveTurnServers(servers: readonly TurnServerOptions[]): Promise<ResolvedTurnServers> {
  const named = servers.map((server) => ({ server, name: parseServer(server.address, "turn") }));
  const resolved = await Promise.all(
    named.map(async ({ server, name }) => ({ server, name, addresses: await resolveAll(name) })),
  );
  const udp: TurnServer[] = [];
  const streams: StreamServer[] = [];
  for (const { server, name, addresses } of resolved) {
    const { username, password, checkCertificate = null } = server;
    const { transport, host } = name;
    if (transport === "udp") udp.push(...addresses.map((address) => ({ address, username, password })));
    else {
      const serverName = parseIp(host) ? null : host;
      streams.push({ addresses, transport, serverName, checkCertificate, username, password });
    }
  }
  return { udp, streams };
}

/** The address of a STUN server. @throws IceConnectionError `bad-server`. */
export async function resolveServer(text: string): Promise<SocketAddress> {
  const [first] = await resolveAll(parseServer(text, "stun"));
  if (!first) throw new IceConnectionError("bad-server", `the server ${text} has no address`);
  return first;
}
