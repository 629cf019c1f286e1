import type { SocketAddress } from "@adit/core";
import { explainNat, type MappingBehavior, type NatReport } from "@adit/ice";
import {
  type Context,
  ExitError,
  type IntermediateAddress,
  intermediateOptions,
  loadIdentity,
  lockStateDir,
  Pins,
} from "@adit/program";
import { Identity } from "@adit/quic";
import type { Endpoint } from "@adit/transport";
import type { StartEndpoint } from "../link.ts";
import { askOverHttp, type HttpAnswer } from "./portal.ts";
import { addressesOf, askOverTcp, natSeenFrom, type Place, type StreamAnswer, tryPortMapping } from "./probes.ts";
import type { IntermediateFindings, NatFindings, NetcheckReport, PublicAddress } from "./report.ts";
import { expectation } from "./verdict.ts";
import { inWords } from "./words.ts";

export interface NetcheckValues {
  readonly intermediate: readonly IntermediateAddress[];
  readonly stun: readonly Place[];
  readonly portMapping: "on" | "off";
  readonly bindingLifetime: boolean;
  readonly json: boolean;
}

/** Signaling finds out within 3 s that it has to go over TLS. */
const CONNECT_MS = 5_000;
const POLL_MS = 20;
/** Where an intermediate's STUN server is, unless it says otherwise. */
const STUN_PORT = 3478;
const MAX_SERVERS = 4;

/**
 * `adit-agent netcheck`: what the network around lets sessions be. The exit status is 0 when sessions can be had, and 1 when nothing answers;
 * interrupted, it ends without a verdict.
 * @throws ExitError `usage` without a server to ask.
 */
export async function netcheck(start: StartEndpoint, values: NetcheckValues, context: Context): Promise<number> {
  if (values.intermediate.length === 0 && values.stun.length === 0) {
    throw new ExitError("usage", "netcheck asks a server: give --intermediate HOST:PORT or --stun HOST:PORT");
  }
  const began = performance.now();
  const router = values.portMapping === "on" ? tryPortMapping(context.log) : Promise.resolve(null);
  const meeting = await meetIntermediates(start, values, context);
  const servers = await serversToAsk(values, meeting.stunServers);
  const [natReports, streams, portMapping] = await Promise.all([
    Promise.all(servers.map((server) => natSeenFrom(server, values.bindingLifetime, context.signal))),
    Promise.all(servers.map(askOverTcp)),
    router,
  ]);
  // What was not answered by then says nothing of the network.
  if (context.signal.aborted) return 0;
  const { intermediates } = meeting;
  const found = digest(natReports, meeting);
  const isSilent = found.udp !== true && !tcpAnswers(streams, intermediates);
  const http: HttpAnswer = isSilent && servers[0] ? await askOverHttp(servers[0]) : { kind: "nothing" };
  const tcp = tcpFindings(streams, intermediates, http);
  // Where nothing of this network stands in for the server, and TCP does not get there either, it may as well be the server that is down.
  const udp = found.udp === false && isSilent && !tcp.intercepted ? null : found.udp;
  const { ipv4, ipv6, nat } = found;
  const known = { udp, ...tcp, ipv4, ipv6, nat, portMapping, intermediates };
  const report: NetcheckReport = {
    ...known,
    expect: expectation(known),
    unknown: [...unanswered(known.nat, natReports, servers), ...(http.kind === "page" ? [WHO_ANSWERS_HTTP] : [])],
    tookMs: Math.round(performance.now() - began),
  };
  context.print(values.json ? JSON.stringify(report) : inWords(report));
  return report.udp || report.tcp ? 0 : 1;
}

interface Meeting {
  readonly intermediates: readonly IntermediateFindings[];
  readonly stunServers: readonly SocketAddress[];
  /** By two ports of an intermediate. */
  readonly mapping: "eim" | "apdm" | "unknown";
  readonly udp: boolean | null;
}

/** Signs in at the intermediates as an agent does, for their round trips and what they tell, and leaves again. */
async function meetIntermediates(start: StartEndpoint, values: NetcheckValues, context: Context): Promise<Meeting> {
  if (values.intermediate.length === 0) return { intermediates: [], stunServers: [], mapping: "unknown", udp: null };
  // The key of a program that runs now is that program's: two connections with one key would replace each other.
  const lock = await lockStateDir(context.stateDir, context.program).catch(() => null);
  try {
    const identity = lock ? await loadIdentity(context.stateDir) : Identity.generate();
    const endpoint = await start({
      identity,
      role: "agent",
      ...intermediateOptions(new Pins(context.stateDir, context.program), values.intermediate),
      log: context.log,
    });
    try {
      return await meet(endpoint, context.signal);
    } finally {
      await endpoint.close("netcheck is done");
    }
  } finally {
    lock?.release();
  }
}

async function meet(endpoint: Endpoint, signal: AbortSignal): Promise<Meeting> {
  const giveUpAt = performance.now() + CONNECT_MS;
  let stopped = false;
  endpoint.onStopped = () => {
    stopped = true;
  };
  const isDone = (): boolean => {
    const { intermediates } = endpoint.status();
    const { network } = endpoint.surroundings();
    const measured = intermediates.every(({ connected, rttMs }) => connected && rttMs !== null);
    return stopped || signal.aborted || (measured && (network.mapping !== "unknown" || network.udp === "blocked"));
  };
  while (!isDone() && performance.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  const { intermediates } = endpoint.status();
  const { network, stunServers } = endpoint.surroundings();
  const someUdp = intermediates.some(({ transport }) => transport === "quic");
  return {
    intermediates: intermediates.map(({ address, connected, rttMs, transport }) => ({
      address,
      connected,
      rttMs,
      transport,
    })),
    stunServers,
    mapping: network.mapping,
    udp: someUdp ? true : network.udp === "blocked" ? false : null,
  };
}

/** Those that were named; else those that the intermediates named; else where they usually are. */
async function serversToAsk(
  { stun, intermediate }: NetcheckValues,
  said: readonly SocketAddress[],
): Promise<readonly SocketAddress[]> {
  const places =
    stun.length > 0 ? stun : said.length > 0 ? [] : intermediate.map(({ host }) => ({ host, port: STUN_PORT }));
  const addresses = stun.length > 0 || said.length === 0 ? (await Promise.all(places.map(addressesOf))).flat() : said;
  const byKey = new Map(addresses.map((address) => [address.key, address]));
  return [...byKey.values()].slice(0, MAX_SERVERS);
}

function digest(
  reports: readonly (NatReport | null)[],
  meeting: Meeting,
): Pick<NetcheckReport, "udp" | "ipv4" | "ipv6" | "nat"> {
  const answered = reports.filter(
    (report): report is NatReport => report?.mapped !== undefined && report?.mapped !== null,
  );
  const byFamily = (family: 4 | 6): PublicAddress | null => {
    const report = answered.find(({ mapped }) => mapped?.family === family);
    return report?.mapped ? { address: report.mapped.ip, nat: report.nat === true } : null;
  };
  // The one that could find out most; of IPv4 where there is one.
  const knows = ({ mapping, filtering, mapped }: NatReport) =>
    (mapped?.family === 4 ? 4 : 0) + (mapping ? 2 : 0) + (filtering ? 1 : 0);
  const best = answered.toSorted((a, b) => knows(b) - knows(a))[0];
  return {
    udp: answered.length > 0 || meeting.udp === true ? true : reports.length > 0 ? false : meeting.udp,
    ipv4: byFamily(4),
    ipv6: byFamily(6),
    nat: best ? natFindings(best, meeting.mapping) : null,
  };
}

function natFindings(report: NatReport, seenByPorts: Meeting["mapping"]): NatFindings {
  const fallback: MappingBehavior | null = seenByPorts === "unknown" ? null : seenByPorts === "eim" ? "EIM" : "APDM";
  const mapping = report.mapping ?? fallback;
  return {
    present: report.nat === true,
    mapping,
    filtering: report.filtering,
    portsPreserved: report.portsPreserved,
    portDelta: report.portDelta,
    hairpin: report.hairpin,
    bindingLifetime: report.lifetime,
    sentence: explainNat({ ...report, mapping }),
  };
}

const WHO_ANSWERS_HTTP =
  "whether a captive portal is in the way: something answers HTTP at the server's address; a browser shows what it is";

const tcpAnswers = (streams: readonly StreamAnswer[], intermediates: readonly IntermediateFindings[]): boolean =>
  intermediates.some(({ transport }) => transport === "tls") || streams.includes("answers");

function tcpFindings(
  streams: readonly StreamAnswer[],
  intermediates: readonly IntermediateFindings[],
  http: HttpAnswer,
): Pick<NetcheckReport, "tcp" | "intercepted" | "signIn"> {
  if (tcpAnswers(streams, intermediates)) return { tcp: true, intercepted: false, signIn: null };
  if (streams.length === 0) return { tcp: null, intercepted: null, signIn: null };
  const isPortal = http.kind === "portal";
  return {
    tcp: false,
    intercepted: isPortal || streams.includes("foreign"),
    signIn: isPortal ? http.signIn : null,
  };
}

function unanswered(
  nat: NatFindings | null,
  reports: readonly (NatReport | null)[],
  servers: readonly SocketAddress[],
): string[] {
  if (servers.length === 0) return ["the kind of NAT: no server's name leads to an address"];
  if (nat === null) return [];
  const unknown: string[] = [];
  const bySecond = reports.some((report) => report?.mapping);
  if (nat.present && nat.mapping === null)
    unknown.push("mapping: the server has no second address (RFC 5780; adit-intermediate --alternate-address)");
  else if (nat.present && nat.mapping === "EIM" && !bySecond)
    unknown.push("whether another host is shown another address (ADM): the server has no second address (RFC 5780)");
  if (nat.filtering === null)
    unknown.push(
      "filtering: it takes a server with a second address (RFC 5780; adit-intermediate --alternate-address)",
    );
  return unknown;
}
