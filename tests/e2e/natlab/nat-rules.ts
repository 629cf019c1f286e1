/**
 * NATs by RFC 4787 as nftables rules: any mapping with any filtering, exactly.
 *
 * What goes out is translated by the kernel's connection tracking, which chooses the external port; after that, `remember`
 * writes down which internal endpoint the external port belongs to, and to whom it sent. What comes in is never tracked:
 * it is checked against those notes and rewritten by them. (With `dnat`, a tracked datagram from outside would give the
 * internal endpoint's answer the port it came to, and an endpoint-dependent mapping would look like an independent one.)
 * Only what goes out keeps a mapping alive (RFC 4787 §4.3, REQ-6). TCP is translated by the kernel alone: connections from inside.
 */
import { randomInt } from "node:crypto";
import type { NatFiltering } from "@adit/sim";
import type { NatKindOfLab, NatPorts } from "./kinds.ts";

export interface NatSetting extends NatKindOfLab {
  readonly externalIp: string;
  /** Rises when the NAT forgets its mappings: each generation is a conntrack zone of its own. */
  readonly generation: number;
  readonly bindingTimeoutS: number;
}

/** The interfaces of a NAT's namespace. */
export const WAN = "wan";
export const LAN = "lan";
/**
 * A cable from the NAT to itself, for hairpinning: what comes from inside for the external address is sent out here as if to
 * {@link HAIRPIN_IP}, translated like all that goes out, and comes in at the other end like all that comes in.
 */
export const HAIRPIN_OUT = "hair-out";
export const HAIRPIN_IN = "hair-in";
export const HAIRPIN_IP = "198.18.0.1";

/** Replaces the whole ruleset in one transaction, so all notes are forgotten too. */
export function natRules(nat: NatSetting): string {
  const timeout = `${nat.bindingTimeoutS}s`;
  const notes = `flags dynamic,timeout; timeout ${timeout}; size 65535;`;
  return `
table ip nat
delete table ip nat
table ip nat {
  map internal_ip { type inet_service : ipv4_addr; ${notes} }
  map internal_port { type inet_service : inet_service; ${notes} }
  set sent_to_ip { type inet_service . ipv4_addr; ${notes} }
  set sent_to { type inet_service . ipv4_addr . inet_service; ${notes} }

  chain before_tracking {
    type filter hook prerouting priority raw; policy accept;
    iifname "${LAN}" ct zone set ${nat.generation}
${nat.hairpin ? `    iifname "${LAN}" ip daddr ${nat.externalIp} ip protocol udp ip daddr set ${HAIRPIN_IP}` : ""}
    iifname != { "${WAN}", "${HAIRPIN_IN}" } accept
    ip protocol tcp ct zone set ${nat.generation} accept
    ip protocol != udp drop
${FILTER[nat.filtering]}
    notrack ip daddr set udp dport map @internal_ip udp dport set udp dport map @internal_port accept
    drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname "${LAN}" oifname "${LAN}" accept comment "bridged; it comes by here where br_netfilter is loaded"
    iifname "${LAN}" oifname { "${WAN}", "${HAIRPIN_OUT}" } ip protocol { udp, tcp } accept
    iifname "${WAN}" oifname "${LAN}" ip protocol tcp ct state established accept
    iifname { "${WAN}", "${HAIRPIN_IN}" } oifname "${LAN}" ip protocol udp accept
  }
  chain input { type filter hook input priority filter; policy drop; }
  chain translate {
    type nat hook postrouting priority srcnat; policy accept;
    oifname { "${WAN}", "${HAIRPIN_OUT}" } ip protocol udp ${TRANSLATION[nat.ports](nat)}
    oifname "${WAN}" ip protocol tcp snat to ${nat.externalIp}
  }
  chain through_hairpin {
    type filter hook postrouting priority srcnat + 5; policy accept;
    oifname "${HAIRPIN_OUT}" ip daddr set ${nat.externalIp}
  }
  chain remember {
    type filter hook postrouting priority srcnat + 10; policy accept;
    oifname { "${WAN}", "${HAIRPIN_OUT}" } ip protocol udp \\
      update @internal_ip { udp sport : ct original ip saddr } \\
      update @internal_port { udp sport : ct original proto-src } \\
      update @sent_to_ip { udp sport . ip daddr } \\
      update @sent_to { udp sport . ip daddr . udp dport }
  }
}
`;
}

const FILTER: Record<NatFiltering, string> = {
  EIF: "",
  ADF: "    udp dport . ip saddr != @sent_to_ip drop",
  APDF: "    udp dport . ip saddr . udp sport != @sent_to drop",
};

export const TRANSLATION: Record<NatPorts, (nat: NatSetting) => string> = {
  preserving: ({ externalIp }) => `snat to ${externalIp}`,
  hashed: ({ externalIp, generation, mapping }) =>
    `snat to ${externalIp} : jhash ip saddr . udp sport${mapping === "ADM" ? " . ip daddr" : ""} mod 60000 seed ${generation} offset 4000`,
  // Not the kernel's `fully-random`: that gives one port to several destinations, which RFC 4787 REQ-3 forbids ("MUST NOT have a "Port
  // assignment" behavior of "Port overloading""). Behind two APDM with EIF, peers answer each other from ever other ports; where the next one may be
  // one that is in use, they meet by chance.
  random: ({ externalIp }) => oneAfterAnother(externalIp, drawnPorts()),
  sequential: ({ externalIp }) =>
    oneAfterAnother(
      externalIp,
      Array.from({ length: PORTS }, (_, i) => 20_000 + i),
    ),
};

/** Sequential and random ports start over after so many: more than are mapped within the time for which a mapping lives. */
const PORTS = 4000;

/** By way of a map, because a number from numgen itself has the machine's byte order, not the port's. */
const oneAfterAnother = (externalIp: string, ports: readonly number[]) =>
  `snat to ${externalIp} : numgen inc mod ${ports.length} map { ${ports.map((port, i) => `${i} : ${port}`).join(", ")} }`;

/** Each at random, and none twice. */
function drawnPorts(): readonly number[] {
  const drawn = new Set<number>();
  while (drawn.size < PORTS) drawn.add(randomInt(FIRST_PORT, LAST_PORT + 1));
  return [...drawn];
}

const FIRST_PORT = 1024;
const LAST_PORT = 65_535;
