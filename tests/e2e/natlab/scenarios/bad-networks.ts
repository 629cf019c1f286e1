import { badNetwork } from "./scenario.ts";

// A way crosses two wires: 1 - 0.894² = 0.2.
export const lossy20 = badNetwork({ delayMs: 10, loss: 0.106 }, 1_000_000);
export const satellite450 = badNetwork({ delayMs: 112.5, loss: 0.041, lossBurst: 4 }, 1_000_000);
export const slow5mbit = badNetwork({ delayMs: 10, rateBitsPerS: 5_000_000 }, 5_000_000);
