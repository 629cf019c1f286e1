/** The lab's end of its wires: one process (wire.ts) that carries them all. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { WireEnds } from "./wire.ts";

const MAX_KEPT_LINES = 20;
/** A namespace and two devices a wire. */
const READY_MS = 15_000;

export class Wires {
  readonly #wires: WireEnds[] = [];
  readonly #said: string[] = [];
  #process: ChildProcess | null = null;
  #ended: Promise<void> = Promise.resolve();
  #trouble: string | null = null;

  add(wire: WireEnds): void {
    this.#wires.push(wire);
  }

  /** Those in the lab's own namespace, to be plugged in somewhere. */
  get devices(): readonly string[] {
    return this.#wires.map(({ ends }) => ends[1].device);
  }

  /** What ended them, with what they said last; null as long as they carry. */
  get trouble(): string | null {
    return this.#trouble;
  }

  /** The devices exist and carry once it returns. @throws with what the program said when it does not come to that. */
  async start(): Promise<void> {
    if (this.#wires.length === 0) return;
    const child = spawn(process.execPath, [`${import.meta.dir}/wire.ts`, JSON.stringify(this.#wires)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    createInterface({ input: child.stderr }).on("line", (line) => {
      this.#said.push(line);
      if (this.#said.length > MAX_KEPT_LINES) this.#said.shift();
    });
    const ready = new Promise<void>((resolve) => child.stdout.once("data", () => resolve()));
    // "close", not "exit": by then all that it said is here.
    this.#ended = new Promise((resolve) => {
      child.once("close", (status, signal) => {
        this.#trouble = `the wires ended with ${signal ?? `status ${status}`}:\n${this.#said.join("\n")}`;
        resolve();
      });
    });
    const late = setTimeout(() => child.kill("SIGKILL"), READY_MS);
    await Promise.race([ready, this.#ended]);
    clearTimeout(late);
    if (this.#trouble !== null) throw new Error(this.#trouble);
  }

  /** Their devices are gone once it returns: the next lab in these namespaces gives its own the same names. */
  async close(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#ended;
    this.#trouble = null;
  }
}
