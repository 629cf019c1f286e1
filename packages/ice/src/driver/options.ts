import type { Clock, Logger, Random } from "@adit/core";
import type { IceRole } from "../pair.ts";
import type { CandidateRules } from "../rules.ts";
import type { Interfaces } from "./host-addresses.ts";

export interface IceConnectionOptions {
  readonly role: IceRole;
  /** IP addresses to bind, `IP` or `IP:port`; by default every interface's, or 127.0.0.1 when there is none. At most 16. */
  readonly bind?: readonly string[];
  /** `host:port` of STUN servers. */
  readonly stunServers?: readonly string[];
  readonly turnServers?: readonly {
    /** `host:port`, UDP. */
    readonly address: string;
    readonly username: string;
    readonly password: string;
  }[];
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
