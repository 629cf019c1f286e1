// Lines of JSON on stdin and stdout (see ice-meet.mjs).
import { createInterface } from "node:readline";

export const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

/** Calls `peer.start(message)` and `peer.remote(description)` as they are told, and `peer.close()` at the end of stdin. */
export function run(peer) {
  const doomed = (error) => {
    say({ error: String(error?.message ?? error) });
    process.exit(1);
  };
  process.on("unhandledRejection", doomed);
  process.on("uncaughtException", doomed);
  let turn = Promise.resolve();
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const message = JSON.parse(line);
    turn = turn.then(() => ("start" in message ? peer.start(message) : peer.remote(message.remote)));
    turn.catch(doomed);
  });
  lines.on("close", async () => {
    await peer.close();
    process.exit(0);
  });
}
