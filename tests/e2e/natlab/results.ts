/** What came back from the labs: judged, told as it comes, and kept in a file between two runs. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Job } from "./jobs.ts";
import { judgeNat, judgePair, judgeScenario, type PairCell, type ScenarioCell } from "./judge.ts";
import { judgeNetcheck, type NetcheckSaid } from "./netcheck.ts";
import type { PairRun } from "./pair-run.ts";
import type { NatFindings } from "./probe.ts";
import { SCENARIOS } from "./scenarios/index.ts";
import type { ScenarioRun } from "./scenarios/scenario.ts";

export class Results {
  readonly problems: string[] = [];
  readonly #patience: number;
  readonly #file: string | null;
  #cells: readonly PairCell[] = [];
  #scenarios: readonly ScenarioCell[] = [];

  /** `patience` stretches the bounds of time. `file`: what went well in an earlier run that was not finished is taken from there. */
  constructor(patience: number, file: string | null) {
    this.#patience = patience;
    this.#file = file;
    if (file === null || !existsSync(file)) return;
    const earlier = JSON.parse(readFileSync(file, "utf8")) as { cells: PairCell[]; scenarios: ScenarioCell[] };
    this.#cells = earlier.cells.filter(({ problems }) => problems.length === 0);
    this.#scenarios = earlier.scenarios.filter(({ problems }) => problems.length === 0);
  }

  /** In the order of `jobs`; those from earlier runs that are not among them come first. */
  cells(jobs: readonly Job[]): readonly PairCell[] {
    const place = (cell: PairCell) => jobs.findIndex((job) => isPair(job, cell));
    return this.#cells.toSorted((a, b) => place(a) - place(b));
  }

  get scenarios(): readonly ScenarioCell[] {
    const names = Object.keys(SCENARIOS);
    return this.#scenarios.toSorted((a, b) => a.rttMs - b.rttMs || names.indexOf(a.name) - names.indexOf(b.name));
  }

  isDone(job: Job): boolean {
    return (
      this.#cells.some((cell) => isPair(job, cell) && cell.runs >= (job as PairCell).runs) ||
      this.#scenarios.some((cell) => isScenario(job, cell) && cell.runs.length >= (job as { runs: number }).runs)
    );
  }

  /** One job's results, as they came from the lab; what is wrong with them goes to `problems`, and at once to the reader. */
  add(job: Job, results: readonly unknown[], failure: string | null): void {
    const [words, found] = this.#judge(job, results, failure);
    console.log(`${found.length === 0 ? "ok    " : "not ok"} ${words}`);
    for (const problem of found) console.log(`       ${problem.replaceAll("\n", "\n       ")}`);
    this.problems.push(...found);
    if (this.#file === null) return;
    const { problems } = this;
    writeFileSync(this.#file, JSON.stringify({ cells: this.#cells, scenarios: this.#scenarios, problems }, null, 1));
  }

  /** `failure`: why the job was not done to its end. */
  #judge(job: Job, results: readonly unknown[], failure: string | null): [words: string, problems: readonly string[]] {
    const failures = failure === null ? [] : [failure];
    switch (job.kind) {
      case "verify":
        return [`NAT ${job.nat}`, failure ? failures : judgeNat(job.nat, results[0] as NatFindings)];
      case "netcheck": {
        const words = `netcheck behind ${job.side}`;
        return [words, failure ? failures : judgeNetcheck(job.side, results[0] as NetcheckSaid, this.#patience)];
      }
      case "pair": {
        const runs = results as (PairRun | { error: string })[];
        const judged = judgePair(job, runs, this.#patience);
        const cell = { ...job, ...judged, problems: [...judged.problems, ...failures] };
        this.#cells = [...this.#cells.filter((other) => !isPair(job, other)), cell];
        return [`${job.pair} at ${job.rttMs} ms: ${cell.paths}, ${cell.types}`, cell.problems];
      }
      case "scenario": {
        const judged = judgeScenario(job, results as (ScenarioRun | { error: string })[], this.#patience);
        const cell = { ...judged, problems: [...judged.problems, ...failures] };
        this.#scenarios = [...this.#scenarios.filter((other) => !isScenario(job, other)), cell];
        return [`${job.name} at ${job.rttMs} ms: ${cell.runs.length} of ${job.runs}`, cell.problems];
      }
    }
  }
}

const isPair = (job: Job, { pair, rttMs }: PairCell): boolean =>
  job.kind === "pair" && job.pair === pair && job.rttMs === rttMs;
const isScenario = (job: Job, { name, rttMs }: ScenarioCell): boolean =>
  job.kind === "scenario" && job.name === name && job.rttMs === rttMs;
