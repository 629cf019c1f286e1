/** Inside a lab's namespaces: does one job a line from stdin, and prints one line for each result. */
import { createInterface } from "node:readline";
import { type Job, jobs } from "./jobs.ts";

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line) as Job;
  const say = (message: object) => process.stdout.write(`${JSON.stringify(message)}\n`);
  try {
    await jobs[job.kind](job as never, (result: object) => say({ result }));
    say({ done: true });
  } catch (error) {
    say({ failed: error instanceof Error ? error.message : String(error) });
  }
}
process.exit(0);
