/**
 * Inside a lab's namespaces: does one job a line from stdin, and prints one line for each result. When stdin closes, because
 * the work is done or because whoever gave it is gone, this process ends, and with it everything in its namespaces.
 */
import { createInterface } from "node:readline";
import { type Job, jobs } from "./jobs.ts";

const say = (message: object) => process.stdout.write(`${JSON.stringify(message)}\n`);

async function work(job: Job): Promise<void> {
  try {
    await jobs[job.kind](job as never, (result: object) => say({ result }));
    say({ done: true });
  } catch (error) {
    say({ failed: error instanceof Error ? error.message : String(error) });
  }
}

let working = Promise.resolve();
createInterface({ input: process.stdin })
  .on("line", (line) => {
    working = working.then(() => work(JSON.parse(line) as Job));
  })
  .on("close", () => process.exit(0));
