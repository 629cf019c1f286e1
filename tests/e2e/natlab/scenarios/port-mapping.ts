import { epochMs } from "../../tool/gaps.ts";
import { MAX_LEASE_S, mappedPorts, restartRouter } from "../extras/router.ts";
import type { LogLine } from "../programs.ts";
import type { Side } from "../side.ts";
import { LOCAL, type World } from "../world.ts";
import { none, type Scenario, type ScenarioRun } from "./scenario.ts";

/** No way but the mapped ports: neither NAT would do for the other. */
const PAIR = "apdm-apdf+pcp:apdm-apdf+nat-pmp";
/** A router tells its age in seconds, with two of slack: only one that has been up for longer can be seen to be younger. */
const EPOCH_MS = 4_000;
const MAPPED_MS = 3_000;
const DIRECT_MS = 10_000;

export const mappingRenewed: Scenario = {
  words: "both routers' mappings outlive their leases twice, and go when the programs do",
  world: { pair: PAIR },
  maxBytes: 1,
  change: () => {},
  instead: async (world) => {
    const before = await world.session();
    await Bun.sleep(2 * MAX_LEASE_S * 1000);
    for (const side of [world.agentSide, world.connectorSide]) await expectMapped(side);
    const after = await world.session();
    if (after?.path !== "direct" || after.migrations !== before?.migrations)
      throw new Error(`after two leases: ${after?.path}, ${after?.reason}`);
    return await finish(world, null);
  },
};

export const routerRestart: Scenario = {
  words: "the connector's router loses its mappings and tells its network that it is back; the next session is direct",
  world: { pair: PAIR },
  maxBytes: 1,
  change: () => {},
  instead: async (world) => {
    await Bun.sleep(EPOCH_MS);
    const changedMs = epochMs();
    world.connectorSide.nats[0]?.reboot();
    await restartRouter(world.lab, world.connectorSide, ["nat-pmp"]);
    await expectMapped(world.connectorSide);
    const remappedMs = epochMs() - changedMs;
    await world.agent?.stop();
    const agent = world.startAgent();
    const direct = (line: LogLine) => line.to === "direct" || line.path === "direct";
    if (!(await agent.line(direct, DIRECT_MS))) throw new Error("not direct after the router's restart");
    return await finish(world, remappedMs);
  },
};

async function expectMapped(side: Side): Promise<void> {
  const deadlineMs = epochMs() + MAPPED_MS;
  while (mappedPorts(side).length === 0) {
    if (epochMs() > deadlineMs) throw new Error(`the ${side.host}'s router has no mapping after ${MAPPED_MS} ms`);
    await Bun.sleep(50);
  }
}

/** One more request, and an end after which nothing is left in the routers. */
async function finish(world: World, directAgainMs: number | null): Promise<ScenarioRun> {
  const { connectedMs, firstByteMs } = await world.lab
    .station("agent")
    .ask("firstByte", LOCAL.host, LOCAL.port, "/hello", 10_000);
  const session = await world.session();
  await Promise.all([world.agent?.stop(), world.connector?.stop()]);
  const left = [...mappedPorts(world.agentSide), ...mappedPorts(world.connectorSide)];
  if (left.length > 0) throw new Error(`left behind in the routers: ${left.join("; ")}`);
  return {
    ...none,
    gapMs: firstByteMs - connectedMs,
    directAgainMs,
    handshakes: session?.handshakes ?? 0,
    path: session?.path ?? "gone",
  };
}
