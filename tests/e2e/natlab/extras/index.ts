/** What a side may have beside its NATs, one a file: `eim-apdf+no-udp`. */
import type { Lab } from "../lab.ts";
import type { Side } from "../side.ts";
import { firewall6, only6 } from "./firewall6.ts";
import { forgetsAfter } from "./forgets.ts";
import { noUdp } from "./no-udp.ts";
import { only443 } from "./only-443.ts";
import { captivePortal } from "./portal.ts";
import { router } from "./router.ts";

export interface Extra {
  readonly words: string;
  /** Once, when the network stands and before any program runs. */
  apply(lab: Lab, side: Side): Promise<void> | void;
  /** No UDP gets through: nothing can be direct. */
  readonly blocksUdp?: boolean;
  readonly forgetsAfterS?: number;
  /** Not even a relayed session gets out. */
  readonly isPortal?: boolean;
  /** There is IPv6 too. */
  readonly ipv6?: boolean;
  /** There is no IPv4. */
  readonly onlyIpv6?: boolean;
  /** The innermost NAT opens ports for those who ask. */
  readonly mapsPorts?: boolean;
}

export const EXTRAS = {
  firewall6,
  only6,
  "no-udp": noUdp,
  "only-443": only443,
  portal: captivePortal("port 80"),
  "portal-tcp": captivePortal("all of TCP"),
  "forgets-20": forgetsAfter(20),
  pcp: router("pcp"),
  "nat-pmp": router("nat-pmp"),
  upnp: router("upnp"),
  igd: router("pcp", "nat-pmp", "upnp"),
} as const satisfies Record<string, Extra>;

export type ExtraName = keyof typeof EXTRAS;
