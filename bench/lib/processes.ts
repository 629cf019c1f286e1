import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { Received } from "./sink.ts";

export const root = join(import.meta.dirname, "../..");
export const bun = join(root, "node_modules/.bin/bun");

/** A process that tells JSON, a line each. Ended with {@link Teller.end}, by its pid. */
export class Teller {
  readonly #child: ChildProcess;
  readonly #lines: Record<string, unknown>[] = [];
  #waiting: (() => void) | null = null;
  #ended: string | null = null;

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.#child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
    let words = "";
    this.#child.stderr?.on("data", (data: Buffer) => {
      words = (words + data.toString()).slice(-2000);
    });
    if (this.#child.stdout) createInterface(this.#child.stdout).on("line", (line) => this.#take(line));
    const over = (why: string) => {
      this.#ended = `${why} ${words.trim()}`.trim();
      this.#waiting?.();
    };
    this.#child.on("error", (error) => over(String(error)));
    this.#child.on("close", (code) => over(`ended with status ${code}.`));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  #take(line: string): void {
    try {
      this.#lines.push(JSON.parse(line));
    } catch {
      return; // a word of a library
    }
    this.#waiting?.();
  }

  /** The first line with that key. @throws when the process ends, fails or is silent for too long. */
  async next(key: string, timeoutMs: number): Promise<Record<string, unknown>> {
    const giveUpAt = performance.now() + timeoutMs;
    for (;;) {
      for (const line of this.#lines) {
        if (key in line) return line;
        if ("failed" in line) throw new Error(String(line.failed));
      }
      if (this.#ended !== null) throw new Error(this.#ended);
      const left = giveUpAt - performance.now();
      if (left <= 0) throw new Error(`said no "${key}" within ${timeoutMs} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async end(): Promise<void> {
    if (this.#ended !== null) return;
    const gone = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 2000);
    await gone;
    clearTimeout(timer);
  }
}

const PEERS = join(import.meta.dirname, "../peers");

export interface Transfer {
  /** Of those in `peers`, or where {@link bundleForNode} has put it. */
  readonly file: string;
  readonly bytes: number;
  readonly streams?: number;
  readonly runtime?: "bun" | "node";
  readonly env?: NodeJS.ProcessEnv;
  /** Given to the runtime before the file, such as a profiler's options. */
  readonly flags?: { readonly receive: readonly string[]; readonly send: readonly string[] };
}

/** One transfer between two processes of a peer. */
export async function transfer({
  file,
  bytes,
  streams = 1,
  runtime = "bun",
  env,
  flags,
}: Transfer): Promise<Received & { senderCpuMs: number }> {
  const command = runtime === "bun" ? bun : (process.env.BENCH_NODE ?? "node");
  const path = resolve(PEERS, file);
  const receiver = new Teller(command, [...(flags?.receive ?? []), path, "receive", String(bytes)], env);
  let sender: Teller | null = null;
  try {
    const { ready } = await receiver.next("ready", 15_000);
    const args = [path, "send", String(ready), String(bytes), String(streams)];
    sender = new Teller(command, [...(flags?.send ?? []), ...args], env);
    const failed = sender.next("never", 600_000).then(() => undefined as never);
    const received = receiver.next("bytes", 120_000);
    const result = (await Promise.race([received, failed])) as unknown as Received;
    return { ...result, senderCpuMs: cpuMsOf(sender.pid) };
  } finally {
    await sender?.end();
    await receiver.end();
  }
}

/** A peer as Node 20 takes it, which reads no TypeScript: in that directory, beside the packages of the bench. @throws when it cannot be made. */
export function bundleForNode(file: string, directory: string): string {
  const bundle = join(directory, file.replace(/\.ts$/, ".mjs"));
  const args = ["build", join(PEERS, file), "--target=node", "--packages=external", `--outfile=${bundle}`];
  const { status, stderr } = spawnSync(bun, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`error: ${file} could not be bundled: ${stderr.trim()}`);
  const packages = join(directory, "node_modules");
  if (!existsSync(packages)) symlinkSync(join(root, "bench/node_modules"), packages);
  return bundle;
}

/** CPU time of a process so far, ms; 0 where the system has no /proc. Ticks are 10 ms. */
export function cpuMsOf(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return 0;
  }
}

/** The intermediate that agent and connector need to meet; nothing of a direct transfer goes through it. */
export async function withIntermediate<T>(port: number, stateDir: string, use: () => Promise<T>): Promise<T> {
  const address = `127.0.0.1:${port}`;
  const args = ["--listen", address, "--stun", `127.0.0.1:${port + 1}`, "--admin", `127.0.0.1:${port + 2}`];
  const program = new Teller(join(root, "node_modules/.bin/adit-intermediate"), [
    ...args,
    "--state-dir",
    stateDir,
    "--allow-private-relay",
  ]);
  try {
    for (let i = 0; ; i++) {
      const healthy = await fetch(`http://127.0.0.1:${port + 2}/healthz`)
        .then((r) => r.ok)
        .catch(() => false);
      if (healthy) break;
      if (i > 200) throw new Error("the intermediate is not healthy");
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    return await use();
  } finally {
    await program.end();
  }
}
