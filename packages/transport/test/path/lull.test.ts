import { test } from "@adit/harness";
import { Lull } from "../../src/path/lull.ts";

const PACKET = 1472;

test("a quicker path waits until what was sent is ahead, and what follows for a margin", (t) => {
  const lull = new Lull();
  lull.handleSent(100, true, PACKET);
  t.ok(lull.begin(110, 84, 24), "it waits");
  t.ok(lull.isClosed);
  t.equal(lull.pollTimeout()?.at, 180, "60 ms that the paths differ by, and 20");
  lull.handleTimeout(179);
  t.ok(lull.isClosed);
  lull.handleTimeout(180);
  t.notOk(lull.isClosed);
  t.notOk(lull.begin(180, 84, 24), "now it is asked");
  lull.handleSent(180, false, 1200);
  t.ok(lull.isClosed);
  t.equal(lull.pollTimeout()?.at, 200);
  lull.handleTimeout(200);
  t.notOk(lull.isClosed);
  t.equal(lull.pollTimeout(), null);
});

test("a slower path goes ahead of what follows", (t) => {
  const lull = new Lull();
  lull.handleSent(100, true, PACKET);
  t.ok(lull.begin(100, 8, 84));
  lull.handleTimeout(120);
  lull.handleSent(120, false, 1200);
  t.equal(lull.pollTimeout()?.at, 216, "76 ms that the paths differ by, and 20");
});

test("where nothing was sent lately nothing is waited for; acknowledgements do not count", (t) => {
  const lull = new Lull();
  t.notOk(lull.begin(0, 84, 84), "nothing at all was sent");
  lull.handleSent(0, true, PACKET);
  t.notOk(lull.isClosed, "and nothing was to be said on the other path after all");
  lull.handleSent(100, true, 60);
  t.notOk(lull.begin(100, 84, 84));
});

test("no pause is longer than 300 ms, and none outlives the path", (t) => {
  const lull = new Lull();
  lull.handleSent(0, true, PACKET);
  t.ok(lull.begin(0, 2000, 20));
  t.equal(lull.pollTimeout()?.at, 300);
  lull.stop();
  t.notOk(lull.isClosed);
  lull.handleTimeout(400);
  t.notOk(lull.begin(400, 20, 2000));
  lull.handleSent(400, false, 1200);
  t.equal(lull.pollTimeout()?.at, 700);
});
