import type { Extra } from "./index.ts";

/** A firewall that lets out TCP to port 443 and nothing else. */
export const only443: Extra = {
  words: "only TCP to port 443 is allowed",
  blocksUdp: true,
  apply: (lab, side) =>
    lab.nft(
      side.edge,
      "only_443",
      "meta l4proto tcp tcp dport 443 accept",
      "meta l4proto tcp tcp sport 443 accept",
      "drop",
    ),
};
