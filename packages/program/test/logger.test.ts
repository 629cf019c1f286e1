import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { createLogger, type LogFormat, type LogLevel } from "../src/index.ts";
import { Repeats } from "../src/log-words.ts";

function capture(format: LogFormat, level: LogLevel = "info") {
  const lines: string[] = [];
  return { lines, log: createLogger({ format, level, write: (line) => lines.push(line) }) };
}

test("json: each line is one object with time, level, event and the fields", (t) => {
  const { lines, log } = capture("json");
  log.info("listening", { service: "web", address: SocketAddress.of("127.0.0.1", 9000), big: 2n ** 60n });
  log.error("odd", { error: new Error("two\nlines"), bytes: new Uint8Array(5), text: "line\nbreak \u001b[31m" });
  log.debug("unseen");
  t.equal(lines.length, 2);
  for (const line of lines) t.match(line, /^\{[^\n]*\}\n$/);
  const first = JSON.parse(lines[0] ?? "");
  t.match(first.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  t.same(
    { ...first, time: "" },
    { time: "", level: "info", event: "listening", service: "web", address: "127.0.0.1:9000", big: String(2n ** 60n) },
  );
  const second = JSON.parse(lines[1] ?? "");
  t.same([second.level, second.error, second.bytes], ["error", "two\nlines", "5 bytes"]);
});

test("json: a field cannot take the place of the line's own keys", (t) => {
  const { lines, log } = capture("json");
  log.warn("path", { event: "validated", level: "x", time: 3 });
  const line = JSON.parse(lines[0] ?? "");
  t.same([line.event, line.level, line.event_, line.level_, line.time_], ["path", "warn", "validated", "x", 3]);
  t.equal((lines[0] ?? "").match(/"level":/g)?.length, 1);
});

test("text: state changes are sentences, streams are no noise, and the terminal is safe", (t) => {
  const { lines, log } = capture("text");
  log.info("listening", { service: "web", address: "127.0.0.1:9000" });
  log.info("registered", { name: "office" });
  log.info("registered", { role: "agent", intermediate: "127.0.0.1:4433" });
  log.warn("signaling-down", { reason: "no answer", retryInMs: 300 });
  log.info("session-start", { peerId: "abcdefghijklmnop" });
  log.info("session-start", { peerId: "abcdefghijklmnop", session: "5", name: "office", path: "relay" });
  log.info("path-changed", {
    name: "office",
    from: "relay",
    to: "direct",
    reason: "direct pair nominated",
    gapMs: 12.4,
  });
  log.info("stream-open", { service: "web" });
  log.info("stream-close", { service: "web", bytes: 3 });
  log.info("session-end", { session: "5", reason: "gone\u001b[2J\nforged: line" });
  log.warn("relay-permission-refused", { intermediate: "127.0.0.1:4433", ip: "192.0.2.7", code: 403 });
  log.warn("relay-permission-refused", { intermediate: "10.0.0.1:4433", ip: "10.0.0.7", code: 403 });
  log.warn("service-refused", { message: "web: nobody answers" });
  log.warn("other-thing", { a: 1, b: "two words", c: null });
  t.same(lines, [
    "web: listening on 127.0.0.1:9000\n",
    "registered as office\n",
    "connected to the intermediate at 127.0.0.1:4433\n",
    "warning: the intermediate is out of reach (no answer); trying again\n",
    "connected to abcdefgh...\n",
    "connected to office, over the relay\n",
    "office: now direct, before over the relay (direct pair nominated), 12 ms without packets\n",
    "office: session ended (gone [2J forged: line)\n",
    "warning: the relay at 127.0.0.1:4433 lets nothing from or to 192.0.2.7 pass (STUN error 403)\n",
    "warning: the relay at 10.0.0.1:4433 lets nothing from or to 10.0.0.7 pass (STUN error 403); " +
      "where private addresses are the network, start it with --allow-private-relay\n",
    "warning: web: nobody answers\n",
    'warning: other thing a=1 b="two words"\n',
  ]);
});

test("text: an intermediate's clients come and go in sentences too", (t) => {
  const { lines, log } = capture("text");
  const of = { name: "office", peerId: "abcdefghijklmnop", address: "192.0.2.7:40111" };
  log.info("name-taken", of);
  log.info("peer-registered", of);
  log.info("peer-unregistered", of);
  log.info("peer-replaced", { peerId: of.peerId, address: of.address, by: "192.0.2.9:40111" });
  log.info("draining", { allocations: 2, limitMs: 60_000 });
  t.same(lines, [
    "the name office belongs to abcdefghijklmnop from now on\n",
    "office is registered, from 192.0.2.7:40111\n",
    "office has gone\n",
    "abcdefgh... was replaced by a newer connection of its key, from 192.0.2.9:40111\n",
    "taking nothing new; 2 relayed addresses are in use\n",
  ]);
});

test("text: what lasts is told once, and again when it is back after it was over", (t) => {
  const { lines, log } = capture("text");
  const down = (intermediate: string) => log.warn("signaling-down", { intermediate, reason: "no answer" });
  for (let i = 0; i < 3; i++) down("a:1");
  down("b:1");
  down("a:1");
  log.info("registered", { name: "office" });
  down("a:1");
  log.warn("service-refused", { message: "web: nobody answers" });
  log.warn("service-refused", { message: "web: nobody answers" });
  t.same(lines, [
    "warning: the intermediate a:1 is out of reach (no answer); trying again\n",
    "warning: the intermediate b:1 is out of reach (no answer); trying again\n",
    "registered as office\n",
    "warning: the intermediate a:1 is out of reach (no answer); trying again\n",
    "warning: web: nobody answers\n",
    "warning: web: nobody answers\n",
  ]);
});

test("text: what lasts is told again once a minute", (t) => {
  const repeats = new Repeats();
  const told = [0, 1_000, 59_999, 60_000, 61_000, 120_000].filter((now) => repeats.isNews(now, "signaling-down", "x"));
  t.same(told, [0, 60_000, 120_000]);
});

test("text at debug: everything, with time, level and fields", (t) => {
  const { lines, log } = capture("text", "debug");
  log.info("stream-close", { service: "web", bytes: 3 });
  log.trace("packet");
  t.equal(lines.length, 1);
  t.match(lines[0] ?? "", /^\d\d:\d\d:\d\d\.\d{3} info {2}stream-close service=web bytes=3\n$/);
});
