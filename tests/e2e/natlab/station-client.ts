import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { StationCommands } from "./station.ts";

/** The lab's end of a station: see station.ts. */
export class Station {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(answer: unknown): void; reject(error: Error): void }>();
  #lastId = 0;

  constructor(namespace: string) {
    const args = [`--net=/run/netns/${namespace}`, process.execPath, `${import.meta.dir}/station.ts`];
    this.#child = spawn("nsenter", args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the station in ${namespace} has ended`));
      this.#waiting.clear();
    });
    if (!this.#child.stdout) throw new Error("a pipe was expected");
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      const { id, answer, error } = JSON.parse(line) as { id: number; answer?: unknown; error?: string };
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(answer);
      else waiting?.reject(new Error(error));
    });
  }

  /** @throws what the command threw there. */
  async ask<Name extends keyof StationCommands>(
    name: Name,
    ...given: Parameters<StationCommands[Name]>
  ): Promise<Awaited<ReturnType<StationCommands[Name]>>> {
    const id = ++this.#lastId;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#child.stdin?.write(`${JSON.stringify({ id, name, given })}\n`);
    return (await answer) as Awaited<ReturnType<StationCommands[Name]>>;
  }

  close(): void {
    this.#child.kill("SIGKILL");
  }
}
