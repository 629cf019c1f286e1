import type { Clock, Logger, Random } from "@adit/core";
import type { IceRole } from "../pair.ts";
import type { CandidateRules } from "../rules.ts";
import type { Interfaces } from "./host-addresses.ts";

export interface TurnServerOptions {
  /**
   * `host:port`, or a URI (RFC 7065): `turn:host[:port]` by UDP, `turn:host?transport=tcp`, `turns:host[:port]` by TLS. Give a server by
   * several to try them at the same time: where no UDP passes, the others remain.
   */
  readonly address: string;
  readonly username: string;
  readonly password: string;
  /**
   * By TLS: looks at the server's certificate (DER) where it is pinned, instead of asking who vouches for it. Null when it is the right
   * one, else the sentence why not.
   */
  readonly checkCertificate?: (der: Uint8Array) => string | null;
}

export interface IceConnectionOptions {
  readonly role: IceRole;
  /** IP addresses to bind, `IP` or `IP:port`; by default every interface's, or 127.0.0.1 when there is none. At most 16. */
  readonly bind?: readonly string[];
  /** STUN servers: `host:port`, or a URI, `stun:host[:port]` (RFC 7064). */
  readonly stunServers?: readonly string[];
  readonly turnServers?: readonly TurnServerOptions[];
  readonly policy?: "all" | "relay";
  /**
   * Also offers TCP candidates (RFC 6544), active and passive, for each address: for networks that let no UDP through. Off by default.
   * What goes over TCP comes in order, and late rather than not at all.
   */
  readonly tcp?: boolean;
  /** Filters by family, type and address range, and NAT 1:1 rules. */
  readonly rules?: CandidateRules;
  /** Which interfaces are used when `bind` is not given; all by default. */
  readonly interfaces?: (name: string) => boolean;
  /**
   * Asks the router for a port that leads to ours (PCP, NAT-PMP, UPnP) and announces it; it is given back on close. Not unless asked for:
   * it opens the router to everybody who knows the port.
   */
  readonly portMapping?: boolean;
  /** The least time between new checks, ms: 50 by default; in force is the greater of both sides'. */
  readonly taMs?: number;
  /**
   * Looks for interfaces that come and go, and for sleep, every second: without `bind` by default, as what is bound by name stays bound.
   * New candidates are announced to {@link IceConnection.onCandidate}, also after the null that ended the first ones.
   */
  readonly watchNetwork?: boolean;
  /** What the interfaces are read with; `os.networkInterfaces` by default. */
  readonly readInterfaces?: () => Interfaces;
  /** Closes the connection. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: Logger;
}
