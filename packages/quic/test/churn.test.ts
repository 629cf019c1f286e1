import { test } from "@adit/harness";
import { Churn, memory } from "./churn.ts";

/** Collections are not exact, and other tests of the process leave their own: ten times what one forgotten connection would make of it. */
const SLACK_KB = 8_000;

test("300 connections that were opened and closed leave nothing behind", async (t) => {
  const churn = new Churn();
  await churn.run(100);
  const before = memory();
  await churn.run(300);
  t.equal(churn.echoed, 400);
  t.same(churn.left, { connections: 0, ids: 0 });
  // A connection holds 27 KB and more on both sides: 300 of them could not hide.
  const { heapKb, residentKb } = memory();
  t.ok(heapKb < before.heapKb + SLACK_KB, `${before.heapKb} KB of heap before, ${heapKb} after`);
  t.ok(residentKb < before.residentKb + 3 * SLACK_KB, `${before.residentKb} KB resident before, ${residentKb} after`);
});
