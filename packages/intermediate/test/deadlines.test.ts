import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { DEADLINE_GRANULARITY_MS, Deadlines } from "../src/deadlines.ts";

test("each item comes once, never early, and late by the granularity at most", async (t) => {
  const seed = 12;
  const random = seededRandom(seed);
  const deadlines = new Deadlines<number>();
  const wanted = new Map<number, number>();
  const set = (item: number, at: number | null): void => {
    deadlines.set(item, at);
    if (at === null) wanted.delete(item);
    else wanted.set(item, at);
  };
  for (let item = 0; item < 500; item++) set(item, random.float() * 60_000);
  for (let now = 0; now < 70_000; now += Math.ceil(random.float() * 40)) {
    const next = deadlines.next;
    const earliest = Math.min(...wanted.values());
    if (wanted.size > 0) t.ok(next !== null && next >= earliest && next < earliest + DEADLINE_GRANULARITY_MS);
    const due = deadlines.take(now);
    t.equal(new Set(due).size, due.length, `seed ${seed}`);
    for (const item of due) {
      t.ok((wanted.get(item) ?? Number.POSITIVE_INFINITY) <= now, "not early");
      wanted.delete(item);
    }
    for (const at of wanted.values()) t.ok(at > now - DEADLINE_GRANULARITY_MS, "not forgotten");
    // Some change their minds, and some come back.
    const item = Math.floor(random.float() * 500);
    if (now < 50_000) set(item, random.float() < 0.3 ? null : now + random.float() * 10_000);
  }
  t.equal(deadlines.size, 0);
  t.equal(deadlines.next, null);
});

test("ten thousand deadlines of a minute cost little", async (t) => {
  const random = seededRandom(5);
  const deadlines = new Deadlines<number>();
  for (let item = 0; item < 10_000; item++) deadlines.set(item, random.float() * 15_000);
  const started = performance.now();
  let fired = 0;
  for (let now = 0; now < 60_000; now += 10) {
    for (const item of deadlines.take(now)) {
      fired++;
      deadlines.set(item, now + 15_000);
    }
  }
  t.ok(fired >= 30_000);
  t.ok(performance.now() - started < 6_000, "a tenth of the time it stands for, on any machine");
});
