import { type LogFields, nullLogger } from "@adit/core";
import { test } from "@adit/harness";
import { type Stoppable, untilStopped } from "../src/stop.ts";

function connector() {
  const sessions: string[] = [];
  const endpoint: Stoppable = { status: () => ({ sessions }), onStopped: null };
  const warnings: unknown[] = [];
  const abort = new AbortController();
  const log = { ...nullLogger, warn: (_: string, fields: LogFields = {}) => void warnings.push(fields.code) };
  const stopped = untilStopped(endpoint, abort.signal, log, 1);
  let over = false;
  stopped.then(
    () => {
      over = true;
    },
    () => {
      over = true;
    },
  );
  return { sessions, endpoint, warnings, abort, stopped, isOver: () => over };
}

test("refused for good, a connector without sessions ends at once, with the intermediate's words", async (t) => {
  const { endpoint, stopped, warnings } = connector();
  endpoint.onStopped?.("replaced", "another program has registered with this key");
  await t.rejects(stopped, { code: "refused", message: "another program has registered with this key" });
  t.same(warnings, []);
});

test("one with sessions says so and ends with the last of them", async (t) => {
  const { sessions, endpoint, stopped, warnings, isOver } = connector();
  sessions.push("a", "b");
  endpoint.onStopped?.("intermediate-changed", "the intermediate has another key now");
  t.same(warnings, ["intermediate-changed"]);
  sessions.pop();
  for (let look = 0; look < 5; look++) await new Promise((resolve) => setTimeout(resolve, 2));
  t.notOk(isOver());
  sessions.pop();
  await t.rejects(stopped, { code: "refused", message: "the intermediate has another key now" });
});

test("told to end it ends, refused or not", async (t) => {
  const free = connector();
  free.abort.abort();
  await free.stopped;
  const refused = connector();
  refused.sessions.push("a");
  refused.endpoint.onStopped?.("replaced", "another program");
  refused.abort.abort();
  await refused.stopped;
  t.equal(refused.endpoint.onStopped, null);
});
