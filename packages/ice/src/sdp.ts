import { parseIp, SocketAddress } from "@adit/core";
import type { Candidate, CandidateType } from "./candidate.ts";

/** The text of a candidate attribute without `a=` (RFC 8839 §5.1), as WebRTC and most ICE libraries exchange it. */
export function formatCandidate(candidate: Candidate): string {
  const { foundation, component, transport, priority, address, type, related } = candidate;
  const text = `candidate:${foundation} ${component} ${transport} ${priority} ${address.ip} ${address.port} typ ${type}`;
  return related ? `${text} raddr ${related.ip} rport ${related.port}` : text;
}

const CANDIDATE =
  /^(?:a=)?candidate:([A-Za-z0-9+/]{1,32}) (\d{1,3}) (\S+) (\d{1,10}) (\S+) (\d{1,5}) typ (host|srflx|prflx|relay)(?: (.*))?$/;
const RELATED = /^raddr (\S+) rport (\d{1,5})(?: |$)/;

/**
 * Reads a candidate attribute, with or without `a=`; extensions are ignored. Null: malformed, or of no use here (another component,
 * TCP, or a name in place of an address, such as mDNS).
 */
export function parseCandidate(text: string): Candidate | null {
  const match = CANDIDATE.exec(text.trim());
  if (!match) return null;
  const [, foundation, component, transport, priority, ip, port, type, rest] = match;
  if (!foundation || !ip || component !== "1" || transport?.toLowerCase() !== "udp") return null;
  const address = socketAddress(ip, Number(port));
  const preference = Number(priority);
  if (!address || preference < 1 || preference > 2 ** 31 - 1) return null;
  const related = RELATED.exec(rest ?? "");
  return {
    foundation,
    component: 1,
    transport: "udp",
    priority: preference,
    address,
    type: type as CandidateType,
    related: related?.[1] ? socketAddress(related[1], Number(related[2])) : null,
  };
}

const socketAddress = (ip: string, port: number): SocketAddress | null =>
  parseIp(ip) && port <= 65_535 ? SocketAddress.of(ip, port) : null;
