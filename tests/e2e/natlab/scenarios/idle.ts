import { LOCAL, type World } from "../world.ts";
import { none, type Scenario, type ScenarioRun } from "./scenario.ts";

/** Nothing moves for ten times as long as the NATs keep a mapping that is not used. */
export const idle = idleScenario(20, 10);
/** The same with NATs that forget sooner than real ones, three times over: quicker to try. */
export const idleShort = idleScenario(8, 3);

function idleScenario(bindingTimeoutS: number, times: number): Scenario {
  return {
    words: `nothing moves for ${times * bindingTimeoutS} s, behind NATs that forget after ${bindingTimeoutS} s`,
    world: { bindingTimeoutS },
    maxBytes: 1,
    change: () => {},
    instead: (world) => stayIdle(world, times * bindingTimeoutS * 1000),
  };
}

async function stayIdle(world: World, idleMs: number): Promise<ScenarioRun> {
  const before = await world.session();
  await Bun.sleep(idleMs);
  const after = await world.session();
  if (!after || !before) throw new Error("the session is gone");
  const { connectedMs, firstByteMs } = await world.lab
    .station("agent")
    .ask("firstByte", LOCAL.host, LOCAL.port, "/hello", 10_000);
  if (after.path !== "direct" || after.migrations !== before.migrations)
    throw new Error(
      `after ${idleMs} ms: ${after.path}, ${after.migrations - before.migrations} path changes: ${after.reason}`,
    );
  const { handshakes, path } = after;
  return { ...none, gapMs: firstByteMs - connectedMs, handshakes, path };
}
