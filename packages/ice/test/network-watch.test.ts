import { test } from "@adit/harness";
import { NetworkWatch, WATCH_INTERVAL_MS } from "../src/driver/network-watch.ts";

test("addresses that come and go are noticed once", (t) => {
  const watch = new NetworkWatch(0, 1_000_000, ["10.0.0.1"]);
  const look = (tick: number, ...ips: string[]) =>
    watch.look(tick * WATCH_INTERVAL_MS, 1_000_000 + tick * WATCH_INTERVAL_MS, ips);
  t.equal(look(1, "10.0.0.1"), null);
  t.same(look(2, "10.0.0.1", "10.0.0.2"), { added: ["10.0.0.2"], removed: [], slept: false });
  t.equal(look(3, "10.0.0.2", "10.0.0.1"), null, "another order is no change");
  t.same(look(4, "10.0.0.2"), { added: [], removed: ["10.0.0.1"], slept: false });
});

test("sleep is noticed by either clock, an adjusted or slow one is no sleep", (t) => {
  for (const [elapsed, wallElapsed, slept] of [
    [2_000, 2_000, false],
    [2_000, 60_000, true],
    [60_000, 60_000, true],
    [3_500, 3_500, false],
    [2_000, -3_600_000, false],
  ] as const) {
    const watch = new NetworkWatch(0, 10_000_000, ["10.0.0.1"]);
    const change = watch.look(elapsed, 10_000_000 + wallElapsed, ["10.0.0.1"]);
    t.equal(change?.slept ?? false, slept, `${elapsed} and ${wallElapsed} ms`);
  }
});
