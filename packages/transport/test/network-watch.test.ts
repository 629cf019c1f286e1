import { test } from "@adit/harness";
import { LOOK_EVERY_MS, type NetworkNews, NetworkWatch } from "../src/peer/network-watch.ts";

/** A machine whose addresses and clocks the test sets. */
function machine() {
  const state = { addresses: "eth0 192.0.2.1", wallMs: 1_700_000_000_000 };
  const watch = new NetworkWatch(0, { addresses: () => state.addresses, wallNow: () => state.wallMs });
  let now = 0;
  /** Both clocks go on; what the watch said on the way. */
  const run = (ms: number, { wallMs = ms, inOneStep = false } = {}): NetworkNews[] => {
    const news: NetworkNews[] = [];
    const step = inOneStep ? ms : 100;
    for (let passed = 0; passed < ms; passed += step) {
      now += step;
      state.wallMs += (step * wallMs) / ms;
      const one = watch.handleTimeout(now);
      if (one) news.push(one);
    }
    return news;
  };
  return { state, watch, run };
}

test("nothing is news while nothing changes", (t) => {
  const { run, watch } = machine();
  t.same(run(3_600_000), []);
  t.equal(watch.pollTimeout().at, 3_600_000 + LOOK_EVERY_MS);
});

test("other addresses are news once, within a second", (t) => {
  const { run, state } = machine();
  run(5_000);
  state.addresses = "wlan0 198.51.100.7";
  t.same(run(LOOK_EVERY_MS), [{ type: "addresses" }]);
  t.same(run(60_000), []);
});

test("a program that was stopped learns that it slept", (t) => {
  const { run } = machine();
  run(5_000);
  t.same(run(40_000, { inOneStep: true }), [{ type: "slept", sleptMs: 39_000 }]);
  t.same(run(60_000), []);
});

test("a machine that was suspended learns it by the wall clock, for its own stood still", (t) => {
  const { run, state } = machine();
  run(5_000);
  state.wallMs += 3_600_000;
  t.same(run(LOOK_EVERY_MS), [{ type: "slept", sleptMs: 3_600_000 }]);
});

test("a busy machine did not sleep", (t) => {
  const { run } = machine();
  t.same(run(2_500, { inOneStep: true }), []);
});
