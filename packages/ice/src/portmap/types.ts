import type { Deadline, Millis, SocketAddress } from "@adit/core";

/** PCP (RFC 6887), NAT-PMP (RFC 6886), UPnP Internet Gateway Device 1 and 2; in the order in which they are preferred. */
export const PORT_MAP_PROTOCOLS = ["pcp", "nat-pmp", "upnp"] as const;
/** The protocols that a router may be asked by, the preferred one first. */
export type PortMapProtocol = (typeof PORT_MAP_PROTOCOLS)[number];

/** A UDP port of the router that leads to one of ours. */
export interface PortLease {
  /** What the router was asked by. */
  readonly protocol: PortMapProtocol;
  /** The router's IP address. */
  readonly gateway: string;
  /** Our UDP port. */
  readonly internalPort: number;
  /** Where the world reaches it. */
  readonly external: SocketAddress;
  /**
   * Whether the world can reach it. A router that shows a private or carrier's address (RFC 1918, RFC 6598) stands behind another NAT,
   * which knows nothing of this mapping; one without an address is offline.
   */
  readonly isPublic: boolean;
  /** Null: the router keeps it until it is removed, or restarts. */
  readonly lifetimeMs: Millis | null;
}

/** What became of one protocol. */
export type ClientStatus =
  | { readonly kind: "probing" }
  /** The router speaks it; nothing has been asked for yet. */
  | { readonly kind: "present" }
  | { readonly kind: "absent"; readonly why: string }
  | { readonly kind: "mapping" }
  | { readonly kind: "mapped"; readonly lease: PortLease }
  | { readonly kind: "refused"; readonly why: string; readonly retryAfterMs: Millis }
  | { readonly kind: "unmapping" }
  /** After `unmap`: nothing more will be said. */
  | { readonly kind: "gone" };

/** An HTTP request to a router that speaks UPnP. */
export interface HttpRequest {
  /** GET for descriptions, POST for actions. */
  readonly method: "GET" | "POST";
  /** `http:`, the host is the gateway's numeric address. */
  readonly url: URL;
  /** By name, as they are to be sent. */
  readonly headers: Readonly<Record<string, string>>;
  /** XML, or empty. */
  readonly body: string;
}

/** The router's answer to an {@link HttpRequest}. */
export interface HttpAnswer {
  /** The HTTP status code. */
  readonly status: number;
  /** As text, as much as was read. */
  readonly body: string;
}

/** What a port-mapping machine wants done. */
export type PortMapOutput =
  | { readonly kind: "datagram"; readonly to: SocketAddress; readonly data: Uint8Array }
  /** To be answered once under its id; with null when nothing came, at the latest after 5 s. */
  | { readonly kind: "http"; readonly id: number; readonly request: HttpRequest };

/** A router on the same cable answers in milliseconds; some take seconds to write their flash memory. */
export const HTTP_TIMEOUT_MS = 5_000;
/** No description or answer of a real router is longer; beyond it the answer counts as none. */
export const MAX_HTTP_BODY_BYTES = 65_536;

/** One protocol's client, for one port. Sans-IO. */
export interface MappingClient {
  readonly protocol: PortMapProtocol;
  readonly status: ClientStatus;
  /** Asks whether the router speaks the protocol; what was known is forgotten. */
  probe(now: Millis): void;
  /** Asks for the mapping, and keeps it from then on. Only once present. */
  map(now: Millis): void;
  /** Asks at once whether the mapping still stands, and makes it again where it does not. */
  verify(now: Millis): void;
  /** Gives the mapping back; {@link status} is `gone` when that is done or given up. */
  unmap(now: Millis): void;
  handleTimeout(now: Millis): void;
  pollTimeout(): Deadline | null;
  pollOutput(): PortMapOutput | null;
}

export interface MappingTarget {
  /** The router, IPv4. */
  readonly gateway: string;
  /** Our address on the way to it. */
  readonly localIp: string;
  /** The UDP port that the mapping leads to. */
  readonly internalPort: number;
}

/**
 * How long a mapping is asked for. RFC 6886 §3.3 recommends two hours. Ten minutes keep short what a crash leaves open, and are, at half
 * of it, how late the restart of a router is noticed that does not announce it (and those of UPnP cannot).
 */
export const LEASE_SECONDS = 600;

/** A router that has refused, or did not answer at all, is asked again after this. */
export const RETRY_MS = 600_000;

/** RFC 6887 §15: a granted lifetime above a day counts as a day. */
const MAX_LEASE_SECONDS = 86_400;
/** A router that grants less would be asked all the time. RFC 6887 §11.2.1: no renewal sooner than 4 s after the last one. */
const MIN_LEASE_SECONDS = 30;

export const boundedLeaseMs = (seconds: number): Millis =>
  Math.min(MAX_LEASE_SECONDS, Math.max(MIN_LEASE_SECONDS, seconds)) * 1000;
