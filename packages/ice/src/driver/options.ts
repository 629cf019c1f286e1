import type { Clock, Logger, Random } from "@adit/core";
import type { IceRole } from "../pair.ts";
import type { CandidateRules } from "../rules.ts";
import type { Interfaces } from "./host-addresses.ts";

/** A TURN server, as its operator names it. */
export interface TurnServerOptions {
  /**
   * `host:port`, or a URI (RFC 7065): `turn:host[:port]` by UDP, `turn:host?transport=tcp`, `turns:host[:port]` by TLS. Give a server by
   * several to try them at the same time: where no UDP passes, the others remain.
   */
  readonly address: string;
  /** Of long-term credentials (RFC 8489 §9.2). */
  readonly username: string;
  /** Of long-term credentials; never logged. */
  readonly password: string;
  /**
   * By TLS: looks at the server's certificate (DER) where it is pinned, instead of asking who vouches for it. Null when it is the right
   * one, else the sentence why not.
   */
  readonly checkCertificate?: (der: Uint8Array) => string | null;
}

/** What {@link createIceConnection} takes; only the role has to be given. */
export interface IceConnectionOptions {
  /** `controlling` for the side that starts the session; when both say the same, it settles itself (RFC 8445 §7.3.1.1). */
  readonly role: IceRole;
  /** IP addresses to bind, `IP` or `IP:port`; by default every interface's, or 127.0.0.1 when there is none. At most 16. */
  readonly bind?: readonly string[];
  /** STUN servers: `host:port`, or a URI, `stun:host[:port]` (RFC 7064). */
  readonly stunServers?: readonly string[];
  /** Asked for relayed candidates. */
  readonly turnServers?: readonly TurnServerOptions[];
  /** `relay`: nothing but relays is announced, checked or answered, so that the peer does not learn our addresses. `all` unless given. */
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
  /** A monotonic clock, ms; the machine's unless given. */
  readonly clock?: Clock;
  /** The system's unless given; has to be unguessable outside of tests. */
  readonly random?: Random;
  /** Decisions at debug, drops at trace; silent unless given. */
  readonly log?: Logger;
}
