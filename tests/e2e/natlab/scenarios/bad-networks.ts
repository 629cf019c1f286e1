import { badNetwork } from "./scenario.ts";

// A way crosses two wires: 1 - 0.894² = 0.2.
export const lossy20 = badNetwork({ delayMs: 10, loss: 0.106 }, 1_000_000);
export const satellite450 = badNetwork({ delayMs: 112.5, loss: 0.041, lossBurst: 4 }, 1_000_000);
/** No ICMP tells of it: a tunnel on the way whose packets are shorter, from the start, or from half a second into a transfer on. */
export const smallMtu = badNetwork({ delayMs: 10, maxIpBytes: 1400 }, 5_000_000);
export const shrinkingMtu = badNetwork({ delayMs: 10, maxIpBytes: 1300, shrinksAfterMs: 1000 }, 5_000_000);
export const slow5mbit = badNetwork({ delayMs: 10, rateBitsPerS: 5_000_000 }, 5_000_000);
