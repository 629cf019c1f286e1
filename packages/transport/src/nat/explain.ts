import type { IpFamily } from "@adit/core";
import type { PairInfo } from "@adit/ice";
import type { NetworkView } from "./network-view.ts";

export interface Evidence {
  readonly own: NetworkView;
  /** Null: the peer has not said. */
  readonly peer: NetworkView | null;
  /** How we are seen from outside. */
  readonly publicIps: readonly string[];
  readonly pairs: readonly PairInfo[];
  /** Of the candidates that are not relayed: which families each side has. */
  readonly ownFamilies: ReadonlySet<IpFamily>;
  readonly peerFamilies: ReadonlySet<IpFamily>;
}

/** Why nothing direct works, naming the side where the cause is. Completes "no direct path: ...". */
export function explainNoDirect({ own, peer, publicIps, pairs, ownFamilies, peerFamilies }: Evidence): string {
  const settled = explainPolicy(own, peer) ?? explainBlocked(own, peer);
  if (settled !== null) return settled;
  const direct = pairs.filter((pair) => pair.direct);
  if (direct.length === 0)
    return explainFamilies(ownFamilies, peerFamilies) ?? "the peer offered no address that could be reached from here";
  const usable = direct.filter((pair) => pair.valid).map(({ rttMs }) => rttMs ?? Number.POSITIVE_INFINITY);
  if (usable.length > 0) return explainUnused(Math.min(...usable));
  const sent = direct.reduce((sum, pair) => sum + pair.requestsSent, 0);
  const answered = direct.reduce((sum, pair) => sum + pair.responsesReceived, 0);
  const where = `${direct.length} address${direct.length === 1 ? "" : "es"} of the peer`;
  if (answered > 0) return `${where} answered ${answered} of ${sent} checks and then no more`;
  const silence = `none of ${sent} checks to ${where} was answered`;
  return explainSameNat(direct, publicIps) ?? explainMappings(own, peer) ?? `${silence}: ${explainSilence(own, peer)}`;
}

/** There is one, and the relay carries the session all the same. */
function explainUnused(rttMs: number): string {
  const answers = Number.isFinite(rttMs) ? `answers in ${rttMs.toFixed(1)} ms` : "answers";
  return `a direct pair ${answers}, and the relay is quicker or loses less`;
}

function explainPolicy(own: NetworkView, peer: NetworkView | null): string | null {
  if (own.policy === "relay") return "this side allows the relay only (--ice-policy relay)";
  if (peer?.policy === "relay") return "the peer allows the relay only (--ice-policy relay)";
  return null;
}

function explainBlocked(own: NetworkView, peer: NetworkView | null): string | null {
  if (own.udp === "blocked" && peer?.udp === "blocked") return "UDP is blocked on both sides";
  if (own.udp === "blocked") return "UDP is blocked on this side";
  if (peer?.udp === "blocked") return "UDP is blocked at the peer";
  return null;
}

/** Each side has one family, and not the other's. */
function explainFamilies(own: ReadonlySet<IpFamily>, peer: ReadonlySet<IpFamily>): string | null {
  const [ours, theirs] = [[...own], [...peer]];
  if (ours.length !== 1 || theirs.length !== 1 || ours[0] === theirs[0]) return null;
  return `this side has IPv${ours[0]} alone, and the peer IPv${theirs[0]}`;
}

/** Both are seen from outside with one address. */
function explainSameNat(direct: readonly PairInfo[], publicIps: readonly string[]): string | null {
  const shared = direct.some(({ remote }) => remote.type === "srflx" && publicIps.includes(remote.address.ip));
  if (!shared) return null;
  return "both sides are behind one NAT, which does not lead back in (no hairpinning), and they do not reach each other inside";
}

/**
 * Filtering is not measured, but follows: where one side's mapping is independent of the destination and the other's is not, only a
 * filter by port keeps them apart (packages/sim/src/oracle.ts).
 */
function explainMappings(own: NetworkView, peer: NetworkView | null): string | null {
  const theirs = peer?.mapping ?? "unknown";
  if (own.mapping === "apdm" && theirs === "apdm")
    return "both NATs give each destination another port (APDM), so that neither side knows where to send to";
  if (own.mapping === "apdm")
    return `your NAT gives each destination another port (APDM)${portsInWords(own)} and theirs filters by port (APDF)`;
  if (peer && theirs === "apdm")
    return `the peer's NAT gives each destination another port (APDM)${portsInWords(peer)} and yours filters by port (APDF)`;
  return null;
}

function portsInWords({ ports }: NetworkView): string {
  if (ports === "random") return ", at random,";
  return ports === "sequential" ? ", those that were predicted were not met," : "";
}

function explainSilence(own: NetworkView, peer: NetworkView | null): string {
  if (own.mapping === "eim" && peer?.mapping === "eim")
    return "both NATs look passable (EIM), so a firewall on one side lets in no UDP, not even as an answer, or a NAT gives each host another port (ADM)";
  return "UDP between the two sides is blocked, or their NATs do not let it through";
}
