import type { LogFields, Logger } from "@adit/core";
import { test } from "@adit/harness";
import { LINES_PER_MINUTE, sparingLog } from "../src/sparing-log.ts";

function recorder(): { log: Logger; lines: { event: string; fields: LogFields | undefined }[] } {
  const lines: { event: string; fields: LogFields | undefined }[] = [];
  const write = (event: string, fields?: LogFields): void => {
    lines.push({ event, fields });
  };
  return { log: { trace: write, debug: write, info: write, warn: write, error: write }, lines };
}

test("an event has so many lines a minute; what was left out is told later, and other events are not touched", (t) => {
  const { log, lines } = recorder();
  let now = 0;
  const sparing = sparingLog(log, { now: () => now });
  for (let i = 0; i < LINES_PER_MINUTE + 50; i++) {
    now += 10;
    sparing.info("name-taken", { i });
  }
  t.equal(lines.length, LINES_PER_MINUTE);
  sparing.warn("registration-refused", { name: "office" });
  t.equal(lines.at(-1)?.event, "registration-refused");
  now = 60_010;
  sparing.info("name-taken", { i: 0 });
  t.same(lines.at(-1), { event: "name-taken", fields: { i: 0, suppressed: 50 } });
  now += 60_000;
  sparing.info("name-taken", { i: 1 });
  t.same(lines.at(-1), { event: "name-taken", fields: { i: 1 } }, "told once");
});

test("who asks for debug and trace is told all", (t) => {
  const { log, lines } = recorder();
  const sparing = sparingLog(log, { now: () => 0 });
  for (let i = 0; i < 2 * LINES_PER_MINUTE; i++) sparing.debug("client-connected");
  for (let i = 0; i < 2 * LINES_PER_MINUTE; i++) sparing.trace("packet");
  t.equal(lines.length, 4 * LINES_PER_MINUTE);
});
