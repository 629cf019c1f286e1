/**
 * What idle connectors cost an intermediate: `bun packages/intermediate/test/idle-load.ts [--connectors 1000] [--hold 30]`. Starts the
 * program and so many connectors of our own transport (registered, each with its TURN allocation), waits, and prints the figures of the
 * program's process. Loopback only; ends by itself.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { nullLogger, seededRandom } from "@adit/core";
import { Identity } from "@adit/quic";
import { type Endpoint, startEndpoint } from "@adit/transport";

const { values } = parseArgs({
  options: { connectors: { type: "string", default: "1000" }, hold: { type: "string", default: "30" } },
});
/** At most so many, whatever is asked for. */
const MAX_CONNECTORS = 10_000;
const PARALLEL = 16;
const connectors = Math.min(MAX_CONNECTORS, Number(values.connectors));

const dir = mkdtempSync(join(tmpdir(), "adit-idle-"));
const policy = join(dir, "policy.toml");
writeFileSync(policy, "[limits]\nclients-per-ip = 20000\n");
const program = spawn(
  join(import.meta.dirname, "..", "bin", "adit-intermediate"),
  [
    ...["--listen", "127.0.0.1:0", "--stun", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--relay-ports", "20000-60000"],
    ...["--allow-private-relay", "--state-dir", join(dir, "state"), "--policy", policy, "--log", "json"],
  ],
  { stdio: ["ignore", "ignore", "pipe"] },
);
const addresses = new Map<string, string>();
const listening = new Promise<void>((resolve, reject) => {
  let text = "";
  program.stderr.on("data", (data) => {
    if (addresses.has("admin")) return;
    text += data;
    for (const line of text.split("\n").slice(0, -1)) {
      const { event, service, address } = JSON.parse(line);
      if (event === "listening") addresses.set(service, address);
    }
    if (addresses.has("admin")) resolve();
  });
  program.once("exit", (code) => reject(new Error(`the program ended with ${code}: ${text}`)));
});

async function metrics(): Promise<(name: string) => number> {
  const body = await (await fetch(`http://${addresses.get("admin")}/metrics`)).text();
  return (name) => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(body)?.[1] ?? Number.NaN);
}

const endpoints: Endpoint[] = [];
try {
  await listening;
  const port = Number(addresses.get("signaling")?.split(":")[1]);
  const before = await metrics();
  const started = performance.now();
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < connectors; i = next++) {
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
      endpoints.push(endpoint);
      await endpoint.waitRegistered();
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  const upMs = performance.now() - started;
  for (let waited = 0; waited < 60_000; waited += 200) {
    if ((await metrics())("adit_turn_allocations") >= connectors) break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const settled = await metrics();
  await new Promise((resolve) => setTimeout(resolve, Number(values.hold) * 1000));
  const after = await metrics();
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
      idleCpuPercent: Number((((cpu(after) - cpu(settled)) * 100) / Number(values.hold)).toFixed(1)),
      lagMs: Math.round(after("adit_event_loop_lag_seconds") * 1000),
    }),
  );
} finally {
  program.kill("SIGTERM");
  await new Promise((resolve) => program.once("exit", resolve));
  rmSync(dir, { recursive: true, force: true });
}
process.exit(0);
