import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const E2E = `${import.meta.dir}/..`;
const BIN = process.env.ADIT_E2E_BIN ?? `${E2E}/../../node_modules/.bin`;

/** One JSON line that a program wrote; `timeMs` is since 1970. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly event: string; readonly timeMs: number };

const MAX_KEPT_LINES = 20_000;
const STOP_MS = 3000;

/** A program in a namespace, and what it has said so far. */
export class Program {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #lines: LogLine[] = [];
  readonly #tail: string[] = [];
  readonly #watchers = new Set<(line: LogLine) => void>();
  #ended = false;

  constructor(namespace: string, name: string, command: readonly string[]) {
    this.name = name;
    this.#child = spawn("nsenter", [`--net=/run/netns/${namespace}`, ...command], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child.on("exit", () => {
      this.#ended = true;
      this.#heard({ event: "(ended)", timeMs: Date.now() });
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      if (stream) createInterface({ input: stream }).on("line", (text) => this.#read(text));
  }

  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  /** The last that it said, for failures. */
  get tail(): string {
    return this.#tail.map((line) => `  ${this.name}: ${line.slice(0, 300)}`).join("\n");
  }

  /** For how long it was ready to run and had no processor; 0 of one that has ended, and where the kernel does not say. */
  get waitedMs(): number {
    try {
      const [, waitedNs = "0"] = readFileSync(`/proc/${this.#child.pid}/schedstat`, "utf8").split(" ");
      return Number(waitedNs) / 1e6;
    } catch {
      return 0;
    }
  }

  /** The first line, from `sinceMs` on, that is as wanted; null when it does not come in time, or the program ends. */
  async line(wanted: (line: LogLine) => boolean, timeoutMs: number, sinceMs = 0): Promise<LogLine | null> {
    const fits = (line: LogLine) => line.timeMs >= sinceMs && wanted(line);
    const already = this.#lines.find(fits);
    if (already || this.#ended) return already ?? null;
    return await new Promise((resolve) => {
      const done = (line: LogLine | null) => {
        clearTimeout(timer);
        this.#watchers.delete(watch);
        resolve(line);
      };
      const watch = (line: LogLine) => {
        if (fits(line)) done(line);
        else if (line.event === "(ended)") done(null);
      };
      const timer = setTimeout(done, timeoutMs, null);
      this.#watchers.add(watch);
    });
  }

  /** @throws with what it said last. */
  async expect(event: string, timeoutMs: number, where: (line: LogLine) => boolean = () => true, sinceMs = 0) {
    const line = await this.line((line) => line.event === event && where(line), timeoutMs, sinceMs);
    if (!line) throw new Error(`${this.name}: no ${event} within ${timeoutMs} ms; it said last:\n${this.tail}`);
    return line;
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
  }

  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    if (this.#ended) return;
    const exit = once(this.#child, "exit");
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    await exit;
    clearTimeout(timer);
  }

  #read(text: string): void {
    if (!text.includes('"progress"') && !text.includes("sink-progress")) {
      this.#tail.push(text);
      if (this.#tail.length > 25) this.#tail.shift();
    }
    if (process.env.ADIT_E2E_KEEP) process.stderr.write(`${this.name}: ${text}\n`);
    try {
      const line = JSON.parse(text) as Record<string, unknown>;
      const time = line.time;
      const timeMs = typeof time === "number" ? time : Date.parse(String(time));
      this.#heard({ ...line, event: String(line.event), timeMs });
    } catch {
      // not for us: it stands in the tail
    }
  }

  #heard(line: LogLine): void {
    this.#lines.push(line);
    if (this.#lines.length > MAX_KEPT_LINES) this.#lines.shift();
    for (const watch of [...this.#watchers]) watch(line);
  }
}

export const adit = (program: "agent" | "connector" | "intermediate", ...args: readonly string[]) => [
  `${BIN}/adit-${program}`,
  ...args,
];

/** The scenarios' own tool: an HTTP service, a client that measures. */
export const tool = (...args: readonly string[]) => [process.execPath, `${E2E}/tool.ts`, ...args];
