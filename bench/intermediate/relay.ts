/**
 * CPU per relayed packet of the intermediate, beside coturn and the floor of the runtime, in one run and under the same load:
 * `bun bench/intermediate/relay.ts [--rounds 5] [--seconds 1] [--warm-up 5] [--rate 8000] [--bytes 100,1000] [--allocations 1,100,1000]
 * [--only bun,linux,coturn,adit]`. The floor is a program that only sends on what it receives, once with the runtime's sockets (`bun`) and once
 * with those of our own (`linux`); the cheaper one counts. All of them run beside each other and are loaded in turns, round by round, and the
 * median of the rounds counts: what else happens on the machine comes upon all. Each round trip through the relay is two packets. What is counted
 * is the CPU time of the relay's process. Loopback only; ends by itself.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { SocketAddress } from "@adit/core";
import type { UdpSocket } from "@adit/transport";
import { cpuMsOf, listOption, numberOption, RunningIntermediate, sleep } from "./program.ts";
import { RelayLoad } from "./relay-load.ts";

const rounds = numberOption("rounds", 5);
const seconds = numberOption("seconds", 1);
const warmUpSeconds = numberOption("warm-up", 5);
const rate = numberOption("rate", 8000);
const cases = listOption("bytes", "100,1000").flatMap((bytes) =>
  listOption("allocations", "1,100,1000").map((allocations) => ({
    bytes: Number(bytes),
    allocations: Number(allocations),
  })),
);

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

const startFloor =
  (sockets: "bun" | "linux"): Starter =>
  async (peer, allocations) => {
    const script = new URL("./relay-floor.ts", import.meta.url).pathname;
    const args = [script, String(peer.address.port), String(allocations), sockets];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const line = await new Promise<string>((resolve) => child.stdout?.once("data", (data) => resolve(String(data))));
    return { server: SocketAddress.of("127.0.0.1", JSON.parse(line).port), plain: true, ...ofProcess(child) };
  };

const STARTERS: Readonly<Record<string, Starter>> = {
  bun: startFloor("bun"),
  linux: startFloor("linux"),
  coturn: startCoturn,
  adit: startAdit,
};
const only = listOption("only", Object.keys(STARTERS).join(","));

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

/** A relay under a load of its own. */
class Contender {
  readonly #relay: Relay;
  readonly #load: RelayLoad;
  readonly #atPeer: { packets: number };
  /** CPU per relayed packet, us, of each round. */
  readonly #costs: number[] = [];

  private constructor(relay: Relay, load: RelayLoad, atPeer: { packets: number }) {
    this.#relay = relay;
    this.#load = load;
    this.#atPeer = atPeer;
  }

  /** Null where the relay is not installed. */
  static async start(start: Starter, bytes: number, allocations: number): Promise<Contender | null> {
    const atPeer = { packets: 0 };
    const peer = await RelayLoad.echo(() => atPeer.packets++);
    const relay = await start(peer, allocations);
    if (!relay) return null;
    const { server, plain } = relay;
    const load = await RelayLoad.start({ server, allocations, payloadBytes: bytes, rate, plain }, peer);
    await load.run(warmUpSeconds * 1000); // the runtime's compilers take seconds of work before they are done
    return new Contender(relay, load, atPeer);
  }

  async round(): Promise<void> {
    const [cpuBefore, before] = [this.#relay.cpuMs(), this.#packets];
    await this.#load.run(seconds * 1000);
    this.#costs.push(((this.#relay.cpuMs() - cpuBefore) * 1000) / (this.#packets - before));
  }

  get medianUs(): number {
    return this.#costs.toSorted((a, b) => a - b)[this.#costs.length >> 1] ?? Number.NaN;
  }

  async stop(): Promise<void> {
    this.#load.close();
    await this.#relay.stop();
  }

  get #packets(): number {
    return this.#load.packets + this.#atPeer.packets;
  }
}

async function measure(bytes: number, allocations: number): Promise<ReadonlyMap<string, number>> {
  const contenders = new Map<string, Contender>();
  try {
    for (const name of only) {
      const starter = STARTERS[name];
      if (!starter) throw new Error(`--only knows ${Object.keys(STARTERS).join(", ")}; not ${name}`);
      const contender = await Contender.start(starter, bytes, allocations);
      if (contender) contenders.set(name, contender);
    }
    for (let round = 0; round < rounds; round++) for (const contender of contenders.values()) await contender.round();
    return new Map([...contenders].map(([name, { medianUs }]) => [name, medianUs]));
  } finally {
    for (const contender of contenders.values()) await contender.stop();
  }
}

console.log(
  "CPU per relayed packet, us: floor with the runtime's sockets and with ours, coturn, adit; adit against floor and coturn",
);
for (const { bytes, allocations } of cases) {
  const costs = await measure(bytes, allocations);
  const us = (name: string): string => costs.get(name)?.toFixed(2) ?? "-";
  const ratio = (to: number | undefined): string => ((costs.get("adit") ?? Number.NaN) / (to ?? Number.NaN)).toFixed(2);
  const floor = Math.min(costs.get("bun") ?? Number.NaN, costs.get("linux") ?? Number.NaN);
  const all = ["bun", "linux", "coturn", "adit"].map(us).join("  ");
  console.log(`${bytes} B, ${allocations} allocations: ${all}  ${ratio(floor)}  ${ratio(costs.get("coturn"))}`);
}
process.exit(0);
