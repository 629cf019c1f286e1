/**
 * bun bench/run.ts [--bytes N] [--rounds N] [--only NAME,...]: one stream over loopback between two processes, this project beside its
 * peers and beside the floor, all in one run. Absolute figures drift with the machine; what counts is the ratios. A transfer is measured from its
 * first byte to its last, warming up included; so it has a gigabyte, and what its first 200 MB took is printed beside it.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Floor, measureFloor } from "./lib/floor.ts";
import { bundleForNode, type Transfer, transfer, withIntermediate } from "./lib/processes.ts";
import { FIRST_BYTES } from "./lib/sink.ts";
import { measureTunnel } from "./lib/tunnel.ts";

const INTERMEDIATE_PORT = 24_433;
const env = { BENCH_INTERMEDIATE_PORT: String(INTERMEDIATE_PORT) };

const { values } = parseArgs({
  options: {
    bytes: { type: "string", default: "1000000000" },
    rounds: { type: "string", default: "2" },
    only: { type: "string", default: "adit,floor,stock,iroh,iroh-node,datachannel,streams,tunnel" },
  },
});
const bytes = Number(values.bytes);
const rounds = Number(values.rounds);
const wanted = new Set(values.only.split(","));

interface Best {
  readonly bitsPerS: number;
  /** Of the first 200 MB; null where there were no more. */
  readonly firstBitsPerS: number | null;
}

interface Contest extends Omit<Transfer, "bytes"> {
  readonly name: string;
  readonly label: string;
  /** The slow ones get fewer bytes; a rate is a rate. */
  readonly bytes: number;
  /** How many times as fast this project means to be. */
  readonly aim: number;
}

const contests: readonly Contest[] = [
  { name: "stock", label: "@matrixai/quic QUICClient", file: "stock.ts", bytes: bytes / 40, aim: 40 },
  { name: "iroh", label: "@number0/iroh", file: "iroh.ts", bytes: bytes / 4, aim: 15 },
  // The runtime that its addon is made for.
  {
    name: "iroh-node",
    label: "@number0/iroh on Node",
    file: "iroh.ts",
    bytes: bytes / 16,
    runtime: "node",
    aim: 15,
  },
  { name: "datachannel", label: "node-datachannel", file: "datachannel.ts", bytes: bytes / 2, aim: 2 },
];

const mbps = (bitsPerS: number): string => `${(bitsPerS / 1e6).toFixed(0).padStart(6)} Mb/s`;
const line = (label: string, text: string): void => console.log(`${label.padEnd(30)} ${text}`);

const directory = mkdtempSync(join(tmpdir(), "adit-bench-"));
try {
  await withIntermediate(INTERMEDIATE_PORT, join(directory, "intermediate"), compare);
  if (wanted.has("tunnel")) await measureTunnel(directory, bytes, line);
} finally {
  rmSync(directory, { recursive: true });
}

/** Rounds of everyone in turn, so that a noisy minute hits all alike; the best of each counts. */
async function compare(): Promise<void> {
  const best = new Map<string, Best>();
  const failures = new Map<string, string>();
  let floor: Floor | null = null;
  const run = async (name: string, what: Transfer): Promise<void> => {
    if (!wanted.has(name) || failures.has(name)) return;
    try {
      const file = what.runtime === "node" ? bundleForNode(what.file, directory) : what.file;
      const { bytes, ms, firstMs } = await transfer({ ...what, file });
      const bitsPerS = (bytes * 8000) / ms;
      if (bitsPerS <= (best.get(name)?.bitsPerS ?? 0)) return;
      best.set(name, { bitsPerS, firstBitsPerS: firstMs === null ? null : (FIRST_BYTES * 8000) / firstMs });
    } catch (error) {
      failures.set(name, lastWords(error as Error));
    }
  };
  for (let round = 0; round < rounds; round++) {
    if (wanted.has("floor")) {
      const now = await measureFloor();
      if (!floor || now.bitsPerS > floor.bitsPerS) floor = now;
    }
    await run("adit", { file: "adit.ts", bytes, env });
    await run("streams", { file: "adit.ts", bytes, streams: 64, env });
    for (const contest of contests) await run(contest.name, contest);
  }
  report(best, failures, floor);
}

function report(best: ReadonlyMap<string, Best>, failures: ReadonlyMap<string, string>, floor: Floor | null): void {
  const { bitsPerS: ours, firstBitsPerS } = best.get("adit") ?? { bitsPerS: 0, firstBitsPerS: null };
  if (ours > 0) {
    const first = firstBitsPerS === null ? "" : `  its first ${FIRST_BYTES / 1e6} MB ${mbps(firstBitsPerS).trim()}`;
    line("one stream, loopback", mbps(ours) + first);
  }
  if (floor && ours > 0) {
    const { sendUs, sendManyUs } = floor;
    const share = `${((100 * ours) / floor.bitsPerS).toFixed(0)} % of it (aim 75 %)`;
    line(
      "floor",
      `${mbps(floor.bitsPerS)}  send ${sendUs.toFixed(2)} us + sendMany ${sendManyUs.toFixed(2)} us; ${share}`,
    );
  }
  const streams = best.get("streams")?.bitsPerS;
  if (streams)
    line("64 streams", `${mbps(streams)}  ${((100 * streams) / ours).toFixed(0)} % of one stream's (aim 90 %)`);
  for (const { name, label, aim } of contests) {
    const theirs = best.get(name)?.bitsPerS;
    if (!theirs) continue;
    const ratio = ours > 0 ? `  adit is ${(ours / theirs).toFixed(1)}x as fast (aim ${aim}x)` : "";
    line(label, mbps(theirs) + ratio);
  }
  for (const [name, why] of failures) line(name, `skipped: ${why}`);
}

/** Of a runtime's report, which begins with lines of source: the line that names the error. */
function lastWords(error: Error): string {
  const lines = error.message.split("\n");
  return (lines.find((text) => /^\s*\w*error\b/i.test(text)) ?? lines[0] ?? "").trim();
}
