/** npm run natlab: hands the work to labs beside each other, judges what comes back, and prints it. */
import { accessSync, constants, readFileSync, writeFileSync } from "node:fs";
import { changesPage } from "./changes-html.ts";
import { htmlPage } from "./html.ts";
import type { Job } from "./jobs.ts";
import type { PairCell, ScenarioCell } from "./judge.ts";
import { LabProcess } from "./lab-process.ts";
import { changesBlock, matrixBlock, withBlock } from "./markdown.ts";
import { type Options, readOptions } from "./options.ts";
import { CHANGES, FAST, isPatient, KINDS, kindsOf, MATRIX, needsWires, planJobs } from "./plan.ts";
import { Results } from "./results.ts";
import { overviewTable, pairTable, scenarioTable } from "./table.ts";

/** CI machines have other work too: what is a bug shows in seconds there. */
const FAST_PATIENCE = 3;

/** Labs of jobs in which little happens, for each lab of the others. */
const PATIENT_LABS = 3;

function plan({ fast, pairs, scenarios, netchecks, rtts, runs, sizeBytes }: Options): readonly Job[] {
  const tried = pairs ?? (scenarios || netchecks ? [] : fast ? fastPairs() : MATRIX);
  return planJobs({
    pairs: tried,
    kinds: fast ? FAST.kinds : kindsOf(tried),
    netchecks: netchecks ?? (fast ? FAST.netchecks : []),
    scenarios: scenarios ?? (fast ? FAST.scenarios : []),
    rtts,
    runs,
    sizeBytes,
    secondAttempt: fast,
  });
}

function fastPairs(): readonly string[] {
  if (Bun.which("miniupnpd")) return [...FAST.pairs, ...FAST.routerPairs];
  console.log(`left out, as miniupnpd is not installed: ${FAST.routerPairs.join(", ")}`);
  return FAST.pairs;
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (typeof options === "string") {
    process.stdout.write(options);
    return;
  }
  const { fast, labs, json } = options;
  const jobs = plan(options);
  expectTun(jobs);
  const results = new Results(fast ? FAST_PATIENCE : 1, json);
  const waiting = jobs.filter((job) => !results.isDone(job));
  const busy = waiting.filter((job) => !isPatient(job));
  const patient = waiting.filter(isPatient);
  if (fast) await Promise.all([work(busy, labs, results), work(patient, labs, results)]);
  else {
    await work(busy, labs, results);
    await work(patient, labs * PATIENT_LABS, results);
  }
  const { scenarios, problems } = results;
  const cells = results.cells(jobs);
  if (cells.length > 0) console.log(`\n${pairTable(cells)}`);
  if (cells.length > 1) console.log(`\n${overviewTable(cells)}`);
  if (scenarios.length > 0) console.log(`\n${scenarioTable(scenarios)}`);
  writePages(options, cells, scenarios);
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
function writePages({ html, markdown }: Options, cells: readonly PairCell[], scenarios: readonly ScenarioCell[]): void {
  const version = JSON.parse(readFileSync(`${DOCS}/../package.json`, "utf8")).version as string;
  const write = (text: string, name: string, isComplete: boolean, block: string, tables: () => string): void => {
    const page = html ?? (isComplete ? `${DOCS}/${name}` : null);
    if (page) writeFileSync(page, text);
    const withTables = markdown ?? (isComplete && html === null ? `${DOCS}/nat.md` : null);
    if (withTables) writeFileSync(withTables, withBlock(readFileSync(withTables, "utf8"), block, tables()));
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

async function work(jobs: readonly Job[], labs: number, into: Results): Promise<void> {
  const waiting = [...jobs];
  const workers = Array.from({ length: Math.min(jobs.length, labs) }, async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      const lab = new LabProcess(); // one job a lab: what one leaves behind is no concern of the next
      const { results, failure } = await lab.do(job);
      into.add(job, results, failure);
    }
  });
  await Promise.all(workers);
}

try {
  await main();
} catch (error) {
  const isUsage =
    error instanceof RangeError || (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE") === true;
  console.error(`natlab: ${(error as Error).message}${isUsage ? " (npm run natlab -- --help, or --list)" : ""}`);
  process.exitCode = isUsage ? 2 : 1;
}
