import type { Millis } from "@adit/core";
import type { PortMapProtocol } from "./types.ts";

/** Both protocols: UDP, and the router listens here (RFC 6886 §3.1, RFC 6887 §19). */
export const PMP_SERVER_PORT = 5351;
/** Where routers announce a restart or a new address, to 224.0.0.1 (RFC 6886 §3.2.1, RFC 6887 §14.1). */
export const PMP_ANNOUNCE_PORT = 5350;

export interface MapRequest {
  readonly internalPort: number;
  /** Suggested; 0 when none is. */
  readonly externalPort: number;
  /** Suggested; null when none is. */
  readonly externalIp: string | null;
  /** 0 gives the mapping back. */
  readonly lifetimeSeconds: number;
}

/** What a router said. */
export type PmpAnswer =
  /** It is there and speaks the protocol. */
  | { readonly kind: "alive"; readonly epochSeconds: number; readonly externalIp: string | null }
  | {
      readonly kind: "mapped";
      readonly epochSeconds: number;
      readonly externalIp: string | null;
      readonly internalPort: number;
      readonly externalPort: number;
      readonly lifetimeSeconds: number;
    }
  | { readonly kind: "refused"; readonly to: "probe" | "map"; readonly why: string; readonly retryAfterMs: Millis }
  /** It speaks another version. */
  | { readonly kind: "unsupported" };

/** What differs between PCP and NAT-PMP. */
export interface PmpCodec {
  readonly protocol: PortMapProtocol;
  /** First wait for an answer, doubled each time. */
  readonly firstWaitMs: Millis;
  /** A mapping that stands is asked for no more often than this. */
  readonly renewalGapMs: Millis;
  /** Requests without an answer until the router counts as silent. */
  readonly maxRequests: number;
  /** A mapping's answer does not tell the external address: it is asked for before. */
  readonly asksAddressFirst: boolean;
  probe(): Uint8Array;
  map(request: MapRequest): Uint8Array;
  /** Null: not for us, or not well formed. */
  read(data: Uint8Array): PmpAnswer | null;
}
