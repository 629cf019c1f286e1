/** npm run natlab: hands the work to labs beside each other, judges what comes back, and prints it. */
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { changesPage } from "./changes-html.ts";
import { EXTRAS } from "./extras/index.ts";
import { htmlPage } from "./html.ts";
import type { Job } from "./jobs.ts";
import { judgeNat, judgePair, judgeScenario, type PairCell, type ScenarioCell } from "./judge.ts";
import { LabProcess } from "./lab-process.ts";
import { changesBlock, matrixBlock, withBlock } from "./markdown.ts";
import { judgeNetcheck, type NetcheckSaid } from "./netcheck.ts";
import type { PairRun } from "./pair-run.ts";
import { CHANGES, FAST, isPatient, KINDS, kindsOf, MATRIX, NETCHECKS, needsWires, planJobs } from "./plan.ts";
import type { NatFindings } from "./probe.ts";
import { SCENARIOS } from "./scenarios/index.ts";
import type { ScenarioRun } from "./scenarios/scenario.ts";
import { overviewTable, pairTable, scenarioTable } from "./table.ts";

const help = () => `Usage: npm run natlab -- [options]

Real NATs (network namespaces and nftables), the real programs, and what came of it. First every kind of NAT is probed:
no result counts before the NATs are what they are called. Then each pair, agent:connector, is tried and compared with the
oracle of packages/sim. Exit status 1 when something is not as it has to be.

  --pair PAIR              this pair alone; may be repeated. A pair is AGENT:CONNECTOR, or AGENT:CONNECTOR@NAT when both are behind
                           that NAT. A side is "open", or a NAT like eim-apdf, adm-adf, apdm-adf-sequential, eim-adf-hashed, or several NATs,
                           the innermost first: eim-eif/apdm-apdf; then what else there is about it: +${Object.keys(EXTRAS).join(", +")}.
                           A NAT may also be -hairpin and -isolated: eim-apdf:open@eim-adf-hairpin-isolated
  --runs N                 sessions a pair and round trip (default 10)
  --rtt MS                 round trip between any two, may be repeated (default 0 and 40)
  --fast                   what CI runs: ${FAST.kinds.length} kinds probed, ${FAST.pairs.length} pairs, 1 run, ${FAST.scenarios.length} scenarios; less than a minute
  --scenario NAME|all      the network changes under a transfer, instead of the matrix: ${Object.keys(SCENARIOS).join(", ")};
                           or "changes": ${CHANGES.length} of them, the ones of docs/nat-changes.html
  --netcheck SIDE|all      what adit-agent netcheck says behind such a network, against what was built
  --size BYTES             of the transfer in a scenario (default 200000000)
  --labs N                 labs beside each other (default 2), and three times as many of those in which most is waiting
  --html FILE              where the page is written (docs/nat-matrix.html for a complete matrix, docs/nat-changes.html for all changes, in
                           10 runs each or more; else nowhere)
  --markdown FILE          the page whose tables are written anew, between the comments that are there for it (docs/nat.md, when its HTML page is written)
  --json FILE              the raw figures, written again after each pair or scenario. If the file is there, what went well in it is not run again

ADIT_E2E_KEEP=1 shows all that the programs say, ADIT_NATLAB_LOG=debug lets them say more, ADIT_E2E_BIN=DIR runs those of another build.
`;

/** CI machines have other work too: what is a bug shows in seconds there. */
const FAST_PATIENCE = 3;

const { values: given } = parseArgs({
  options: {
    pair: { type: "string", multiple: true },
    runs: { type: "string" },
    rtt: { type: "string", multiple: true },
    fast: { type: "boolean", default: false },
    scenario: { type: "string", multiple: true },
    netcheck: { type: "string", multiple: true },
    size: { type: "string" },
    labs: { type: "string", default: "2" },
    html: { type: "string" },
    markdown: { type: "string" },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

function whole(name: string, text: string | undefined, otherwise: number): number {
  const value = Number(text ?? otherwise);
  if (!Number.isInteger(value) || value < 0) throw new RangeError(`--${name} ${text}: a whole number was expected`);
  return value;
}

/** Labs of jobs in which little happens, for each lab of the others. */
const PATIENT_LABS = 3;

function plan(): readonly Job[] {
  const { fast } = given;
  const netchecks = given.netcheck?.flatMap((side) => (side === "all" ? NETCHECKS : side));
  const scenarios = given.scenario?.flatMap((name) =>
    name === "all" ? Object.keys(SCENARIOS) : name === "changes" ? CHANGES : name,
  );
  const pairs = given.pair ?? (scenarios || netchecks ? [] : fast ? fastPairs() : MATRIX);
  return planJobs({
    pairs,
    kinds: fast ? FAST.kinds : kindsOf(pairs),
    netchecks: netchecks ?? (fast ? FAST.netchecks : []),
    scenarios: scenarios ?? (fast ? FAST.scenarios : []),
    rtts: (given.rtt ?? (fast ? ["0"] : ["0", "40"])).map((rtt) => whole("rtt", rtt, 0)),
    runs: whole("runs", given.runs, fast || scenarios ? 1 : 10),
    sizeBytes: whole("size", given.size, fast ? FAST.scenarioBytes : 200_000_000),
  });
}

function fastPairs(): readonly string[] {
  if (Bun.which("miniupnpd")) return [...FAST.pairs, ...FAST.routerPairs];
  console.log(`left out, as miniupnpd is not installed: ${FAST.routerPairs.join(", ")}`);
  return FAST.pairs;
}

const problems: string[] = [];
const cells: PairCell[] = [];
const scenarios: ScenarioCell[] = [];

/** One job's results, as they came from the lab; what is wrong with them goes to `problems`, and at once to the reader. */
function finished(job: Job, results: readonly unknown[], failure: string | null): void {
  const found: string[] = [];
  let words: string;
  if (job.kind === "verify") {
    words = `NAT ${job.nat}`;
    if (!failure) found.push(...judgeNat(job.nat, results[0] as NatFindings));
  } else if (job.kind === "pair") {
    const cell = {
      ...job,
      ...judgePair(job, results as (PairRun | { error: string })[], given.fast ? FAST_PATIENCE : 1),
    };
    words = `${job.pair} at ${job.rttMs} ms: ${cell.paths}, ${cell.types}`;
    found.push(...cell.problems);
    cells.push(cell);
  } else if (job.kind === "netcheck") {
    words = `netcheck behind ${job.side}`;
    if (!failure) found.push(...judgeNetcheck(job.side, results[0] as NetcheckSaid, given.fast ? FAST_PATIENCE : 1));
  } else {
    const cell = judgeScenario(job, results as (ScenarioRun | { error: string })[], given.fast ? FAST_PATIENCE : 1);
    words = `${job.name} at ${job.rttMs} ms: ${cell.runs.length} of ${job.runs}`;
    found.push(...cell.problems);
    scenarios.push(cell);
  }
  if (failure) found.push(failure);
  console.log(`${found.length === 0 ? "ok    " : "not ok"} ${words}`);
  for (const problem of found) console.log(`       ${problem.replaceAll("\n", "\n       ")}`);
  problems.push(...found);
}

async function main(): Promise<void> {
  if (given.help) {
    process.stdout.write(help());
    return;
  }
  const jobs = plan();
  expectTun(jobs);
  recall();
  const waiting = jobs.filter((job) => !isDone(job));
  const labs = Math.max(1, whole("labs", given.labs, 2));
  const busy = waiting.filter((job) => !isPatient(job));
  const patient = waiting.filter(isPatient);
  if (given.fast) await Promise.all([work(busy, labs), work(patient, labs)]);
  else {
    await work(busy, labs);
    await work(patient, labs * PATIENT_LABS);
  }
  const order = (cell: PairCell) => jobs.findIndex((job) => job.kind === "pair" && same(job, cell));
  cells.sort((a, b) => order(a) - order(b));
  const names = Object.keys(SCENARIOS);
  scenarios.sort((a, b) => a.rttMs - b.rttMs || names.indexOf(a.name) - names.indexOf(b.name));
  if (cells.length > 0) console.log(`\n${pairTable(cells)}`);
  if (cells.length > 1) console.log(`\n${overviewTable(cells)}`);
  if (scenarios.length > 0) console.log(`\n${scenarioTable(scenarios)}`);
  writePages();
  console.log(`\n${problems.length === 0 ? "everything is as it has to be" : `${problems.length} problems`}`);
  if (problems.length > 0) process.exitCode = 1;
}

const TUN = "/dev/net/tun";

/** @throws when there are to be wires, and this user can make none: better now than in each lab. */
function expectTun(jobs: readonly Job[]): void {
  if (!jobs.some(needsWires)) return;
  try {
    accessSync(TUN, constants.R_OK | constants.W_OK);
  } catch (cause) {
    const why = `${TUN} cannot be opened (${(cause as NodeJS.ErrnoException).code}), and delays, loss and rates need it`;
    throw new Error(`${why}: "chmod 666 ${TUN}" as root helps, or run this as root, or stay at --rtt 0`, { cause });
  }
}

const DOCS = `${import.meta.dir}/../../../docs`;
/** Of each pair, or each change, for the pages in docs/. */
const PAGE_RUNS = 10;

/** The HTML page, and the tables of docs/nat.md: where told, else in docs/ when the figures are complete. */
function writePages(): void {
  const version = JSON.parse(readFileSync(`${DOCS}/../package.json`, "utf8")).version as string;
  const write = (html: string, name: string, isComplete: boolean, block: string, tables: () => string): void => {
    const page = given.html ?? (isComplete ? `${DOCS}/${name}` : null);
    if (page) writeFileSync(page, html);
    const markdown = given.markdown ?? (isComplete && !given.html ? `${DOCS}/nat.md` : null);
    if (markdown) writeFileSync(markdown, withBlock(readFileSync(markdown, "utf8"), block, tables()));
  };
  if (cells.length > 0) {
    const isComplete = MATRIX.every((pair) => cells.some((cell) => cell.pair === pair && cell.runs >= PAGE_RUNS));
    write(htmlPage(cells, KINDS, version), "nat-matrix.html", isComplete, "matrix", () => matrixBlock(cells));
  } else if (scenarios.length > 0) {
    const isMeasured = (name: string) => scenarios.some((cell) => cell.name === name && cell.runs.length >= PAGE_RUNS);
    const isComplete = CHANGES.every(isMeasured);
    const changes = scenarios.filter(({ name }) => CHANGES.includes(name));
    write(changesPage(scenarios, version), "nat-changes.html", isComplete, "changes", () => changesBlock(changes));
  }
}

async function work(jobs: readonly Job[], labs: number): Promise<void> {
  const waiting = [...jobs];
  const workers = Array.from({ length: Math.min(jobs.length, labs) }, async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      const lab = new LabProcess(); // one job a lab: what one leaves behind is no concern of the next
      const { results, failure } = await lab.do(job);
      finished(job, results, failure);
      save();
    }
  });
  await Promise.all(workers);
}

function save(): void {
  if (given.json) writeFileSync(given.json, JSON.stringify({ cells, scenarios, problems }, null, 1));
}

/** What went well in an earlier run that was not finished. */
function recall(): void {
  if (!given.json || !existsSync(given.json)) return;
  const earlier = JSON.parse(readFileSync(given.json, "utf8")) as { cells: PairCell[]; scenarios: ScenarioCell[] };
  cells.push(...earlier.cells.filter((cell) => cell.problems.length === 0));
  scenarios.push(...earlier.scenarios.filter((cell) => cell.problems.length === 0));
}

function isDone(job: Job): boolean {
  if (job.kind === "pair") return cells.some((cell) => same(cell, job) && cell.runs >= job.runs);
  const { kind } = job;
  if (kind !== "scenario") return false;
  return scenarios.some(({ name, rttMs, runs }) => name === job.name && rttMs === job.rttMs && runs.length >= job.runs);
}

const same = (a: { pair: string; rttMs: number }, b: typeof a) => a.pair === b.pair && a.rttMs === b.rttMs;

try {
  await main();
} catch (error) {
  console.error(`natlab: ${(error as Error).message}`);
  process.exitCode =
    error instanceof RangeError || (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE") ? 2 : 1;
}
