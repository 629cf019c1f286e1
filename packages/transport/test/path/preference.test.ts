import { test } from "@adit/harness";
import { KnownPair } from "../../src/path/known-pairs.ts";
import { losesTooMuch } from "../../src/path/preference.ts";

const pair = (kind: "direct" | "relay"): KnownPair =>
  new KnownPair(0, { id: kind, kind, priority: kind === "direct" ? 2n : 1n });

/** A check every 50 ms, of which those that `isLost` says are not answered, and the others after 1 ms. */
function check(known: KnownPair, fromMs: number, toMs: number, isLost: (number: number) => boolean): void {
  for (let now = fromMs, number = 0; now < toMs; now += 50, number++) {
    known.handleSent(now);
    if (!isLost(number)) known.handleAnswer(now + 1, 1);
  }
}

test("what a path lost while it was down is not held against it once it carries the session again", (t) => {
  const [direct, relay] = [pair("direct"), pair("relay")];
  check(relay, 0, 20_000, () => false);
  check(direct, 0, 5_000, (number) => number % 10 !== 0);
  check(direct, 5_000, 5_500, () => false);
  t.ok(losesTooMuch(5_500, direct, relay), "if it had carried the session all the time");
  direct.handleUsed(5_500);
  t.equal(losesTooMuch(5_501, direct, relay), null);
  check(direct, 5_500, 9_000, () => false);
  t.equal(losesTooMuch(9_000, direct, relay), null);
  check(direct, 9_000, 11_500, (number) => number % 2 === 0);
  t.ok(losesTooMuch(11_500, direct, relay), "what it loses from then on counts");
});
