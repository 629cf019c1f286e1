import { spawnSync } from "node:child_process";
import { seededRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { readTrace, type TracedSession } from "../src/trace-plot/read.ts";
import { binsOf, pathSpans } from "../src/trace-plot/series.ts";
import { niceTicks, plotSession } from "../src/trace-plot/svg.ts";

const line = (ms: number, event: string, fields: object = {}): string =>
  JSON.stringify({ time: "2026-01-02T03:04:05.678Z", ms, event, ...fields });
const head = line(0, "trace", { schema: 1, program: "adit-agent", version: "0.1.0" });
const sampleLine = (ms: number, fields: object = {}): string =>
  line(ms, "sample", {
    session: "01",
    path: "direct",
    rttMs: 5,
    relayRttMs: 10,
    quicRttMs: 6,
    congestionWindowBytes: 13_500,
    packetsLost: 0,
    sentBytes: 0,
    receivedBytes: 0,
    ...fields,
  });

/** 10 s at 1 MB/s; direct dies at 5 s. */
const busy = (): string =>
  [
    head,
    line(10, "session-start", { session: "01", name: "office", peerId: "aaaa", path: "relay" }),
    line(1010, "path-changed", { session: "01", from: "relay", to: "direct", reason: "it answers", gapMs: 2 }),
    ...Array.from({ length: 101 }, (_, i) =>
      sampleLine(10 + i * 100, { receivedBytes: i * 100_000, rttMs: i === 50 ? null : 5, packetsLost: i > 50 ? 7 : 0 }),
    ),
    line(5410, "path-changed", { session: "01", from: "direct", to: "relay", reason: "silence", gapMs: 400 }),
    line(10_010, "session-end", { session: "01", reason: "done" }),
  ].join("\n");

const only = (t: T, text: string): TracedSession => {
  const sessions = readTrace(text);
  t.equal(sessions.length, 1);
  return t.must(sessions[0]);
};

test("a trace is read by session; a half-written last line is left out", (t) => {
  const text = `${busy()}\n${line(20, "session-start", { session: "02", peerId: "bbbb" })}\n{"time":"2026`;
  const sessions = readTrace(text);
  t.same(
    sessions.map(({ id, peer, program, samples, changes }) => [id, peer, program, samples.length, changes.length]),
    [
      ["01", "office", "adit-agent", 101, 2],
      ["02", "bbbb", "adit-agent", 0, 0],
    ],
  );
});

test("what is no trace is refused with its line", (t) => {
  t.throws(() => readTrace(""), /empty/);
  t.throws(() => readTrace("hello\n"), /line 1: this is no line of a trace: hello/);
  t.throws(() => readTrace(`${line(0, "registered")}\n`), /line 1: this is no trace/);
  t.throws(() => readTrace(`${head}\nnonsense\n${head}\n`), /line 2/);
  t.throws(
    () => readTrace(`${head}\n${line(1, "sample", { session: "01" })}\n`),
    /line 2: a sample without its fields/,
  );
});

test("a bin's rate is the bytes of its time; losses are counted once", (t) => {
  const bins = binsOf(only(t, busy()), 600);
  t.equal(bins.length, 100);
  for (const bin of bins) t.equal(Math.round(bin.receivedRate), 1_000_000);
  t.equal(
    bins.reduce((sum, bin) => sum + bin.packetsLost, 0),
    7,
  );
});

test("a long trace has no more bins than there is room for, and loses no byte", (t) => {
  const session = only(t, busy());
  const bins = binsOf(session, 20);
  t.ok(bins.length <= 21 && bins.length >= 19, `${bins.length} bins`);
  const total = bins.reduce((sum, bin) => sum + (bin.receivedRate * (bin.toMs - bin.fromMs)) / 1000, 0);
  t.equal(Math.round(total), 10_000_000);
});

test("the spans of paths cover the session without a hole", (t) => {
  t.same(pathSpans(only(t, busy())), [
    { path: "relay", fromMs: 0, toMs: 1000 },
    { path: "direct", fromMs: 1000, toMs: 5400 },
    { path: "relay", fromMs: 5400, toMs: 10_000 },
  ]);
});

test("ticks are round numbers from 0 to at least the most", (t) => {
  t.same(niceTicks(0, 4), [0, 1]);
  t.same(niceTicks(4.65, 10), [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]);
  t.same(niceTicks(70.2, 5), [0, 20, 40, 60, 80]);
  t.same(niceTicks(100, 4), [0, 50, 100]);
});

/** Whether tags nest and texts and attributes are escaped: what XML asks of a document without a DTD. */
function mustBeWellFormed(t: T, xml: string): void {
  const open: string[] = [];
  const token = /<(\/?)([a-zA-Z]+)((?:\s+[a-zA-Z-]+="[^"<]*")*)\s*(\/?)>|[^<]+/gy;
  let at = 0;
  for (let match = token.exec(xml); match; match = token.exec(xml)) {
    at = token.lastIndex;
    const [text, closing, name, attributes, empty] = match;
    t.notOk(/&(?!(?:amp|lt|gt|quot);)/.test(name === undefined ? text : (attributes ?? "")), `an entity in ${text}`);
    if (name === undefined) continue;
    if (closing) t.equal(open.pop(), name);
    else if (!empty) open.push(name);
  }
  t.equal(at, xml.length, `stopped at ${xml.slice(at, at + 60)}`);
  t.same(open, []);
  t.notOk(/NaN|Infinity|undefined|null/.test(xml.replace(/<title>[^<]*<\/title>/g, "")), "a number is none");
}

test("the picture is well-formed and has the paths, the gaps and every panel", (t) => {
  const svg = plotSession(only(t, busy()));
  mustBeWellFormed(t, svg);
  for (const part of [
    "office",
    ">direct<",
    ">relay<",
    "400 ms gap",
    "Throughput",
    "Round trip",
    "Congestion window",
    "Lost packets",
  ])
    t.ok(svg.includes(part), part);
});

test("a session with hardly anything in it is drawn too", (t) => {
  for (const lines of [
    [line(5, "session-start", { session: "01" })],
    [sampleLine(5)],
    [sampleLine(5), sampleLine(5)],
    [sampleLine(5, { rttMs: null, relayRttMs: null, congestionWindowBytes: null }), sampleLine(105)],
  ])
    mustBeWellFormed(t, plotSession(only(t, [head, ...lines].join("\n"))));
});

test("words of the other side cannot break out of the picture (500 seeds)", (t) => {
  const alphabet = ['<script>"', "&", "]]>", "\u0000", "\ud800", "\u{1f600}", "'", "a", "\n", "--"];
  for (let seed = 1; seed <= 500; seed++) {
    const random = seededRandom(seed);
    const word = (): string =>
      Array.from({ length: 8 }, () => alphabet[Math.floor(random.float() * alphabet.length)]).join("");
    const text = [
      head,
      line(1, "session-start", { session: word() || "s", name: word() }),
      line(2, "path-changed", { session: "01", from: word(), to: word(), reason: word(), gapMs: random.float() * 100 }),
      sampleLine(500),
    ].join("\n");
    for (const session of readTrace(text)) {
      try {
        mustBeWellFormed(t, plotSession(session));
      } catch (cause) {
        throw new Error(`seed ${seed}`, { cause });
      }
    }
  }
});

test("what npm run trace-plot cannot read, or is not told, is a usage error with a sentence", (t) => {
  const cases = [
    [[], /^trace-plot: usage: npm run trace-plot FILE/],
    [["/nonexistent.jsonl"], /^trace-plot: \/nonexistent\.jsonl cannot be read: /],
  ] as const;
  for (const [args, message] of cases) {
    const run = spawnSync("node_modules/.bin/bun", ["packages/program/src/trace-plot/main.ts", ...args], {
      encoding: "utf8",
    });
    t.equal(run.status, 2, run.stderr);
    t.match(run.stderr, message);
  }
});
