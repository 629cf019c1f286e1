import { parseIp, SocketAddress } from "@adit/core";
import type { Candidate, CandidateType, TcpType } from "./candidate.ts";
import { type IceParameters, isValidParameters } from "./parameters.ts";

/** A candidate attribute with every field as it was written (RFC 8839 §5.1): formatting what was parsed gives the same text. */
export interface CandidateAttribute {
  /** 1..32 ice-chars. */
  readonly foundation: string;
  /** 1 for RTP or what is multiplexed with it, 2 for RTCP; up to 256 (RFC 8839 §5.1). */
  readonly component: number;
  /** `udp`, `UDP`, `tcp`, ... */
  readonly transport: string;
  /** 1..2^31-1. */
  readonly priority: number;
  /** An IP address, or a name such as mDNS has. */
  readonly address: string;
  /** 0..65535; 9 for active TCP candidates (RFC 6544 §4.5). */
  readonly port: number;
  /** `host`, `srflx`, `prflx`, `relay`, or what others invent. */
  readonly type: string;
  /** `raddr`; null when there is none. */
  readonly relatedAddress: string | null;
  /** `rport`; null when there is none. */
  readonly relatedPort: number | null;
  /** Pairs of name and value, in their order: `tcptype`, `generation`, `ufrag`, `network-cost`, ... */
  readonly extensions: readonly (readonly [name: string, value: string])[];
}

const CANDIDATE =
  /^(?:a=)?candidate:([A-Za-z0-9+/]{1,32}) (\d{1,3}) ([^\s:]+) (\d{1,10}) (\S+) (\d{1,5}) typ (\S+)((?: \S+)*)$/i;

/** Reads a candidate attribute, with or without `a=`. Null when it is malformed. */
export function parseCandidateAttribute(text: string): CandidateAttribute | null {
  const match = CANDIDATE.exec(text.trim());
  if (!match) return null;
  const [, foundation = "", component, transport = "", priority, address = "", port, type = "", rest = ""] = match;
  const words = rest.split(" ").slice(1);
  if (words.length % 2 !== 0) return null;
  const extensions: [string, string][] = [];
  for (let i = 0; i < words.length; i += 2) extensions.push([words[i] ?? "", words[i + 1] ?? ""]);
  const relatedAddress = extensions[0]?.[0] === "raddr" ? (extensions.shift()?.[1] ?? null) : null;
  const relatedPort = extensions[0]?.[0] === "rport" ? Number(extensions.shift()?.[1]) : null;
  const ports = [Number(port), relatedPort ?? 0];
  if (!ports.every((one) => Number.isInteger(one) && one >= 0 && one <= 65_535)) return null;
  return {
    foundation,
    component: Number(component),
    transport,
    priority: Number(priority),
    address,
    port: Number(port),
    type,
    relatedAddress,
    relatedPort,
    extensions,
  };
}

/** The text of a candidate attribute, without `a=`. */
export function formatCandidateAttribute(c: CandidateAttribute): string {
  const words = [c.foundation, c.component, c.transport, c.priority, c.address, c.port, "typ", c.type];
  if (c.relatedAddress !== null) words.push("raddr", c.relatedAddress);
  if (c.relatedPort !== null) words.push("rport", c.relatedPort);
  return `candidate:${[...words, ...c.extensions.flat()].join(" ")}`;
}

/**
 * What an agent can use. Null: another component or transport, a name in place of an address, a type or a priority that is none, TCP
 * without a `tcptype` (RFC 6544 §4.5).
 */
export function candidateOf(attribute: CandidateAttribute): Candidate | null {
  const { foundation, component, priority, type, relatedAddress, relatedPort } = attribute;
  const address = socketAddress(attribute.address, attribute.port);
  if (component !== 1 || !address || !isCandidateType(type)) return null;
  if (priority < 1 || priority > 2 ** 31 - 1) return null;
  const related = relatedAddress === null ? null : socketAddress(relatedAddress, relatedPort ?? 0);
  const candidate = { foundation, component: 1, priority, address, type, related } as const;
  switch (attribute.transport.toLowerCase()) {
    case "udp":
      return { ...candidate, transport: "udp" };
    case "tcp": {
      const tcpType = attribute.extensions.find(([name]) => name === "tcptype")?.[1];
      return isTcpType(tcpType) ? { ...candidate, transport: "tcp", tcpType } : null;
    }
    default:
      return null;
  }
}

/** The text of a candidate attribute without `a=` (RFC 8839 §5.1), as WebRTC and most ICE libraries exchange it. */
export function formatCandidate(candidate: Candidate): string {
  const { address, related, tcpType, ...rest } = candidate;
  return formatCandidateAttribute({
    ...rest,
    address: address.ip,
    port: address.port,
    relatedAddress: related?.ip ?? null,
    relatedPort: related?.port ?? null,
    extensions: tcpType ? [["tcptype", tcpType]] : [],
  });
}

/** Reads a candidate attribute, with or without `a=`; extensions are ignored. Null: malformed, or of no use here. */
export function parseCandidate(text: string): Candidate | null {
  const attribute = parseCandidateAttribute(text);
  return attribute && candidateOf(attribute);
}

/** What one side of a session says about ICE in its session description (RFC 8839 §5). */
export interface IceDescription {
  /** `ice-ufrag`, `ice-pwd`, `ice-options`, and of what was read `lite` and `pacingMs`; null unless the first two are well-formed. */
  readonly parameters: IceParameters | null;
  /** In the order of the text. */
  readonly candidates: readonly CandidateAttribute[];
  /** `end-of-candidates` (RFC 8840 §8.2). */
  readonly ended: boolean;
  /** `ice-lite`: it answers checks and sends none. */
  readonly lite: boolean;
  /** `ice-pacing`, ms; null when it is not said (RFC 8839 §5.5: then 50). */
  readonly pacingMs: number | null;
}

/** More candidate lines than this are not read: an agent takes 100. */
const MAX_CANDIDATE_LINES = 256;

/**
 * Reads the ICE attributes of a session description with one media section; all other lines are passed over. An attribute in the
 * media section goes before one of the session (RFC 8839 §5.4).
 */
export function parseIceDescription(sdp: string): IceDescription {
  const values = new Map<string, string>();
  const candidates: CandidateAttribute[] = [];
  for (const line of sdp.split(/\r?\n/)) {
    const match = /^a=([a-z-]+)(?::(.*))?$/.exec(line.trimEnd());
    if (!match?.[1]) continue;
    const [, name, value = ""] = match;
    if (name !== "candidate") {
      values.set(name, value);
      continue;
    }
    const candidate = candidates.length < MAX_CANDIDATE_LINES ? parseCandidateAttribute(line) : null;
    if (candidate) candidates.push(candidate);
  }
  const options = (values.get("ice-options") ?? "").split(" ").filter((option) => option !== "");
  const lite = values.has("ice-lite");
  const pacing = values.get("ice-pacing");
  const pacingMs = pacing !== undefined && /^\d{1,10}$/.test(pacing) ? Number(pacing) : null;
  const parameters: IceParameters = {
    ufrag: values.get("ice-ufrag") ?? "",
    pwd: values.get("ice-pwd") ?? "",
    options,
    ...(lite ? { lite } : {}),
    ...(pacingMs === null ? {} : { pacingMs }),
  };
  return {
    parameters: isValidParameters(parameters) ? parameters : null,
    candidates,
    ended: values.has("end-of-candidates"),
    lite,
    pacingMs,
  };
}

/** The ICE attributes, a line each, ended by CRLF. `ice-lite` and `ice-pacing`, which belong to the session, come first. */
export function formatIceDescription(description: IceDescription): string {
  const { parameters, candidates, ended, lite, pacingMs } = description;
  const lines: string[] = [];
  if (lite) lines.push("ice-lite");
  if (pacingMs !== null) lines.push(`ice-pacing:${pacingMs}`);
  if (parameters) {
    lines.push(`ice-ufrag:${parameters.ufrag}`, `ice-pwd:${parameters.pwd}`);
    if (parameters.options.length > 0) lines.push(`ice-options:${parameters.options.join(" ")}`);
  }
  for (const candidate of candidates) lines.push(formatCandidateAttribute(candidate));
  if (ended) lines.push("end-of-candidates");
  return lines.map((line) => `a=${line}\r\n`).join("");
}

const isCandidateType = (type: string): type is CandidateType =>
  type === "host" || type === "srflx" || type === "prflx" || type === "relay";

const isTcpType = (text: string | undefined): text is TcpType =>
  text === "active" || text === "passive" || text === "so";

const socketAddress = (ip: string, port: number): SocketAddress | null =>
  parseIp(ip) && port <= 65_535 ? SocketAddress.of(ip, port) : null;
