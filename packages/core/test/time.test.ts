import { test } from "@adit/harness";
import { Backoff, earliest, seededRandom } from "../src/index.ts";

test("backoff doubles up to its limit, with jitter below the nominal delay", (t) => {
  const backoff = new Backoff({ initialMs: 100, maxMs: 1000, jitter: 0.5 });
  t.same(
    [0, 1, 2, 3, 4, 5].map(() => backoff.next(0)),
    [100, 200, 400, 800, 1000, 1000],
  );
  backoff.reset();
  t.equal(backoff.next(0.5), 75);
});

test("the earlier deadline wins and null is never", (t) => {
  const a = { at: 1, reason: "a" };
  const b = { at: 2, reason: "b" };
  t.equal(earliest(a, b), a);
  t.equal(earliest(b, a), a);
  t.equal(earliest(null, b), b);
  t.equal(earliest(null, null), null);
});

test("seeded randomness repeats, is uniform enough, and differs between neighbouring seeds", (t) => {
  t.same(seededRandom(7).bytes(16), seededRandom(7).bytes(16));
  t.notEqual(seededRandom(1).float(), seededRandom(2).float());
  const random = seededRandom(3);
  let sum = 0;
  for (let i = 0; i < 10_000; i++) sum += random.float();
  t.ok(Math.abs(sum / 10_000 - 0.5) < 0.02, `mean ${sum / 10_000}`);
});
