/**
 * What a lone packet waits for in the relay, and what the intermediate costs while nothing happens: `bun bench/intermediate/lone.ts [--packets 600]
 * [--idle 8]`. One allocation, one packet at a time with pauses, there and back. Loopback only; ends by itself.
 */
import { numberOption, RunningIntermediate, sleep } from "./program.ts";
import { RelayLoad } from "./relay-load.ts";

const MAX_PACKETS = 10_000;
const packets = Math.min(MAX_PACKETS, numberOption("packets", 600));
const idleSeconds = numberOption("idle", 8);
const PAUSE_MS = 5;

const peer = await RelayLoad.echo(() => {});
const program = await RunningIntermediate.start(["--turn-user", "u:p"]);
const server = program.address("stun");
const load = await RelayLoad.start({ server, allocations: 1, payloadBytes: 100, rate: 1, plain: false }, peer);
await sleep(2000);
const before = program.cpuMs();
await sleep(idleSeconds * 1000);
const idleCpuMs = program.cpuMs() - before;
const times: number[] = [];
for (let i = 0; i < packets; i++) {
  times.push(await load.roundTrip());
  await sleep(PAUSE_MS);
}
times.sort((a, b) => a - b);
const us = (share: number): number => Math.round((times[Math.floor((times.length - 1) * share)] ?? 0) * 1000);
console.log(
  JSON.stringify({ idleCpuMsPerSecond: Number((idleCpuMs / idleSeconds).toFixed(2)), p50Us: us(0.5), p90Us: us(0.9) }),
);
load.close();
await program.stop();
process.exit(0);
