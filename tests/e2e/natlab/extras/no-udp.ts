import type { Extra } from "./index.ts";

/** A firewall that lets no UDP through, in neither direction. */
export const noUdp: Extra = {
  words: "UDP is blocked",
  blocksUdp: true,
  apply: (lab, side) => lab.nft(side.edge, "no_udp", "meta l4proto udp drop"),
};
