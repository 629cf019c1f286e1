/**
 * bun bench/run.ts [--bytes N] [--rounds N] [--only NAME,...]: one stream over loopback between two processes, this project beside its
 * peers and beside the floor, all in one run. Absolute figures drift with the machine; what counts is the ratios.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Floor, measureFloor } from "./lib/floor.ts";
import { type Transfer, transfer, withIntermediate } from "./lib/processes.ts";
import { measureTunnel } from "./lib/tunnel.ts";

const INTERMEDIATE_PORT = 24_433;
const env = { BENCH_INTERMEDIATE_PORT: String(INTERMEDIATE_PORT) };

const { values } = parseArgs({
  options: {
    bytes: { type: "string", default: "200000000" },
    rounds: { type: "string", default: "3" },
    only: { type: "string", default: "adit,floor,stock,iroh,datachannel,streams,tunnel" },
  },
});
const bytes = Number(values.bytes);
const rounds = Number(values.rounds);
const wanted = new Set(values.only.split(","));

interface Contest extends Omit<Transfer, "bytes"> {
  readonly name: string;
  readonly label: string;
  /** The slow ones get fewer bytes; a rate is a rate. */
  readonly bytes: number;
  /** How many times as fast this project means to be. */
  readonly aim: number;
}

const contests: readonly Contest[] = [
  { name: "stock", label: "@matrixai/quic QUICClient", file: "stock.ts", bytes: bytes / 10, aim: 40 },
  { name: "iroh", label: "@number0/iroh", file: "iroh.ts", bytes: bytes / 4, aim: 15 },
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
  const best = new Map<string, number>();
  const failures = new Map<string, string>();
  let floor: Floor | null = null;
  const run = async (name: string, what: Transfer): Promise<void> => {
    if (!wanted.has(name) || failures.has(name)) return;
    try {
      const received = await transfer(what);
      best.set(name, Math.max(best.get(name) ?? 0, (received.bytes * 8000) / received.ms));
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

function report(best: ReadonlyMap<string, number>, failures: ReadonlyMap<string, string>, floor: Floor | null): void {
  const ours = best.get("adit") ?? 0;
  if (ours > 0) line("one stream, loopback", mbps(ours));
  if (floor && ours > 0) {
    const { sendUs, sendManyUs } = floor;
    const share = `${((100 * ours) / floor.bitsPerS).toFixed(0)} % of it (aim 75 %)`;
    line(
      "floor",
      `${mbps(floor.bitsPerS)}  send ${sendUs.toFixed(2)} us + sendMany ${sendManyUs.toFixed(2)} us; ${share}`,
    );
  }
  const streams = best.get("streams");
  if (streams)
    line("64 streams", `${mbps(streams)}  ${((100 * streams) / ours).toFixed(0)} % of one stream's (aim 90 %)`);
  for (const { name, label, aim } of contests) {
    const theirs = best.get(name);
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
