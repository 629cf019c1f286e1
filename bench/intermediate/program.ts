/** The intermediate as a process of its own, on loopback ports that the system chose, and what it says of itself. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseSocketAddress, type SocketAddress } from "@adit/core";

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
  /** Null where somebody else started it. */
  readonly #child: ChildProcess | null;
  readonly #dir: string | null;
  readonly #addresses: ReadonlyMap<string, SocketAddress>;

  private constructor(child: ChildProcess | null, dir: string | null, addresses: ReadonlyMap<string, SocketAddress>) {
    this.#child = child;
    this.#dir = dir;
    this.#addresses = addresses;
  }

  static async start(
    extra: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
  ): Promise<RunningIntermediate> {
    const dir = mkdtempSync(join(tmpdir(), "adit-bench-"));
    const policy = join(dir, "policy.toml");
    writeFileSync(policy, POLICY);
    const listen = ["--listen", "127.0.0.1:0", "--stun", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    const more = ["--relay-ports", "20000-60000", "--allow-private-relay", "--policy", policy, "--log", "json"];
    const child = spawn(LAUNCHER, [...listen, ...more, "--state-dir", join(dir, "state"), ...extra], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...env },
    });
    return new RunningIntermediate(child, dir, await listening(child));
  }

  /** One that runs already, by its admin address; it stays when this process ends. */
  static async attach(admin: string): Promise<RunningIntermediate> {
    const { listeners } = (await (await fetch(`http://${admin}/status`)).json()) as {
      listeners: { service: string; address: string }[];
    };
    const addresses = listeners.map(({ service, address }) => [service, parseSocketAddress(address)] as const);
    return new RunningIntermediate(null, null, new Map(addresses.toReversed())); // of several for a service the first
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

  /** The process; null where somebody else started it. */
  get child(): ChildProcess | null {
    return this.#child;
  }

  /** CPU time of the process so far, user and system, ms. */
  cpuMs(): number {
    return cpuMsOf(this.#child?.pid);
  }

  async stop(): Promise<void> {
    const [child, dir] = [this.#child, this.#dir];
    if (!child || dir === null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
    rmSync(dir, { recursive: true, force: true });
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
        addresses.set(service, parseSocketAddress(address));
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

/** What stands after `--name`. */
export function textOption(name: string): string | undefined {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
}

/** What stands after `--name`, cut at commas. */
export function listOption(name: string, otherwise: string): readonly string[] {
  return (textOption(name) ?? otherwise).split(",");
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
