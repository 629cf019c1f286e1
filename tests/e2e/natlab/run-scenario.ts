/** Runs a scenario: the network changes under a transfer, and what the application saw of it comes out. */
import { createHash, randomBytes } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { epochMs, type Gap } from "../tool/gaps.ts";
import { type LogLine, type Program, tool } from "./programs.ts";
import { SCENARIOS } from "./scenarios/index.ts";
import { none, type Scenario, type ScenarioRun } from "./scenarios/scenario.ts";
import { LOCAL, World } from "./world.ts";

export interface ScenarioJob {
  readonly kind: "scenario";
  readonly name: string;
  readonly rttMs: number;
  readonly runs: number;
  readonly sizeBytes: number;
}

/** The agent's side and the connector's; hashed, so that a reboot brings other ports. */
const PAIR = "eim-apdf-hashed:eim-adf-hashed";
/** The transfer's speed: what two cores carry with the wires beside it, so that the change comes in its middle. */
const RATE_BYTES_PER_S = 30_000_000;
const CHANGE_AT = 0.3;
/** Before the change; not measured, and on a machine with much else to do it takes a second attempt. */
const DIRECT_MS = 30_000;
/** Attempts at direct are spaced with a growing backoff. */
const DIRECT_AGAIN_MS = 45_000;
const TRANSFER_MS = 90_000;

export async function runScenarios(job: ScenarioJob, say: (result: object) => void): Promise<void> {
  const scenario = SCENARIOS[job.name];
  if (!scenario) throw new Error(`no such scenario: ${job.name}`);
  const file = makeFile(Math.min(job.sizeBytes, scenario.maxBytes ?? job.sizeBytes));
  for (let run = 0; run < job.runs; run++) {
    const world = await World.begin({
      pair: PAIR,
      rttMs: job.rttMs,
      file: file.path,
      rateBytesPerS: RATE_BYTES_PER_S,
      ...scenario.world,
    });
    try {
      await world.startConnector();
      const agent = scenario.startsAlone ? null : await startedAgent(world, scenario);
      say(await (scenario.instead?.(world) ?? transfer(world, scenario, agent as Program, file)));
    } catch (error) {
      say({
        error: `${(error as Error).message}\n${world.tails}`,
      });
    } finally {
      await world.end();
    }
  }
}

/** Where it is to be: on a direct path, unless the relay will do. */
async function startedAgent(world: World, scenario: Scenario): Promise<Program> {
  const agent = world.startAgent();
  if (scenario.neverDirect) {
    await agent.expect("session-start", DIRECT_MS);
    return agent;
  }
  const direct = (line: LogLine) => line.to === "direct" || line.path === "direct";
  if (!(await agent.line(direct, DIRECT_MS)) && !scenario.relayWillDo) throw new Error("not direct to begin with");
  return agent;
}

interface TransferFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** For all runs of a job. */
function makeFile(bytes: number): TransferFile {
  const path = `/run/lab/file-of-${bytes}`;
  const hash = createHash("sha256");
  const descriptor = openSync(path, "w");
  for (let left = bytes; left > 0; ) {
    const chunk = randomBytes(Math.min(left, 1_048_576));
    hash.update(chunk);
    writeSync(descriptor, chunk);
    left -= chunk.length;
  }
  closeSync(descriptor);
  return { path, bytes, sha256: hash.digest("hex") };
}

interface Done extends LogLine {
  readonly sha256: string;
  readonly gaps: readonly Gap[];
}

async function transfer(world: World, scenario: Scenario, agent: Program, file: TransferFile): Promise<ScenarioRun> {
  const startedMs = epochMs();
  const url = `http://${LOCAL.host}:${LOCAL.port}/file`;
  const download = world.start("agent", "download", tool("get", "--url", url, "--timeout", String(TRANSFER_MS)));
  await download.expect("progress", TRANSFER_MS, (line) => Number(line.bytes) >= file.bytes * CHANGE_AT);
  const changedMs = epochMs();
  await scenario.change(world);
  const wholeMs = epochMs();
  const done = (await download.expect("done", TRANSFER_MS)) as Done;
  if (done.sha256 !== file.sha256)
    throw new Error(`the transfer has the hash ${done.sha256} instead of ${file.sha256}`);
  const stays = (line: LogLine) => line.from === "direct" && line.to === "direct";
  const left = agent.lines.find((line) => line.event === "path-changed" && line.timeMs >= changedMs && !stays(line));
  const back = left && !scenario.neverDirect ? await directAgain(world, agent, changedMs) : null;
  const session = await world.session();
  if (!session) throw new Error("the session is gone");
  return {
    gapMs: Math.max(0, ...done.gaps.filter(({ atMs, ms }) => atMs + ms >= changedMs).map(({ ms }) => ms)),
    ...none,
    leftMs: left ? left.timeMs - changedMs : null,
    directAgainMs: back === null ? null : Math.max(0, back - (back < wholeMs ? changedMs : wholeMs)),
    transferMs: done.timeMs - startedMs,
    handshakes: session.handshakes,
    path: session.path,
  };
}

/** When the session was on a direct path for good. */
async function directAgain(world: World, agent: Program, changedMs: number): Promise<number> {
  const isChange = (line: LogLine) => line.event === "path-changed" && line.timeMs >= changedMs;
  const deadlineMs = epochMs() + DIRECT_AGAIN_MS;
  for (;;) {
    const last = agent.lines.findLast(isChange);
    if (last?.to === "direct" && (await world.session())?.path === "direct") return last.timeMs;
    if (epochMs() > deadlineMs) throw new Error(`not direct again within ${DIRECT_AGAIN_MS} ms`);
    await agent.line((line) => isChange(line) && line !== last && line.timeMs >= (last?.timeMs ?? 0), 1000);
  }
}
