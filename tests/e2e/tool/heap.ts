/**
 * Loaded before a program under test (BUN_OPTIONS=--preload=.../heap.ts): at each SIGUSR2 it collects all garbage and appends what is
 * still reachable to the file that ADIT_E2E_HEAP names, as one JSON line.
 */

import { heapStats } from "bun:jsc";
import { appendFileSync } from "node:fs";

/** In how many collections each finalizer has run that the one before made ready. */
const COLLECTIONS = 3;

/** What the programs make of each connection, and the runtime makes of nothing else. */
const HELD = [
  "Function",
  "JSLexicalEnvironment",
  "Promise",
  "Map",
  "Set",
  "Array",
  "AbortSignal",
  "Timeout",
  "TCPSocket",
];

const path = process.env.ADIT_E2E_HEAP;

async function tell(to: string): Promise<void> {
  for (let i = 0; i < COLLECTIONS; i++) {
    Bun.gc(true);
    await Bun.sleep(10);
  }
  const { heapSize, objectTypeCounts } = heapStats();
  const held = HELD.reduce((sum, type) => sum + (objectTypeCounts[type] ?? 0), 0);
  appendFileSync(to, `${JSON.stringify({ held, heapKb: Math.round(heapSize / 1024) })}\n`);
}

if (path !== undefined) process.on("SIGUSR2", () => void tell(path));
