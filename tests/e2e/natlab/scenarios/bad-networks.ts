import { type BadNetwork, transferOver } from "./scenario.ts";

// A way crosses two wires: 1 - 0.894² = 0.2.
export const LOSSY_20: BadNetwork = { words: "20 % loss each way", quality: { delayMs: 10, loss: 0.106 } };
export const SATELLITE_450: BadNetwork = {
  words: "450 ms round trip, 8 % loss each way in bursts of four",
  quality: { delayMs: 112.5, loss: 0.041, lossBurst: 4 },
};
export const SLOW_5MBIT: BadNetwork = {
  words: "5 Mb/s with a queue of 250 ms",
  quality: { delayMs: 10, rateBitsPerS: 5_000_000 },
};
/** Frames keep their order, so what comes late holds up what is behind it, as on a radio link that repeats. */
const JITTERY_30: BadNetwork = {
  words: "40 ms round trip and up to 30 ms more on each wire",
  quality: { delayMs: 10, jitterMs: 30 },
};
// No ICMP tells of it: a tunnel on the way whose packets are shorter.
const SMALL_MTU: BadNetwork = {
  words: "no packet above 1400 bytes gets through",
  quality: { delayMs: 10, maxIpBytes: 1400 },
};
const SHRINKING_MTU: BadNetwork = {
  words: "from a second after the first on, no packet above 1300 bytes gets through",
  quality: { delayMs: 10, maxIpBytes: 1300, shrinksAfterMs: 1000 },
};

export const lossy20 = transferOver(LOSSY_20, 1_000_000);
export const satellite450 = transferOver(SATELLITE_450, 1_000_000);
export const slow5mbit = transferOver(SLOW_5MBIT, 5_000_000);
export const jittery30 = transferOver(JITTERY_30, 20_000_000);
export const smallMtu = transferOver(SMALL_MTU, 5_000_000);
export const shrinkingMtu = transferOver(SHRINKING_MTU, 5_000_000);
