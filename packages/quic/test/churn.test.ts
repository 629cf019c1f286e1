import { type T, test } from "@adit/harness";
import { Churn, memory } from "./churn.ts";

/** What 300 connections that stay would hold of the heap alone: 27 KB each, on both sides. */
const FORGOTTEN_KB = 300 * 2 * 27;

const closedAndForgotten = async (t: T): Promise<void> => {
  const churn = new Churn();
  await churn.run(30);
  const before = memory();
  await churn.run(300);
  t.equal(churn.echoed, 330);
  t.same(churn.left, { connections: 0, ids: 0 });
  // What quiche holds shows in resident memory, after thousands: the script has that.
  const { heapKb } = memory();
  t.ok(heapKb < before.heapKb + FORGOTTEN_KB / 4, `${before.heapKb} KB of heap before, ${heapKb} after`);
};

test("300 connections that were opened and closed leave nothing behind", closedAndForgotten, { timeoutMs: 120_000 });
