/**
 * Where the memory of idle connectors is: `bun bench/intermediate/memory.ts [--counts 1000,3000] [--rate 250] [--hold 8] [--ask stats,gc,trim]`. Cheap clients of
 * one process (registered, each with a TURN allocation) come at that rate up to each count; after so many seconds the intermediate says what its memory is made of, and what
 * is printed is how much of each kind one more client takes. Of what is asked behind the first `stats` the time that it took and what it
 * gave back are printed. Loopback only; ends by itself.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { SocketAddress, seededRandom, systemRandom } from "@adit/core";
import { TurnClient } from "@adit/ice";
import { Identity, QuicConfig } from "@adit/quic";
import { SIGNALING_ALPN } from "@adit/signaling";
import { bindUdp, type UdpSocket } from "@adit/transport";
import { type LoadClient, LoadClients } from "./load-clients.ts";
import { listOption, numberOption, RunningIntermediate, sleep } from "./program.ts";

const MAX_CLIENTS = 10_000;
const TICK_MS = 50;
const counts = listOption("counts", "1000,3000").map((count) => Math.min(MAX_CLIENTS, Number(count)));
const rate = numberOption("rate", 250);
const holdS = numberOption("hold", 8);
const asks = listOption("ask", "stats");

/** One allocation, from a port of its own; it is not refreshed, which is due after minutes only. */
async function allocate(server: SocketAddress, credentials: { username: string; password: string }): Promise<void> {
  let socket: UdpSocket | null = null;
  const turn = new TurnClient({ server, socket: 0, relaySocket: 1000, random: systemRandom, ...credentials });
  const act = (work: (now: number) => void): void => {
    work(performance.now());
    for (let out = turn.pollTransmit(); out; out = turn.pollTransmit()) socket?.send([out]);
  };
  socket = await bindUdp({
    address: SocketAddress.of("127.0.0.1", 0),
    handlers: {
      onBatch: (batch) => {
        for (const { data } of batch) act((now) => turn.handleDatagram(now, data));
      },
      onDrain: () => {},
    },
  });
  act((now) => turn.start(now));
  while (turn.state !== "allocated") {
    await sleep(TICK_MS);
    if (turn.state === "failed") act((now) => turn.start(now));
    else act((now) => turn.handleTimeout(now));
  }
}

async function clients(port: number): Promise<void> {
  const load = await LoadClients.open(SocketAddress.of("127.0.0.1", port), MAX_CLIENTS);
  const all: LoadClient[] = [];
  let target = 0;
  let allocated = 0;
  createInterface({ input: process.stdin }).on("line", (line) => {
    target = Number(line);
  });
  const configs: QuicConfig[] = [];
  let startedAt = 0;
  let base = 0;
  let told = 0;
  for (;;) {
    if (target > configs.length) {
      for (let i = configs.length; i < target; i++) {
        const identity = Identity.generate(seededRandom(1_000_000 + i));
        configs.push(QuicConfig.create({ role: "client", identity, alpn: SIGNALING_ALPN, maxIdleTimeoutMs: 60_000 }));
      }
      [startedAt, base] = [performance.now(), all.length];
    }
    const due = Math.min(target, base + Math.floor(((performance.now() - startedAt) / 1000) * rate));
    for (const config of configs.slice(all.length, due)) {
      const client = load.start(config, `c-${all.length}`);
      client.onUp = (turn) => {
        if (turn) void allocate(turn.address, turn).then(() => allocated++);
      };
      all.push(client);
    }
    load.tick();
    if (allocated === target && told !== target) {
      told = target;
      console.log(JSON.stringify({ up: target }));
    }
    await sleep(TICK_MS);
  }
}

interface Sample {
  readonly [kind: string]: number | string | Sample;
}

async function probe(child: ChildProcess, file: string, what: string): Promise<Sample> {
  writeFileSync(file, what);
  rmSync(`${file}.json`, { force: true });
  child.kill("SIGUSR2");
  while (!existsSync(`${file}.json`)) await sleep(50);
  return JSON.parse(readFileSync(`${file}.json`, "utf8")) as Sample;
}

function flat(sample: Sample, prefix = ""): Map<string, number> {
  const all = new Map<string, number>();
  for (const [key, value] of Object.entries(sample)) {
    if (typeof value === "number") all.set(prefix + key, value);
    else if (typeof value === "object") for (const [k, v] of flat(value, `${prefix}${key}.`)) all.set(k, v);
  }
  return all;
}

async function measure(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "adit-memory-"));
  const file = join(dir, "probe");
  const env = { ADIT_PROBE: file, BUN_OPTIONS: `--preload ${join(import.meta.dirname, "memory-probe.ts")}` };
  const program = await RunningIntermediate.start([], env);
  const options = ["--rate", String(rate)];
  const port = String(program.address("signaling").port);
  const child = spawn(process.execPath, [import.meta.path, "clients", port, ...options], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const server = program.child;
    if (!server) throw new Error("no process");
    const samples: { count: number; at: Map<string, number> }[] = [
      { count: 0, at: flat(await probe(server, file, "rss")) },
    ];
    let cpuMs = program.cpuMs();
    for (const count of counts) {
      child.stdin.write(`${count}\n`);
      await lines.next();
      const used = program.cpuMs() - cpuMs;
      await sleep(holdS * 1000);
      for (const ask of asks) {
        const at = flat(await probe(server, file, ask));
        console.log(
          JSON.stringify({
            count,
            ask,
            tookMs: at.get("tookMs"),
            pauseMs: at.get("pauseMs"),
            heap: (at.get("heap.heapSize") ?? 0) / 2 ** 20,
            cap: (at.get("heap.heapCapacity") ?? 0) / 2 ** 20,
            extra: (at.get("heap.extraMemorySize") ?? 0) / 2 ** 20,
            rssMiB: (at.get("rss") ?? 0) / 2 ** 20,
            used,
            idle: (program.cpuMs() - cpuMs - used) / holdS,
          }),
        );
        // What `rss` and a `stats` behind it say of the same moment goes together.
        const last = samples.at(-1);
        if (last?.count === count) for (const [key, value] of at) last.at.set(key, last.at.get(key) ?? value);
        else if (ask === "stats" || ask === "rss") samples.push({ count, at });
        cpuMs = program.cpuMs();
      }
    }
    const [a, b] = samples.slice(-2);
    if (!a || !b) return;
    const slope = (key: string): number => ((b.at.get(key) ?? 0) - (a.at.get(key) ?? 0)) / (b.count - a.count);
    for (const key of b.at.keys()) {
      const each = slope(key);
      if (key.startsWith("types.") ? each >= 0.45 : Math.abs(each) >= 20)
        console.log(
          `${key.padEnd(44)} ${each.toFixed(key.startsWith("types.") ? 2 : 0).padStart(9)}  (${b.at.get(key)})`,
        );
    }
    console.log(
      JSON.stringify({ kibEach: slope("rss") / 1024, lag: (await program.metrics())("adit_event_loop_lag_seconds") }),
    );
  } finally {
    child.kill();
    await program.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

if (process.argv[2] === "clients") await clients(Number(process.argv[3]));
else await measure();
process.exit(0);
