import { test } from "@adit/harness";
import { KnownPairs, type PathPair } from "../../src/path/known-pairs.ts";

const direct = (i: number): PathPair => ({ id: `direct ${i}`, kind: "direct", priority: BigInt(i) });

test("a pair that failed and is found again after an ICE restart is no better for it; sixteen are remembered", (t) => {
  const pairs = new KnownPairs();
  for (let i = 0; i < 17; i++) {
    pairs.add(0, direct(i)).fail(0, "dead");
    pairs.delete(direct(i).id);
  }
  t.equal(pairs.size, 0);
  const isUsable = (i: number): boolean => pairs.add(10, direct(i)).isUsable(10);
  t.same([isUsable(0), isUsable(1), isUsable(16)], [true, false, false]);
});

test("a pair that ICE sees as of another kind now starts anew", (t) => {
  const pairs = new KnownPairs();
  pairs.add(0, direct(1)).fail(0, "dead");
  const relayed = pairs.add(0, { ...direct(1), kind: "relay" });
  t.ok(relayed.isUsable(0));
  t.equal(pairs.get(direct(1).id), relayed);
});
