/**
 * NATs by RFC 4787 as nftables rules: any mapping with any filtering, exactly.
 *
 * What goes out is translated by the kernel's connection tracking, which chooses the external port; after that, `remember`
 * writes down which internal endpoint the external port belongs to, and to whom it sent. What comes in is never tracked:
 * it is checked against those notes and rewritten by them. (With `dnat`, a tracked datagram from outside would give the
 * internal endpoint's answer the port it came to, and an endpoint-dependent mapping would look like an independent one.)
 * Only what goes out keeps a mapping alive (RFC 4787 §4.3, REQ-6).
 */
import type { NatFiltering, NatMapping } from "@adit/sim";

export type NatPorts = "preserving" | "hashed" | "random" | "sequential";

export interface NatKindOfLab {
  readonly mapping: Exclude<NatMapping, "ADM">;
  readonly filtering: NatFiltering;
  /** EIM: preserving, or hashed (some other port, the same until a reboot). APDM: random, or sequential. */
  readonly ports: NatPorts;
}

export interface NatSetting extends NatKindOfLab {
  readonly externalIp: string;
  /** Rises when the NAT forgets its mappings: each generation is a conntrack zone of its own. */
  readonly generation: number;
  readonly bindingTimeoutS: number;
}

/** The interfaces of a NAT's namespace. */
export const WAN = "wan";
export const LAN = "lan";

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
    iifname != "${WAN}" accept
    ip protocol != udp drop
${FILTER[nat.filtering]}
    notrack ip daddr set udp dport map @internal_ip udp dport set udp dport map @internal_port accept
    drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname "${LAN}" oifname "${WAN}" ip protocol udp accept
    iifname "${WAN}" oifname "${LAN}" accept
  }
  chain input { type filter hook input priority filter; policy drop; }
  chain translate {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "${WAN}" ip protocol udp ${TRANSLATION[nat.ports](nat)}
  }
  chain remember {
    type filter hook postrouting priority srcnat + 10; policy accept;
    oifname "${WAN}" ip protocol udp \\
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

const TRANSLATION: Record<NatPorts, (nat: NatSetting) => string> = {
  preserving: ({ externalIp }) => `snat to ${externalIp}`,
  hashed: ({ externalIp, generation }) =>
    `snat to ${externalIp} : jhash ip saddr . udp sport mod 60000 seed ${generation} offset 4000`,
  random: () => "masquerade random,fully-random",
  // By way of a map, because a number from numgen itself has the machine's byte order, not the port's.
  sequential: ({ externalIp }) =>
    `snat to ${externalIp} : numgen inc mod ${SEQUENCE} map { ${Array.from({ length: SEQUENCE }, (_, i) => `${i} : ${20_000 + i}`).join(", ")} }`,
};

/** Sequential ports start over after so many. */
const SEQUENCE = 4000;

const KIND = /^(eim|apdm)-(eif|adf|apdf)(?:-(preserving|hashed|random|sequential))?$/;

/**
 * One side's way to the internet as text: `open` (a public address: no layers), one NAT like `apdm-apdf` or
 * `eim-adf-hashed`, or several, the innermost first: `eim-apdf/apdm-adf`.
 * @throws RangeError with what was expected.
 */
export function parseLayers(text: string): readonly NatKindOfLab[] {
  if (text === "open") return [];
  return text.split("/").map((layer) => {
    const found = KIND.exec(layer);
    if (!found) {
      throw new RangeError(
        `"${layer}": open, or eim|apdm, then -eif, -adf or -apdf, then optionally -preserving, -hashed, -random or -sequential was expected`,
      );
    }
    const mapping = found[1] === "eim" ? "EIM" : "APDM";
    const ports = (found[3] ?? (mapping === "EIM" ? "preserving" : "random")) as NatPorts;
    if ((mapping === "EIM") !== (ports === "preserving" || ports === "hashed"))
      throw new RangeError(`"${layer}": ${mapping} does not go with ${ports} ports`);
    return { mapping, filtering: found[2]?.toUpperCase() as NatFiltering, ports };
  });
}
