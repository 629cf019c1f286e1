import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Job } from "./jobs.ts";

/** One lab in namespaces of its own, for one job. Everything in it ends with it, and it ends with us. */
export class LabProcess {
  readonly #child: ChildProcess;

  constructor() {
    const [command, ...args] = (process.env.ADIT_NATLAB_UNSHARE ?? "").split(" ");
    if (!command) throw new Error("to be started by natlab.sh");
    this.#child = spawn(command, [...args, "bash", `${import.meta.dir}/natlab.sh`, "inside"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
  }

  async do(job: Job): Promise<{ readonly results: readonly unknown[]; readonly failure: string | null }> {
    const { stdin, stdout } = this.#child;
    if (!stdin || !stdout) throw new Error("pipes were expected");
    const results: unknown[] = [];
    let failure: string | null = "the lab ended before its work was done";
    createInterface({ input: stdout }).on("line", (line) => {
      const said = JSON.parse(line) as { result?: unknown; failed?: string };
      if (said.result !== undefined) results.push(said.result);
      else {
        failure = said.failed ?? null;
        stdin.end();
      }
    });
    stdin.write(`${JSON.stringify(job)}\n`);
    await once(this.#child, "close");
    return { results, failure };
  }
}
