/** The network changes under a transfer: what the application saw of it. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { epochMs, type Gap } from "../tool/gaps.ts";
import { RELAY_IP, type Side } from "./lab.ts";
import { type LogLine, type Program, tool } from "./programs.ts";
import type { WireQuality } from "./wire.ts";
import { LOCAL, World, type WorldOptions } from "./world.ts";

export interface ScenarioJob {
  readonly kind: "scenario";
  readonly name: string;
  readonly rttMs: number;
  readonly runs: number;
  readonly sizeBytes: number;
}

export interface ScenarioRun {
  /** The longest silence that the application saw, from the change on. For `idle`: the time to the first byte afterwards. */
  readonly gapMs: number;
  /** From the change (or from its end, where it has one) to direct; null when the session never left the direct path. */
  readonly directAgainMs: number | null;
  readonly handshakes: number;
  readonly path: string;
}

interface Scenario {
  readonly world?: Partial<WorldOptions>;
  /** Does the change, and returns when the network is whole again (which may be at once). */
  change(world: World): Promise<void> | void;
  /** For networks that would take too long for the whole file. */
  readonly maxBytes?: number;
  /** Being direct is not what it is about. */
  readonly relayWillDo?: boolean;
  /** A second way into the internet, for the agent to move to. */
  readonly secondUplink?: boolean;
}

/** The transfer's speed, so that the change comes in its middle. */
const RATE_BYTES_PER_S = 20_000_000;
const CHANGE_AT = 0.3;
const OUTAGE_MS = 5000;
const BINDING_TIMEOUT_S = 20;
const IDLE_MS = 10 * BINDING_TIMEOUT_S * 1000;
const DIRECT_MS = 10_000;
/** Attempts at direct are spaced with a growing backoff. */
const DIRECT_AGAIN_MS = 45_000;
const TRANSFER_MS = 90_000;

export const SCENARIOS: Readonly<Record<string, Scenario | "idle">> = {
  "agent-address": { change: (world) => changeAddress(world, world.agentSide) },
  "connector-address": { change: (world) => changeAddress(world, world.connectorSide) },
  "agent-roams": { change: roam, secondUplink: true },
  "agent-nat-reboot": { change: ({ agentSide }) => agentSide.nats[0]?.reboot() },
  "connector-nat-reboot": { change: ({ connectorSide }) => connectorSide.nats[0]?.reboot() },
  "both-nats-reboot": { change: (world) => world.rebootNats() },
  "link-out": { change: (world) => blockFor(world, [RELAY_IP, world.connectorSide.publicIp]) },
  "direct-blocked": { change: (world) => blockFor(world, [world.connectorSide.publicIp]) },
  "intermediate-restart": {
    async change(world) {
      await world.intermediate?.stop();
      await world.startIntermediate();
    },
  },
  // A way crosses two wires: 1 - 0.894² = 0.2.
  "lossy-20": { ...lossy({ delayMs: 10, loss: 0.106 }), maxBytes: 1_000_000 },
  "satellite-450": { ...lossy({ delayMs: 112.5, loss: 0.041, lossBurst: 4 }), maxBytes: 1_000_000 },
  "slow-5mbit": { ...lossy({ delayMs: 10, rateBitsPerS: 5_000_000 }), maxBytes: 5_000_000 },
  idle: "idle",
};

/** Nothing changes: the network is bad from the start. */
function lossy(quality: WireQuality): Scenario {
  return { world: { quality }, relayWillDo: true, change: () => {} };
}

function changeAddress({ lab }: World, side: Side): void {
  const net = side.hostIp.split(".").slice(0, 3).join(".");
  // Away with the old one first: it takes all others of its prefix with it.
  lab.ip(
    side.host,
    `addr delete ${net}.2/24 dev eth0`,
    `addr add ${net}.3/24 dev eth0`,
    `route add default via ${net}.1`,
  );
}

async function blockFor({ agentSide }: World, ips: readonly string[]): Promise<void> {
  agentSide.nats[0]?.block(ips);
  await Bun.sleep(OUTAGE_MS);
  agentSide.nats[0]?.block([]);
}

/** From Wi-Fi to cell: one interface is gone, another appears, behind another NAT. */
function roam({ lab }: World): void {
  lab.ip("agent", "link delete eth0");
  lab.ip("cell", "link set eth0 netns agent");
  lab.ip("agent", "addr add 192.168.3.2/24 dev eth0", "link set eth0 up", "route add default via 192.168.3.1");
}

export async function runScenarios(job: ScenarioJob, say: (result: object) => void): Promise<void> {
  const scenario = SCENARIOS[job.name];
  if (!scenario) throw new Error(`no such scenario: ${job.name}`);
  for (let run = 0; run < job.runs; run++) {
    const idle = scenario === "idle";
    const world = await World.begin({
      agent: "eim-apdf-hashed", // so that a reboot brings other ports
      connector: "eim-adf-hashed",
      rttMs: job.rttMs,
      fileBytes: Math.min(job.sizeBytes, idle ? 1 : (scenario.maxBytes ?? job.sizeBytes)),
      rateBytesPerS: RATE_BYTES_PER_S,
      ...(idle ? { bindingTimeoutS: BINDING_TIMEOUT_S } : scenario.world),
      ...(!idle && scenario.secondUplink ? { secondUplink: "eim-apdf-hashed" } : {}),
    });
    try {
      await world.startConnector();
      const agent = world.startAgent();
      const direct = (line: LogLine) => line.to === "direct" || line.path === "direct";
      if (!(await agent.line(direct, DIRECT_MS)) && (idle || !scenario.relayWillDo))
        throw new Error("not direct to begin with");
      say(idle ? await stayIdle(world) : await transfer(world, scenario, agent));
    } catch (error) {
      say({
        error: `${(error as Error).message}\n${world.tails}`,
      });
    } finally {
      await world.end();
    }
  }
}

interface Done extends LogLine {
  readonly sha256: string;
  readonly gaps: readonly Gap[];
}

async function transfer(world: World, scenario: Scenario, agent: Program): Promise<ScenarioRun> {
  const url = `http://${LOCAL.host}:${LOCAL.port}/file`;
  const download = world.start("agent", "download", tool("get", "--url", url, "--timeout", String(TRANSFER_MS)));
  const expected = createHash("sha256")
    .update(readFileSync(`${world.directory}/file`))
    .digest("hex");
  const bytes = (world.options.fileBytes ?? 0) * CHANGE_AT;
  await download.expect("progress", TRANSFER_MS, (line) => Number(line.bytes) >= bytes);
  const changedMs = epochMs();
  await scenario.change(world);
  const wholeMs = epochMs();
  const done = (await download.expect("done", TRANSFER_MS)) as Done;
  if (done.sha256 !== expected) throw new Error(`the transfer has the hash ${done.sha256} instead of ${expected}`);
  const left = agent.lines.some((line) => line.event === "path-changed" && line.timeMs >= changedMs);
  const back = left ? await directAgain(world, agent, changedMs) : null;
  const session = await world.session();
  if (!session) throw new Error("the session is gone");
  return {
    gapMs: Math.max(0, ...done.gaps.filter(({ atMs, ms }) => atMs + ms >= changedMs).map(({ ms }) => ms)),
    directAgainMs: back === null ? null : Math.max(0, back - (back < wholeMs ? changedMs : wholeMs)),
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

/** Nothing moves for longer than the NATs keep a mapping that is not used. */
async function stayIdle(world: World): Promise<ScenarioRun> {
  const before = await world.session();
  await Bun.sleep(IDLE_MS);
  const after = await world.session();
  if (!after || !before) throw new Error("the session is gone");
  const { connectedMs, firstByteMs } = await world.lab
    .station("agent")
    .ask("firstByte", LOCAL.host, LOCAL.port, "/hello", 10_000);
  if (after.path !== "direct" || after.migrations !== before.migrations)
    throw new Error(
      `after ${IDLE_MS} ms: ${after.path}, ${after.migrations - before.migrations} path changes: ${after.reason}`,
    );
  return { gapMs: firstByteMs - connectedMs, directAgainMs: null, handshakes: after.handshakes, path: after.path };
}
