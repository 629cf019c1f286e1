/**
 * Meetings of two agents by the thousand, from the command line: `simulate [--seeds 5000] [--from 1]`, `simulate --seed 17 --trace`.
 * Run from the checkout: `node packages/ice/dist/test/simulate.js`, or `bun packages/ice/test/simulate.ts`.
 */
import { parseArgs } from "node:util";
import { drawScenario, expectsDirect, type Outcome, runScenario } from "./lab.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "5000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
  },
});
const first = Number(values.seed ?? values.from);
const count = values.seed ? 1 : Number(values.seeds);
if (!(first >= 0) || !(count >= 1)) throw new RangeError("--seeds and --from are whole numbers");

const outcomes: { readonly lossy: boolean; readonly outcome: Outcome }[] = [];
let failed = 0;
for (let seed = first; seed < first + count; seed++) {
  const scenario = drawScenario(seed);
  if (values.trace) console.log(JSON.stringify(scenario, null, 2), "direct:", expectsDirect(scenario));
  try {
    const outcome = runScenario(scenario, values.trace ? (event) => print(event) : null);
    outcomes.push({ lossy: scenario.link.loss !== undefined, outcome });
  } catch (error) {
    failed++;
    console.error(`--seed ${seed}: ${error instanceof Error ? error.message : error}`);
  }
}
for (const lossy of [false, true]) {
  const met = outcomes
    .filter((one) => one.lossy === lossy && one.outcome.nominatedMs !== null)
    .map((one) => one.outcome);
  const line = (of: (outcome: Outcome) => number | null) => {
    const sorted = met.map((outcome) => of(outcome) ?? 0).sort((x, y) => x - y);
    const at = (share: number) =>
      Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
    return `p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)}, most ${at(1)}`;
  };
  console.log(`${lossy ? "lossy" : "clean"} wires, ${met.length} met`);
  console.log(`  first valid pair on both, ms: ${line(({ validMs }) => validMs)}`);
  console.log(`  nominated on both, ms:        ${line(({ nominatedMs }) => nominatedMs)}`);
  console.log(`  checks of both:               ${line(({ checks }) => checks)}`);
}
console.log(`${count - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

function print(event: Parameters<NonNullable<Parameters<typeof runScenario>[1]>>[0]): void {
  const { from, to, data } = event.datagram;
  const why = event.kind === "dropped" ? ` ${event.reason}` : "";
  console.log(
    `${event.at.toFixed(1)} ${event.kind}${why} ${from.key} > ${to.key} ${data.length} bytes, type ${data[0]}.${data[1]}`,
  );
}
