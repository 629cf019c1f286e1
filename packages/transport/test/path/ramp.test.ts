import { test } from "@adit/harness";
import { Ramp } from "../../src/path/ramp.ts";

const PACKET = 1472;

/** Sends as much as may leave, at 1 ms steps, for so many round trips; what left in each. */
function flights(ramp: Ramp, rttMs: number, count: number): number[] {
  return Array.from({ length: count }, (_, flight) => {
    let packets = 0;
    for (let now = flight * rttMs; now < (flight + 1) * rttMs; now++) {
      for (; packets < 10_000 && !ramp.isSpent(now); packets++) ramp.handleSent(PACKET);
    }
    return packets;
  });
}

test("a path that is gone back to starts with ten packets in a round trip, and twice as many in each one after", (t) => {
  const ramp = new Ramp();
  t.equal(flights(ramp, 40, 1)[0], 10_000, "no bound on a path that is there");
  ramp.start(0, 40);
  t.same(flights(ramp, 40, 10), [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 10_000]);
});

test("what was not made use of does not grow", (t) => {
  const ramp = new Ramp();
  ramp.start(0, 40);
  for (let now = 0; now < 4_000; now += 40) {
    t.notOk(ramp.isSpent(now));
    ramp.handleSent(PACKET);
  }
  let packets = 0;
  for (; !ramp.isSpent(4_000); packets++) ramp.handleSent(PACKET);
  t.equal(packets, 10);
});

test("when nothing more may leave it says when, and not before", (t) => {
  const ramp = new Ramp();
  t.equal(ramp.pollTimeout(), null);
  ramp.start(100, 40);
  t.equal(ramp.pollTimeout(), null);
  ramp.handleSent(10 * PACKET);
  t.same(ramp.pollTimeout(), { at: 140, reason: "slow start of a path" });
  ramp.handleTimeout(140);
  t.equal(ramp.pollTimeout(), null);
  t.notOk(ramp.isSpent(140));
});
