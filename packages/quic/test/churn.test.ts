import { type T, test } from "@adit/harness";
import { Churn, memory } from "./churn.ts";
import { sleep } from "./pair.ts";

/** Of 600 connections, 300 on each side; a collector that takes words on the stack for references may keep some of the last batch. */
/** What 300 connections that stay would hold of the heap: 27 KB each, on both sides. */
const FORGOTTEN_KB = 300 * 2 * 27;

const closedAndForgotten = async (t: T): Promise<void> => {
  const churn = new Churn();
  await churn.run(30);
  const before = memory();
  await churn.run(270);
  t.equal(churn.echoed, 300);
  t.same(churn.left, { connections: 0, ids: 0 });
  await sleep(1); // what was looked at in this turn of the event loop stays until its end
  const { heapKb } = memory();
  await sleep(1);
  // With a connection goes its part in the native library, which is what its memory is made of.
  t.ok(heapKb < before.heapKb + FORGOTTEN_KB / 4, `${before.heapKb} KB of heap before, ${heapKb} after`);
};

test("300 connections that were opened and closed leave nothing behind", closedAndForgotten);
