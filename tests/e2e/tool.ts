/**
 * What the scenarios need beside a shell, in one program that Bun runs: an HTTP service with a real file, a client that
 * measures, and waiting for a status or a log line with a deadline. Prints JSON lines; exit status 1 when it did not work out.
 *
 *   serve --listen ADDR:PORT --file FILE [--rate BYTES_PER_S] [--name NAME]
 *   sum   --listen ADDR:PORT
 *   get   --url URL [--connect-for MS] [--timeout MS]
 *   put   --url URL --file FILE [--rate BYTES_PER_S] [--connect-for MS] [--timeout MS]
 *   wait  --url URL | --log FILE [--where PATH OP VALUE ...] [--since EPOCH_MS] [--count N] [--timeout MS] [--pid PID] [--print PATH,...]
 *   count --log FILE [--where ...] [--since EPOCH_MS]
 *   gap   --log FILE --from EPOCH_MS --to EPOCH_MS
 *   free-port
 */
import { createServer } from "node:net";
import { parseArgs } from "node:util";
import { largestGap } from "./tool/gaps.ts";
import { get, put } from "./tool/http-client.ts";
import { serve, sum } from "./tool/http-service.ts";
import { count, wait } from "./tool/wait.ts";

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    listen: { type: "string" },
    file: { type: "string" },
    rate: { type: "string" },
    name: { type: "string" },
    url: { type: "string" },
    log: { type: "string" },
    where: { type: "string", multiple: true },
    since: { type: "string" },
    from: { type: "string" },
    to: { type: "string" },
    count: { type: "string" },
    timeout: { type: "string" },
    "connect-for": { type: "string" },
    print: { type: "string" },
    pid: { type: "string" },
  },
});

function text(name: "listen" | "file" | "url" | "log"): string {
  const value = given[name];
  if (value === undefined) throw new Error(`--${name} is needed`);
  return value;
}

function number(
  name: "rate" | "since" | "from" | "to" | "count" | "timeout" | "connect-for",
  otherwise: number,
): number {
  const value = given[name];
  if (value === undefined) return otherwise;
  const parsed = Number(value);
  if (value === "" || !Number.isFinite(parsed)) throw new Error(`--${name} ${value}: a number was expected`);
  return parsed;
}

/** A port that was free a moment ago, for runs outside a namespace of their own. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port to be had");
  return address.port;
}

const clientOptions = () => ({
  url: new URL(text("url")),
  connectForMs: number("connect-for", 0),
  timeoutMs: number("timeout", 60_000),
});
const waitOptions = () => ({
  source: given.url ? { url: given.url } : { log: text("log") },
  where: given.where ?? [],
  sinceMs: number("since", 0),
  count: number("count", 1),
  timeoutMs: number("timeout", 5000),
  pid: given.pid === undefined ? null : Number(given.pid),
  print: given.print?.split(",") ?? [],
});

const commands: Record<string, () => Promise<void>> = {
  serve: () =>
    serve({
      listen: text("listen"),
      file: text("file"),
      rateBytesPerS: number("rate", Number.POSITIVE_INFINITY),
      name: given.name ?? "service",
    }),
  sum: () => sum(text("listen")),
  get: () => get(clientOptions()),
  put: () => put({ ...clientOptions(), file: text("file"), rateBytesPerS: number("rate", Number.POSITIVE_INFINITY) }),
  wait: () => wait(waitOptions()),
  count: async () => console.log(count(waitOptions())),
  gap: async () =>
    console.log(JSON.stringify(largestGap(text("log"), number("from", 0), number("to", Number.MAX_VALUE)))),
  "free-port": async () => console.log(await freePort()),
};

const command = commands[positionals[0] ?? ""];
try {
  if (!command)
    throw new Error(`no such command: ${positionals[0] ?? "(none)"}; there are ${Object.keys(commands).join(", ")}`);
  await command();
} catch (error) {
  console.error(`tool: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}
