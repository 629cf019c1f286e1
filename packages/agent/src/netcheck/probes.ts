import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { type Logger, parseIp, SocketAddress as Socket, type SocketAddress, systemRandom } from "@adit/core";
import {
  connectStunStream,
  decodeStun,
  discoverNat,
  explainPortMap,
  type NatReport,
  PortMapping,
  STUN_METHOD,
  StunBuilder,
  StunStreamError,
} from "@adit/ice";
import { localAddresses } from "@adit/transport";
import type { PortMappingFindings } from "./report.ts";

/** No answer to four requests within 1.5 s is none: the questions whose answer may be silence are up to three. */
const TIMING = { rtoMs: 150, maxRequests: 4, lastWaitFactor: 3 } as const;
const STREAM_MS = 2_000;
const ROUTER_MS = 3_500;
/** RFC 4787 §4.3, REQ-5: a mapping "MUST NOT expire in less than two minutes"; what outlives that by half is long enough. */
const LIFETIME = { maxMs: 180_000, resolutionMs: 10_000 } as const;

export interface Place {
  readonly host: string;
  readonly port: number;
}

/** A server's addresses, the first of each family. None: the name leads nowhere. */
export async function addressesOf({ host, port }: Place): Promise<readonly SocketAddress[]> {
  if (parseIp(host)) return [Socket.of(host, port)];
  const found = await lookup(host, { all: true, verbatim: true }).catch(() => []);
  const addresses = found.map(({ address }) => Socket.of(address, port));
  const first = ([4, 6] as const).flatMap((family) => addresses.find((one) => one.family === family) ?? []);
  return first.filter(({ family }) => family === 4 || localAddresses({ family: 6 }).length > 0);
}

/** Null: it was aborted, or this host has no way there. */
export async function natSeenFrom(
  server: SocketAddress,
  measuresLifetime: boolean,
  signal: AbortSignal,
): Promise<NatReport | null> {
  const lifetime = measuresLifetime ? { lifetime: LIFETIME } : {};
  return await discoverNat({ server: server.key, timing: TIMING, signal, ...lifetime }).catch(() => null);
}

/** `silent`: connected, and nothing came. `foreign`: what came is no STUN. */
export type StreamAnswer = "answers" | "silent" | "foreign" | "unreachable";

/** Asks a STUN server over TCP. */
export async function askOverTcp(server: SocketAddress): Promise<StreamAnswer> {
  const request = new StunBuilder("request", STUN_METHOD.BINDING, systemRandom.bytes(12)).build({ fingerprint: true });
  let answered: (answer: StreamAnswer) => void = () => {};
  const answer = new Promise<StreamAnswer>((resolve) => {
    answered = resolve;
  });
  try {
    const stream = await connectStunStream({
      server,
      timeoutMs: STREAM_MS,
      onMessage: (data) => answered(decodeStun(data) ? "answers" : "foreign"),
      onClosed: (reason) => answered(reason.includes("neither STUN") ? "foreign" : "silent"),
    });
    stream.send(request);
    const timer = setTimeout(() => answered("silent"), STREAM_MS);
    const came = await answer;
    clearTimeout(timer);
    stream.close();
    return came;
  } catch (error) {
    if (error instanceof StunStreamError) return "unreachable";
    throw error;
  }
}

/** Has the router map a port for a moment, and tells what came of it. */
export async function tryPortMapping(log: Logger): Promise<PortMappingFindings> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve, reject) => socket.once("error", reject).bind(0, () => resolve()));
  let settled: () => void = () => {};
  const over = new Promise<void>((resolve) => {
    settled = resolve;
  });
  const mapping = new PortMapping({
    internalPort: socket.address().port,
    description: "adit netcheck",
    log,
    onChange: ({ isSettled }) => {
      if (isSettled) settled();
    },
  });
  const timer = setTimeout(() => settled(), ROUTER_MS);
  try {
    await over;
    const { report } = mapping;
    const { gateway, lease, protocols } = report;
    return {
      gateway,
      external: lease?.external ?? null,
      public: lease?.isPublic ?? null,
      protocols: protocols.map(({ protocol, status }) => ({
        protocol,
        available: status.kind === "probing" ? null : status.kind !== "absent",
        why: "why" in status ? status.why : status.kind === "probing" ? "no answer so far" : null,
      })),
      sentence: explainPortMap({ ...report, isSettled: true }),
    };
  } finally {
    clearTimeout(timer);
    await mapping.close();
    socket.close();
  }
}
