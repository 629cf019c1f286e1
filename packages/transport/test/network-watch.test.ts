import { test } from "@adit/harness";
import { HURRIED_LOOK_MS, LOOK_EVERY_MS, type NetworkNews, NetworkWatch } from "../src/peer/network-watch.ts";

/** A machine whose addresses and clocks the test sets. */
function machine() {
  const state = { addresses: "eth0 192.0.2.1", wallMs: 1_700_000_000_000, looks: 0 };
  const addresses = () => {
    state.looks++;
    return state.addresses;
  };
  const watch = new NetworkWatch(0, { addresses, wallNow: () => state.wallMs });
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

test("where something is amiss the next network is noticed in a moment", (t) => {
  const { run, state, watch } = machine();
  run(5_000);
  state.addresses = "";
  t.same(run(LOOK_EVERY_MS), [{ type: "addresses" }], "Wi-Fi is gone");
  run(1_300);
  state.addresses = "wwan0 203.0.113.7";
  t.same(run(HURRIED_LOOK_MS), [{ type: "addresses" }], "cell is there");
  run(60_000);
  watch.hurry(67_400);
  state.addresses = "wlan0 198.51.100.7";
  t.same(run(HURRIED_LOOK_MS), [{ type: "addresses" }], "a path was silent");
  const before = state.looks;
  t.same(run(60_000), []);
  t.ok(state.looks - before < 100, `seldom again: ${state.looks - before} looks in a minute`);
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
