import { badNetwork } from "./scenario.ts";

// A way crosses two wires: 1 - 0.894² = 0.2.
export const lossy20 = badNetwork("20 % loss each way", { delayMs: 10, loss: 0.106 }, 1_000_000);
export const satellite450 = badNetwork(
  "450 ms round trip, 8 % loss each way in bursts of four",
  { delayMs: 112.5, loss: 0.041, lossBurst: 4 },
  1_000_000,
);
// No ICMP tells of it: a tunnel on the way whose packets are shorter.
export const smallMtu = badNetwork(
  "no packet above 1400 bytes gets through",
  { delayMs: 10, maxIpBytes: 1400 },
  5_000_000,
);
export const shrinkingMtu = badNetwork(
  "from a second after the first on, no packet above 1300 bytes gets through",
  { delayMs: 10, maxIpBytes: 1300, shrinksAfterMs: 1000 },
  5_000_000,
);
export const slow5mbit = badNetwork(
  "5 Mb/s with a queue of 250 ms",
  { delayMs: 10, rateBitsPerS: 5_000_000 },
  5_000_000,
);
