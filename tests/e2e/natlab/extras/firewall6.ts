import type { Extra } from "./index.ts";

/** IPv6 beside IPv4: a public address, which no NAT translates, behind a firewall that lets in only answers (RFC 6092 §3). */
export const firewall6: Extra = {
  words: "IPv6 behind a stateful firewall",
  ipv6: true,
  apply: (lab, side) => lab.addIpv6(side),
};

/** The same without IPv4. */
export const only6: Extra = {
  words: "IPv6 alone, behind a stateful firewall",
  ipv6: true,
  onlyIpv6: true,
  apply: (lab, side) => lab.addIpv6(side, { alone: true }),
};
