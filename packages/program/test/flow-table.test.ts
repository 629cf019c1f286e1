import { test } from "@adit/harness";
import { FlowTable } from "../src/index.ts";

const table = (maxFlows = 3, idleMs = 100) => new FlowTable<string>({ maxFlows, idleMs });

test("a flow lives while it is used, and is taken out when it was idle", (t) => {
  const flows = table();
  flows.add(0, "a", "A");
  flows.add(10, "b", "B");
  t.equal(flows.nextIdleAt, 100);
  t.equal(flows.use(90, "a"), "A");
  t.equal(flows.nextIdleAt, 110, "the next to expire is the one that was used longest ago");
  t.same(flows.takeIdle(109), []);
  t.same(flows.takeIdle(110), ["B"]);
  t.equal(flows.use(111, "b"), null);
  t.same(flows.takeIdle(190), ["A"]);
  t.equal(flows.nextIdleAt, null);
});

test("a full table gives up the flow that was silent longest", (t) => {
  const flows = table();
  for (const [now, key] of [
    [0, "a"],
    [1, "b"],
    [2, "c"],
  ] as const)
    t.equal(flows.add(now, key, key), null);
  flows.use(3, "a");
  t.equal(flows.add(4, "d", "d"), "b");
  t.equal(flows.size, 3);
  t.equal(flows.use(5, "b"), null);
});

test("a flow that is gone does not take its successor with it", (t) => {
  const flows = table();
  flows.add(0, "a", "first");
  t.ok(flows.delete("a", "first"));
  flows.add(1, "a", "second");
  t.notOk(flows.delete("a", "first"));
  t.equal(flows.use(2, "a"), "second");
});

test("clear takes out all", (t) => {
  const flows = table();
  flows.add(0, "a", "A");
  flows.add(0, "b", "B");
  t.same(flows.clear(), ["A", "B"]);
  t.equal(flows.size, 0);
});
