import { test } from "@adit/harness";
import { canConnectDirectly, forEachSeed, type NatKind } from "@adit/sim";
import { drawScenario, expectsDirect, type Outcome, runScenario } from "./lab.ts";

/** Any hundred in a row hold every pair of NAT kinds. Thousands: `node packages/ice/dist/test/simulate.js --seeds 5000`. */
const SEEDS = 700;

test(`${SEEDS} seeds behind any NATs: a direct path exactly when the oracle says so, on both sides the same, and nothing left`, (t) => {
  const outcomes: { readonly lossy: boolean; readonly outcome: Outcome }[] = [];
  forEachSeed(SEEDS, (seed) => {
    const scenario = drawScenario(seed);
    outcomes.push({ lossy: scenario.link.loss !== undefined, outcome: runScenario(scenario) });
  });
  const met = (lossy: boolean) =>
    outcomes.filter((one) => one.lossy === lossy && one.outcome.nominatedMs !== null).map(({ outcome }) => outcome);
  if (process.env.ADIT_SEED) return;
  const p95 = (values: readonly (number | null)[]) =>
    values.map((value) => value ?? 0).sort((x, y) => x - y)[Math.floor(0.95 * values.length)] ?? 0;
  t.ok(met(false).length > 200 && met(true).length > 200, "enough met for the shares to mean something");
  t.ok(p95(met(false).map(({ validMs }) => validMs)) < 950, "clean wires: first valid pair");
  t.ok(p95(met(false).map(({ nominatedMs }) => nominatedMs)) < 2_300, "clean wires: nominated");
  t.ok(p95(met(true).map(({ validMs }) => validMs)) < 1_500, "lossy wires: first valid pair");
  t.ok(p95(met(true).map(({ nominatedMs }) => nominatedMs)) < 3_500, "lossy wires: nominated");
  t.ok(p95(met(false).map(({ checks }) => checks)) < 42, "clean wires: checks of both sides");
});

test("the scenarios cover what they are meant to cover", (t) => {
  const scenarios = Array.from({ length: SEEDS }, (_, i) => drawScenario(i + 1));
  const count = (is: (scenario: (typeof scenarios)[number]) => boolean) => scenarios.filter(is).length;
  t.ok(count((s) => expectsDirect(s)) > 200 && count((s) => !expectsDirect(s)) > 100);
  t.ok(count((s) => s.a.length === 2 || s.b.length === 2) > 100, "carrier NATs in two layers");
  t.ok(count((s) => s.common?.hairpin === true && !s.sameNetwork) > 30, "a common carrier that hairpins");
  t.ok(count((s) => s.common?.hairpin === false && !s.sameNetwork) > 30, "one that does not");
  t.ok(count((s) => !expectsDirect(s) && !s.relayForA && !s.relayForB) > 30, "no path at all");
});

test("50 ms one way: behind any two NATs that let a direct path be, it carries data within two round trips of the best possible", (t) => {
  const kinds: NatKind[] = (["EIM", "ADM", "APDM"] as const).flatMap((mapping) =>
    (["EIF", "ADF", "APDF"] as const).map((filtering) => ({ mapping, filtering })),
  );
  const latencyMs = 12.5; // four wires each way
  const roundTripMs = 100;
  /** A reflexive candidate is found after six wires and told after 50 ms; the answer to a check takes a round trip. */
  const bestMs = 6 * latencyMs + 50 + roundTripMs - 50;
  let count = 0;
  for (const a of kinds) {
    for (const b of kinds) {
      if (!canConnectDirectly(a, b)) continue;
      count++;
      const { validMs } = runScenario({
        seed: count,
        a: [a],
        b: [b],
        common: null,
        sameNetwork: false,
        sameAddresses: false,
        link: { latencyMs },
        relayForA: false,
        relayForB: false,
        signalingMs: [50, 50],
      });
      const what = `${a.mapping}-${a.filtering} and ${b.mapping}-${b.filtering}: ${validMs} ms`;
      t.ok(validMs !== null && validMs >= bestMs && validMs <= bestMs + 2 * roundTripMs, what);
    }
  }
  t.equal(count, 42);
});
