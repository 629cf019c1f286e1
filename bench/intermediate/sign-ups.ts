/**
 * Sign-ups at a steady rate: `bun bench/intermediate/sign-ups.ts [--rate 500] [--seconds 10]`. A sign-up is a QUIC handshake with a key and
 * a certificate of its own, Hello, Welcome, and a new name registered and on the disk. The clients are a process beside the intermediate,
 * and cheap: keys and contexts are made before the clock starts, and all share a few sockets. Loopback only; ends by itself.
 */
import { spawn } from "node:child_process";
import { SocketAddress } from "@adit/core";
import { Identity, QuicConfig } from "@adit/quic";
import { SIGNALING_ALPN } from "@adit/signaling";
import { type LoadClient, LoadClients } from "./load-clients.ts";
import { numberOption, RunningIntermediate, sleep } from "./program.ts";

const MAX_SIGN_UPS = 10_000;
const rate = numberOption("rate", 500);
const seconds = numberOption("seconds", 10);
const total = Math.min(MAX_SIGN_UPS, Math.round(rate * seconds));

async function clients(port: number): Promise<void> {
  const load = await LoadClients.open(SocketAddress.of("127.0.0.1", port), MAX_SIGN_UPS);
  const configs = Array.from({ length: total }, () =>
    QuicConfig.create({
      role: "client",
      identity: Identity.generate(),
      alpn: SIGNALING_ALPN,
      maxIdleTimeoutMs: 60_000,
    }),
  );
  console.log(JSON.stringify({ ready: total }));
  const startedAt = performance.now();
  const all: LoadClient[] = [];
  while (all.length < total) {
    const due = Math.min(total, Math.floor(((performance.now() - startedAt) / 1000) * rate) + 1);
    for (const config of configs.slice(all.length, due)) all.push(load.start(config, `s-${all.length}`));
    load.tick();
    await sleep(2);
  }
  const offeredMs = performance.now() - startedAt;
  for (const end = performance.now() + 10_000; performance.now() < end && all.some(({ doneMs }) => doneMs === null); ) {
    load.tick();
    await sleep(10);
  }
  const times = all.flatMap(({ doneMs }) => doneMs ?? []).sort((a, b) => a - b);
  const at = (share: number): number => Math.round(times[Math.floor((times.length - 1) * share)] ?? -1);
  console.log(JSON.stringify({ signedUp: times.length, offeredMs, p50Ms: at(0.5), p99Ms: at(0.99), slowestMs: at(1) }));
  process.exit(0);
}

async function measure(): Promise<void> {
  const program = await RunningIntermediate.start();
  try {
    const options = ["--rate", String(rate), "--seconds", String(seconds)];
    const child = spawn(
      process.execPath,
      [import.meta.path, "clients", String(program.address("signaling").port), ...options],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    let text = "";
    let before = 0;
    child.stdout.on("data", (data) => {
      text += data;
      if (before === 0 && text.includes('"ready"')) before = program.cpuMs();
    });
    await new Promise((resolve) => child.once("exit", resolve));
    const cpuMs = program.cpuMs() - before;
    const result = JSON.parse(text.trim().split("\n").at(-1) ?? "{}");
    const after = await program.metrics();
    console.log(
      JSON.stringify({
        rate,
        seconds,
        ...result,
        offeredPerSecond: Math.round(total / (result.offeredMs / 1000)),
        registered: after("adit_registrations"),
        cpuMsPerSignUp: Number((cpuMs / Math.max(1, result.signedUp)).toFixed(2)),
        lagMs: Math.round(after("adit_event_loop_lag_seconds") * 1000),
        handshakesRefused: after("adit_refusals_total"),
        retries: after("adit_signaling_retries_total"),
      }),
    );
  } finally {
    await program.stop();
  }
}

if (process.argv[2] === "clients") await clients(Number(process.argv[3]));
else await measure();
