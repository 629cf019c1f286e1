import type { SocketAddress } from "@adit/core";
import type { FilteringBehavior, MappingBehavior, Outlook, PortMapProtocol } from "@adit/ice";

/** What `adit-agent netcheck --json` prints. Null is what could not be found out, never "no". */
export interface NetcheckReport {
  /** Whether UDP gets out and answers come back. Null: nothing answers, over TCP neither, so it may be the server. */
  readonly udp: boolean | null;
  /** Whether a STUN server answers over TCP; asked because a network without UDP may have it. */
  readonly tcp: boolean | null;
  /** Something else than the server answers in its place: a captive portal, or a proxy. */
  readonly intercepted: boolean | null;
  /** Where a captive portal sends browsers to; null when none was seen, or it does not say. */
  readonly signIn: string | null;
  /** Null: no STUN server answered over IPv4. */
  readonly ipv4: PublicAddress | null;
  readonly ipv6: PublicAddress | null;
  /** Of IPv4, or of IPv6 where there is nothing else. */
  readonly nat: NatFindings | null;
  /** Null: not asked for. */
  readonly portMapping: PortMappingFindings | null;
  readonly intermediates: readonly IntermediateFindings[];
  readonly expect: { readonly direct: Outlook | null; readonly relay: boolean | null; readonly sentence: string };
  /** What could not be found out, and why. */
  readonly unknown: readonly string[];
  readonly tookMs: number;
}

export interface PublicAddress {
  readonly address: string;
  /** Whether it is another than ours. */
  readonly nat: boolean;
}

export interface NatFindings {
  readonly present: boolean;
  /** RFC 4787 §4.1. */
  readonly mapping: MappingBehavior | null;
  /** RFC 4787 §5; of a firewall where there is no NAT. */
  readonly filtering: FilteringBehavior | null;
  readonly portsPreserved: boolean | null;
  /** From each external port to the next, where it is always the same. */
  readonly portDelta: number | null;
  /** RFC 4787 §6. */
  readonly hairpin: boolean | null;
  /** Only with `--binding-lifetime`. `belowMs` null: it outlived the longest trial. */
  readonly bindingLifetime: { readonly atLeastMs: number; readonly belowMs: number | null } | null;
  /** What it means, in plain words. */
  readonly sentence: string;
}

export interface PortMappingFindings {
  readonly gateway: string | null;
  /** The router's port that was mapped for the test, and given back. */
  readonly external: SocketAddress | null;
  /** False: the router's own address is not public. */
  readonly public: boolean | null;
  readonly protocols: readonly {
    readonly protocol: PortMapProtocol;
    /** Null: no answer so far. */
    readonly available: boolean | null;
    readonly why: string | null;
  }[];
  readonly sentence: string;
}

export interface IntermediateFindings {
  readonly address: string;
  readonly connected: boolean;
  readonly rttMs: number | null;
  /** `tls`: over TCP, as UDP does not get there. */
  readonly transport: "quic" | "tls" | null;
}
