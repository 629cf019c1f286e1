import type { Millis, SocketAddress } from "@adit/core";

/** RFC 4787 §4.1: endpoint-independent, address-dependent, address-and-port-dependent mapping. */
export type MappingBehavior = "EIM" | "ADM" | "APDM";

/** RFC 4787 §5: endpoint-independent, address-dependent, address-and-port-dependent filtering. */
export type FilteringBehavior = "EIF" | "ADF" | "APDF";

/** What a NAT was found to do. Null is what could not be found out, never "no". */
export interface NatReport {
  /** Whether an address or port is translated on the way. */
  readonly nat: boolean | null;
  /** Our address as the server sees it. */
  readonly mapped: SocketAddress | null;
  /** RFC 4787 §4.1; null when the server did not answer, or has one address only. */
  readonly mapping: MappingBehavior | null;
  /** Of a NAT or, without one, of a firewall. */
  readonly filtering: FilteringBehavior | null;
  /** RFC 4787 §6: whether what is sent to our own mapped address comes back in. Null where filtering would hide it. */
  readonly hairpin: boolean | null;
  /** RFC 4787 §4.2.1: external ports are the internal ones. */
  readonly portsPreserved: boolean | null;
  /** From each new external port to the next, where it is always the same; null when it is not, or ports are preserved. */
  readonly portDelta: number | null;
  /** RFC 4787 §4.3: how long a mapping lives without traffic; `belowMs` null when it outlived the longest trial. Null unless asked for. */
  readonly lifetime: { readonly atLeastMs: Millis; readonly belowMs: Millis | null } | null;
  /** One or two sentences for a person: what this means for direct connections, or why nothing is known. */
  readonly reason: string;
}

/** Says it in words. */
export function explain(report: Omit<NatReport, "reason">): string {
  const { nat, mapping, filtering } = report;
  if (nat === null) return "No answer came from the STUN server: UDP is blocked, or the server is down.";
  if (mapping === null) {
    return nat
      ? "There is a NAT. What kind cannot be said: the STUN server has no second address (RFC 5780), or it does not answer from there."
      : "There is no NAT. Whether a firewall filters cannot be said: the STUN server has no second address (RFC 5780).";
  }
  if (!nat) return `There is no NAT. ${FIREWALL[filtering ?? "unknown"]}`;
  return `${MAPPING[mapping]} ${FILTERING[filtering ?? "unknown"]}`;
}

const MAPPING: Readonly<Record<MappingBehavior, string>> = {
  EIM: "The NAT shows one address to everybody, so peers can be told where to send: direct connections work unless both sides filter and the other side's address changes with its destination.",
  ADM: "The NAT shows another address to each destination host, so a peer must learn it from packets that reach it: direct connections need the other side to be easier.",
  APDM: "The NAT shows another address to each destination host and port: direct connections work only with peers that let in packets from ports they did not send to; others go over a relay.",
};

const FILTERING: Readonly<Record<FilteringBehavior | "unknown", string>> = {
  EIF: "It lets in packets from anybody.",
  ADF: "It lets in packets from hosts that were sent to.",
  APDF: "It lets in packets only from the hosts and ports that were sent to.",
  unknown: "What it lets in could not be found out.",
};

const FIREWALL: Readonly<Record<FilteringBehavior | "unknown", string>> = {
  EIF: "No firewall is in the way either: anybody can reach this socket.",
  ADF: "A firewall lets in packets from hosts that were sent to; direct connections work.",
  APDF: "A firewall lets in packets only from the hosts and ports that were sent to; direct connections work unless the other side's ports change with their destination.",
  unknown: "Whether a firewall filters could not be found out.",
};
