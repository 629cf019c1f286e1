import { PROBE_IPS } from "./lab.ts";
import { type NetcheckJob, runNetcheck } from "./netcheck.ts";
import { expectNothingMapped, runPair } from "./pair-run.ts";
import { runScenarios, type ScenarioJob } from "./run-scenario.ts";
import { World } from "./world.ts";

export interface PairJob {
  readonly kind: "pair";
  /** As parsePair reads it. */
  readonly pair: string;
  readonly rttMs: number;
  readonly runs: number;
  /** On machines that others use too, a session that was not direct at first is given its next attempt: what is not the machine's fault shows in its time. */
  readonly secondAttempt: boolean;
}

/** Are the NATs what they are called? */
export interface VerifyJob {
  readonly kind: "verify";
  readonly nat: string;
  readonly rttMs: number;
}

export type Job = PairJob | VerifyJob | ScenarioJob | NetcheckJob;
export type Say = (result: object) => void;

async function pair(job: PairJob, say: Say): Promise<void> {
  const world = await World.begin(job);
  try {
    for (let run = 0; run < job.runs; run++) {
      try {
        const result = await runPair(world, job.secondAttempt);
        expectNothingMapped(world.kind.agent, world.agentSide);
        say(result);
      } catch (error) {
        say({ error: (error as Error).message });
      }
    }
    await world.connector?.stop();
    expectNothingMapped(world.kind.connector, world.connectorSide);
  } finally {
    await world.end();
  }
}

async function verify(job: VerifyJob, say: Say): Promise<void> {
  const world = await World.begin({ pair: `${job.nat}:open`, rttMs: job.rttMs });
  try {
    await world.lab.station("probe").ask("serveProbes", PROBE_IPS);
    say(await world.lab.station("agent").ask("classify", PROBE_IPS, job.rttMs));
  } finally {
    await world.end();
  }
}

export const jobs = { pair, verify, scenario: runScenarios, netcheck: runNetcheck };
