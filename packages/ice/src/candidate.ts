import { classifyIp, isRelaySocket, type SocketAddress, type SocketId } from "@adit/core";

/** RFC 8445 §5.1.1. */
export type CandidateType = "host" | "srflx" | "prflx" | "relay";

/** RFC 6544 §4.5: who opens the connection. `so`, both at once, is read and written but forms no pairs here. */
export type TcpType = "active" | "passive" | "so";

/** A transport address that a peer may be reached at, as it is signalled (RFC 8445 §5.3). */
export interface Candidate {
  /** 1..32 ice-chars; equal for candidates that are likely to work or fail together (§5.1.1.3). */
  readonly foundation: string;
  /** There is one component; RTP and RTCP are multiplexed (RFC 5761). */
  readonly component: 1;
  /** `tcp`: RFC 6544. */
  readonly transport: "udp" | "tcp";
  /** Of TCP candidates only, which all have it. */
  readonly tcpType?: TcpType;
  /** 1..2^31-1 (§5.1.2). */
  readonly priority: number;
  /** Where checks go to. */
  readonly address: SocketAddress;
  /** How it was found. */
  readonly type: CandidateType;
  /** It was signalled under this name in place of its address, which then no relay is to learn. */
  readonly mdnsName?: string;
  /** The base of a reflexive candidate, or the mapped address of a relayed one; for diagnosis only. */
  readonly related: SocketAddress | null;
}

/** Narrows a candidate to one over UDP. */
export const isUdpCandidate = <One extends Candidate>(one: One): one is One & { readonly transport: "udp" } =>
  one.transport === "udp";

export interface LocalCandidate extends Candidate {
  /** Where its checks leave from. */
  readonly socket: SocketId;
  /** The address that checks are sent from (§4): itself for host and relayed candidates. */
  readonly base: SocketAddress;
}

/** §5.1.2.2: "The RECOMMENDED values for type preferences are 126 for host candidates, 110 for peer-reflexive ..., 100 for server-reflexive ..., and 0 for relayed". */
export const TYPE_PREFERENCE: Readonly<Record<CandidateType, number>> = { host: 126, prflx: 110, srflx: 100, relay: 0 };

/** The highest local preference (§5.1.2.1: "an integer from 0 (lowest preference) to 65535 (highest preference) inclusive"). */
export const MAX_LOCAL_PREFERENCE = 65_535;

/**
 * Relayed candidates take local preferences up to this, all others above. PRIORITY in a check carries the peer-reflexive type
 * preference whatever the candidate is (§7.1.1), so this is how the receiver of a check that overtakes signaling tells a
 * relay's address from a NAT's.
 */
export const MAX_RELAY_LOCAL_PREFERENCE = 255;

/** priority = 2^24 * type preference + 2^8 * local preference + (256 - component ID), §5.1.2.1; the component is always 1. */
export function candidatePriority(type: CandidateType, localPreference: number): number {
  return TYPE_PREFERENCE[type] * 2 ** 24 + localPreference * 2 ** 8 + 255;
}

/** RFC 6544 §4.5: the port of an active candidate, discard, which nobody connects to. */
export const TCP_ACTIVE_PORT = 9;

/** RFC 6544 §4.2: "6 for active, 4 for passive, and 2 for S-O", for host candidates; there are no others here. */
const TCP_DIRECTION_PREFERENCE: Readonly<Record<TcpType, number>> = { active: 6, passive: 4, so: 2 };

/** RFC 6544 §4.2: "The other-pref MUST be between 0 and 8191 (both inclusive)". */
const MAX_TCP_OTHER_PREFERENCE = 8191;

/** RFC 6544 §4.2: "local preference = (2^13) * direction-pref + other-pref"; `rank` is 0 for the preferred address. */
export const tcpLocalPreference = (tcpType: TcpType, rank: number): number =>
  2 ** 13 * TCP_DIRECTION_PREFERENCE[tcpType] + Math.max(0, MAX_TCP_OTHER_PREFERENCE - rank);

export const localPreferenceOf = (priority: number): number => (priority >>> 8) & 0xffff;

/** The value of PRIORITY in a check from `candidate`: its priority, were it peer-reflexive (§7.1.1). */
export const checkPriority = (candidate: LocalCandidate): number =>
  candidatePriority("prflx", localPreferenceOf(candidate.priority));

/** Whether traffic to this candidate of the peer goes through a relay; a peer-reflexive one says so by its local preference. */
export function isRelayedRemote(candidate: Candidate): boolean {
  if (candidate.type === "relay") return true;
  return candidate.type === "prflx" && localPreferenceOf(candidate.priority) <= MAX_RELAY_LOCAL_PREFERENCE;
}

export const isRelayedLocal = (candidate: LocalCandidate): boolean =>
  candidate.type === "relay" || isRelaySocket(candidate.socket);

/**
 * The foundation (§5.1.1.3): same type, same base IP address, same transport, and for what a server told us the same server IP
 * address. Two hosts' foundations are never compared, so readable text does no harm.
 */
export class Foundations {
  readonly #names = new Map<string, string>();

  of(type: CandidateType, baseIp: string, serverIp: string | null, transport: Candidate["transport"] = "udp"): string {
    const key = `${type}|${transport}|${baseIp}|${serverIp ?? ""}`;
    let name = this.#names.get(key);
    if (name === undefined) {
      name = String(this.#names.size + 1);
      this.#names.set(key, name);
    }
    return name;
  }
}

/** Why no check is ever sent to an address; null when one may be. */
export function unusableRemote(address: SocketAddress): "port-zero" | "multicast" | "broadcast" | "unspecified" | null {
  if (address.port === 0) return "port-zero";
  const is = classifyIp(address.ip);
  return is === "multicast" || is === "broadcast" || is === "unspecified" ? is : null;
}

const isLoopback = (address: SocketAddress): boolean => classifyIp(address.ip) === "loopback";
const isLinkLocal6 = (address: SocketAddress): boolean =>
  address.family === 6 && classifyIp(address.ip) === "link-local";

/**
 * RFC 6544 §6.2: active pairs with passive. Our passive one only with the address that a connection came from: nobody can be
 * connected to at an active candidate, so such pairs would be pruned at once.
 */
function isTcpMatch(local: Candidate, remote: Candidate): boolean {
  if (local.tcpType === "active") return remote.tcpType === "passive";
  return local.tcpType === "passive" && remote.tcpType === "active" && remote.type === "prflx";
}

/**
 * Whether two candidates form a pair (§6.1.2.2): same component, transport and address family; IPv6 link-local only with its like.
 * Beyond the RFC: a peer may name our loopback only where we offered loopback ourselves.
 */
export function canPair(local: LocalCandidate, remote: Candidate): boolean {
  if (local.component !== remote.component || local.transport !== remote.transport) return false;
  if (local.transport === "tcp" && !isTcpMatch(local, remote)) return false;
  // draft-ietf-mmusic-mdns-ice-candidates §3.3.2: "the ICE agent MUST NOT form candidate pairs between its own relay candidates and
  // remote mDNS candidates", as the TURN server would learn the address.
  if (remote.mdnsName !== undefined && isRelayedLocal(local)) return false;
  if (local.base.family !== remote.address.family) return false;
  if (isLinkLocal6(local.base) !== isLinkLocal6(remote.address)) return false;
  return !isLoopback(remote.address) || isLoopback(local.base);
}
