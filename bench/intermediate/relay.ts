/**
 * CPU per relayed packet of the intermediate, beside coturn and the floor of the runtime, in one run and under the same load:
 * `bun bench/intermediate/relay.ts [--seconds 4] [--warm-up 10] [--rate 8000] [--bytes 100,1000] [--allocations 1,100,1000] [--only floor,coturn,adit]`.
 * Each round trip through the relay is two packets. What is counted is the CPU time of the relay's process, so that other work on the machine
 * disturbs it little. The floor uses the same sockets as the intermediate. Loopback only; ends by itself.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { SocketAddress } from "@adit/core";
import type { UdpSocket } from "@adit/transport";
import { cpuMsOf, listOption, numberOption, RunningIntermediate, sleep } from "./program.ts";
import { RelayLoad } from "./relay-load.ts";

const seconds = numberOption("seconds", 4);
const warmUpSeconds = numberOption("warm-up", 10);
const rate = numberOption("rate", 8000);
const cases = listOption("bytes", "100,1000").flatMap((bytes) =>
  listOption("allocations", "1,100,1000").map((allocations) => ({
    bytes: Number(bytes),
    allocations: Number(allocations),
  })),
);
const only = new Set(listOption("only", "floor,coturn,adit"));

interface Relay {
  readonly server: SocketAddress;
  readonly plain: boolean;
  cpuMs(): number;
  stop(): Promise<void>;
}

type Starter = (peer: UdpSocket, allocations: number) => Promise<Relay | null>;

const startAdit: Starter = async () => {
  const program = await RunningIntermediate.start(["--turn-user", "u:p"]);
  return { server: program.address("stun"), plain: false, cpuMs: () => program.cpuMs(), stop: () => program.stop() };
};

const startCoturn: Starter = async () => {
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  const where = ["-n", "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", String(port), "--no-tls", "--no-dtls", "--no-cli"];
  const who = ["-u", "u:p", "-r", "adit", "--lt-cred-mech", "--allow-loopback-peers", "--log-file", "/dev/null"];
  const child = spawn("turnserver", [...where, ...who], { stdio: "ignore" });
  const missing = await new Promise<boolean>((resolve) => {
    child.once("error", () => resolve(true));
    child.once("spawn", () => resolve(false));
  });
  if (missing) return null;
  await sleep(1000);
  return { server: SocketAddress.of("127.0.0.1", port), plain: false, ...ofProcess(child) };
};

const startFloor: Starter = async (peer, allocations) => {
  const script = new URL("./relay-floor.ts", import.meta.url).pathname;
  const args = [script, String(peer.address.port), String(allocations)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const line = await new Promise<string>((resolve) => child.stdout?.once("data", (data) => resolve(String(data))));
  return { server: SocketAddress.of("127.0.0.1", JSON.parse(line).port), plain: true, ...ofProcess(child) };
};

function ofProcess(child: ChildProcess): Pick<Relay, "cpuMs" | "stop"> {
  return {
    cpuMs: () => cpuMsOf(child.pid),
    stop: async () => {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await gone;
    },
  };
}

/** CPU per relayed packet, us; null where the relay is not installed. */
async function measure(start: Starter, bytes: number, allocations: number): Promise<number | null> {
  let load: RelayLoad | null = null;
  let atPeer = 0;
  const peer = await RelayLoad.echo(() => atPeer++);
  const relay = await start(peer, allocations);
  if (!relay) return null;
  try {
    const { server, plain } = relay;
    load = await RelayLoad.start({ server, allocations, payloadBytes: bytes, rate, plain }, peer);
    await load.run(warmUpSeconds * 1000); // the runtime's compilers take seconds of work before they are done
    const [cpuBefore, before] = [relay.cpuMs(), load.packets + atPeer];
    await load.run(seconds * 1000);
    return ((relay.cpuMs() - cpuBefore) * 1000) / (load.packets + atPeer - before);
  } finally {
    load?.close();
    await relay.stop();
  }
}

console.log("CPU per relayed packet, us: floor, coturn, adit, and adit against each");
for (const { bytes, allocations } of cases) {
  const floor = only.has("floor") ? await measure(startFloor, bytes, allocations) : null;
  const coturn = only.has("coturn") ? await measure(startCoturn, bytes, allocations) : null;
  const adit = only.has("adit") ? await measure(startAdit, bytes, allocations) : null;
  const us = (value: number | null): string => (value === null ? "-" : value.toFixed(2));
  const ratio = (to: number | null): string => (to && adit ? (adit / to).toFixed(2) : "-");
  console.log(
    `${bytes} B, ${allocations} allocations: ${us(floor)}  ${us(coturn)}  ${us(adit)}  ${ratio(floor)}  ${ratio(coturn)}`,
  );
}
process.exit(0);
