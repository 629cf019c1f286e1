/** The intermediate as a process of its own, on loopback ports that the system chose, and what it says of itself. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SocketAddress } from "@adit/core";

const LAUNCHER = join(import.meta.dirname, "../../packages/intermediate/bin/adit-intermediate");

/** Everybody comes from one host here: the bounds per address are what is not measured. */
const POLICY = `[limits]
clients-per-ip = 1000000
handshakes-per-ip-per-second = 1000000
challenges-per-ip-per-second = 1000000
allocations-per-ip = 1000000
new-names-per-ip-per-hour = 1000000
`;

/** Reads one metric, the sum of its samples; NaN when there is none. */
export type Metrics = (name: string) => number;

export class RunningIntermediate {
  readonly #child: ChildProcess;
  readonly #dir: string;
  readonly #addresses: ReadonlyMap<string, SocketAddress>;

  private constructor(child: ChildProcess, dir: string, addresses: ReadonlyMap<string, SocketAddress>) {
    this.#child = child;
    this.#dir = dir;
    this.#addresses = addresses;
  }

  static async start(extra: readonly string[] = []): Promise<RunningIntermediate> {
    const dir = mkdtempSync(join(tmpdir(), "adit-bench-"));
    const policy = join(dir, "policy.toml");
    writeFileSync(policy, POLICY);
    const listen = ["--listen", "127.0.0.1:0", "--stun", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    const more = ["--relay-ports", "20000-60000", "--allow-private-relay", "--policy", policy, "--log", "json"];
    const child = spawn(LAUNCHER, [...listen, ...more, "--state-dir", join(dir, "state"), ...extra], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    return new RunningIntermediate(child, dir, await listening(child));
  }

  /** Of a service, as the `listening` events have it. */
  address(service: string): SocketAddress {
    const address = this.#addresses.get(service);
    if (!address) throw new Error(`nothing listens for ${service}`);
    return address;
  }

  async metrics(): Promise<Metrics> {
    const body = await (await fetch(`http://${this.address("admin")}/metrics`)).text();
    return (name) => {
      const samples = [...body.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "gm"))];
      return samples.length === 0 ? Number.NaN : samples.reduce((sum, [, value]) => sum + Number(value), 0);
    };
  }

  /** CPU time of the process so far, user and system, ms. */
  cpuMs(): number {
    return cpuMsOf(this.#child.pid);
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGTERM");
    await gone;
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** The addresses that the program tells in its log, the admin address last. */
function listening(child: ChildProcess): Promise<ReadonlyMap<string, SocketAddress>> {
  const addresses = new Map<string, SocketAddress>();
  let text = "";
  return new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the intermediate ended with ${code}: ${text}`)));
    child.stderr?.on("data", (data) => {
      if (addresses.has("admin")) return;
      text += data;
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const { event, service, address } = JSON.parse(line);
        if (event !== "listening" || addresses.has(service)) continue;
        const colon = address.lastIndexOf(":");
        addresses.set(
          service,
          SocketAddress.of(address.slice(0, colon).replace(/[[\]]/g, ""), Number(address.slice(colon + 1))),
        );
      }
      if (addresses.has("admin")) resolve(addresses);
    });
  });
}

/** CPU time of all threads of a process so far, ms: what the scheduler counted, not samples of it (/proc/PID/task/TID/schedstat, ns). */
export function cpuMsOf(pid: number | undefined): number {
  const tasks = `/proc/${pid}/task`;
  let ns = 0;
  for (const task of readdirSync(tasks)) {
    try {
      ns += Number(readFileSync(join(tasks, task, "schedstat"), "utf8").split(" ")[0]);
    } catch {} // a thread that has just ended
  }
  return ns / 1e6;
}

/** The number after `--name`, or what stands otherwise. */
export function numberOption(name: string, otherwise: number): number {
  const at = process.argv.indexOf(`--${name}`);
  const value = at < 0 ? otherwise : Number(process.argv[at + 1]);
  if (!Number.isFinite(value) || value <= 0) throw new Error(`--${name} wants a number above 0`);
  return value;
}

/** What stands after `--name`, cut at commas. */
export function listOption(name: string, otherwise: string): readonly string[] {
  const at = process.argv.indexOf(`--${name}`);
  return ((at < 0 ? undefined : process.argv[at + 1]) ?? otherwise).split(",");
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
