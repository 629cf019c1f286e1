import { test } from "@adit/harness";
import { forEachSeed } from "../src/index.ts";

test("a failing seed is named, and can be run alone", (t) => {
  const before = process.env.ADIT_SEED;
  t.teardown(() => {
    if (before === undefined) delete process.env.ADIT_SEED;
    else process.env.ADIT_SEED = before;
  });
  delete process.env.ADIT_SEED;
  const ran: number[] = [];
  const run = (seed: number) => {
    ran.push(seed);
    if (seed === 3) throw new Error("it broke");
  };
  t.throws(() => forEachSeed(5, run), /^Error: ADIT_SEED=3: it broke$/);
  t.same(ran, [1, 2, 3]);
  process.env.ADIT_SEED = "5";
  forEachSeed(2, run);
  t.same(ran, [1, 2, 3, 5]);
});
