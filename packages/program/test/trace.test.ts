import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nullLogger, SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import type { SessionSample } from "@adit/transport";
import { Trace } from "../src/index.ts";

type Line = Record<string, unknown>;

const sample = (changes: Partial<SessionSample> = {}): SessionSample => ({
  session: "01",
  path: "relay",
  rttMs: 10,
  relayRttMs: 10,
  quicRttMs: 11,
  congestionWindowBytes: 13_500,
  packetsSent: 1,
  packetsReceived: 1,
  packetsLost: 0,
  sentBytes: 0,
  receivedBytes: 0,
  wireSentBytes: 1200,
  wireReceivedBytes: 1200,
  ...changes,
});

async function traced(t: T, maxBytes?: number) {
  const directory = mkdtempSync(join(tmpdir(), "adit-trace-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "trace.jsonl");
  const events: string[] = [];
  const note = (event: string) => void events.push(event);
  const log = { ...nullLogger, debug: note, info: note, warn: note };
  const trace = t.must(await Trace.open(path, log, { program: "adit-agent", ...(maxBytes && { maxBytes }) }));
  const lines = async (): Promise<Line[]> => {
    await trace.close();
    return readFileSync(path, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
  };
  return { trace, path, log, events, lines };
}

test("what the log says of a session is in the trace as well, at debug too; all else is not", async (t) => {
  const { trace, log, events, lines, path } = await traced(t);
  const tapped = trace.tap(log);
  tapped.info("registered", { name: "office" });
  tapped.debug("migrated", { session: "01", remote: SocketAddress.of("192.0.2.1", 7) });
  tapped.info("session-end", { session: "01", reason: "done" });
  const [first, ...rest] = await lines();
  t.same([first?.event, first?.schema, first?.program, first?.ms], ["trace", 1, "adit-agent", 0]);
  t.same(
    rest.map(({ event, session, remote }) => [event, session, remote]),
    [
      ["migrated", "01", "192.0.2.1:7"],
      ["session-end", "01", undefined],
    ],
  );
  t.match(String(rest[0]?.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  t.same(events, ["registered", "migrated", "session-end"], "the log has them all");
  t.equal(statSync(path).mode & 0o777, 0o600);
});

test("a session in which nothing moves is written every 10 s, and as it last stood before it moves again", async (t) => {
  const { trace, lines } = await traced(t);
  const start = performance.now();
  for (let ms = 0; ms <= 10_000; ms += 100) trace.handleSamples(start + ms, [sample({ packetsSent: ms })]);
  trace.handleSamples(start + 10_100, [sample({ packetsSent: 10_100 })]);
  trace.handleSamples(start + 10_200, [sample({ packetsSent: 10_200 })]);
  trace.handleSamples(start + 10_300, [sample({ packetsSent: 10_300, sentBytes: 5 })]);
  trace.handleSamples(start + 10_400, [sample({ packetsSent: 10_400, sentBytes: 9 })]);
  const written = (await lines()).filter(({ event }) => event === "sample");
  t.same(
    written.map(({ packetsSent, sentBytes }) => [packetsSent, sentBytes]),
    [
      [0, 0],
      [10_000, 0],
      [10_200, 0],
      [10_300, 5],
      [10_400, 9],
    ],
  );
  const ms = written.map((line) => Number(line.ms));
  t.ok(Math.abs(Number(ms[3]) - Number(ms[2]) - 100) < 1, "a sample bears the time at which it was taken");
});

test("the file does not grow beyond its bound, and says so", async (t) => {
  const { trace, log, events, lines, path } = await traced(t, 2_000);
  const tapped = trace.tap(log);
  for (let i = 0; i < 100; i++) tapped.info("path-changed", { session: "01", i });
  const written = await lines();
  t.equal(written.at(-1)?.event, "trace-full");
  t.ok(statSync(path).size < 2_300, `${statSync(path).size} bytes`);
  t.equal(events.filter((event) => event === "trace-full").length, 1);
  t.equal(events.filter((event) => event === "path-changed").length, 100);
});

test("without a path there is no trace; a file that cannot be made is a usage error", async (t) => {
  t.equal(await Trace.open(undefined, nullLogger, { program: "x" }), null);
  await t.rejects(Trace.open("/nowhere/at/all.jsonl", nullLogger, { program: "x" }), {
    code: "usage",
    message: /--trace \/nowhere\/at\/all\.jsonl cannot be written/,
  });
});
