/**
 * What idle connectors cost an intermediate: `bun bench/intermediate/idle.ts [--connectors 1000] [--hold 30]`. Starts the program and so
 * many connectors of our own transport (registered, each with its TURN allocation), waits, and prints the figures of the program's
 * process. Loopback only; ends by itself.
 */
import { nullLogger, seededRandom } from "@adit/core";
import { Identity } from "@adit/quic";
import { startEndpoint } from "@adit/transport";
import { numberOption, RunningIntermediate, sleep } from "./program.ts";

/** At most so many, whatever is asked for. */
const MAX_CONNECTORS = 10_000;
const PARALLEL = 16;
const connectors = Math.min(MAX_CONNECTORS, numberOption("connectors", 1000));
const holdS = numberOption("hold", 30);

const program = await RunningIntermediate.start();
const { port } = program.address("signaling");

async function connect(i: number): Promise<void> {
  const endpoint = await startEndpoint({
    identity: Identity.generate(seededRandom(1_000_000 + i)),
    role: "connector",
    name: `c-${i}`,
    intermediate: { host: "127.0.0.1", port },
    checkIntermediate: () => null,
    bind: { ip: `127.1.${i >> 8}.${i & 255}`, port: 0 },
    admit: () => false,
    log: nullLogger,
  });
  await endpoint.waitRegistered();
}

try {
  const before = await program.metrics();
  const started = performance.now();
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < connectors; i = next++) await connect(i);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  const upMs = performance.now() - started;
  for (let waited = 0; waited < 60_000; waited += 200) {
    if ((await program.metrics())("adit_turn_allocations") >= connectors) break;
    await sleep(200);
  }
  const settled = await program.metrics();
  await sleep(holdS * 1000);
  const after = await program.metrics();
  const rss = (at: typeof before) => at("process_resident_memory_bytes");
  const cpu = (at: typeof before) => at("process_cpu_seconds_total");
  console.log(
    JSON.stringify({
      connectors,
      registered: after("adit_registrations"),
      allocations: after("adit_turn_allocations"),
      perSecond: Math.round(connectors / (upMs / 1000)),
      cpuMsPerSignUp: Number((((cpu(settled) - cpu(before)) * 1000) / connectors).toFixed(2)),
      emptyMiB: Math.round(rss(before) / 2 ** 20),
      fullMiB: Math.round(rss(after) / 2 ** 20),
      kibPerConnector: Number(((rss(after) - rss(before)) / connectors / 1024).toFixed(1)),
      idleCpuPercent: Number((((cpu(after) - cpu(settled)) * 100) / holdS).toFixed(1)),
      lagMs: Math.round(after("adit_event_loop_lag_seconds") * 1000),
    }),
  );
} finally {
  await program.stop();
}
process.exit(0);
