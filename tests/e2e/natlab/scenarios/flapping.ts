import type { LogLine } from "../programs.ts";
import type { World } from "../world.ts";
import { type Scenario, STANDING_AIM_MS } from "./scenario.ts";

/** Not used again sooner than this after its first, second and third death within a minute. */
const SOONEST_MS = [1_000, 2_000, 4_000];
/** The log tells of a move when the first packet came on the new path, which is a round trip over the relay later. */
const TELLING_MS = 200;
const CHANGE_TIMEOUT_MS = 15_000;

/** "A path that died twice in a minute waits with growing backoff before it is used again." */
export const flapping: Scenario = {
  words: "the direct path dies three times and answers again in a moment: it is used again after 1, 2 and 4 s",
  world: { rateBytesPerS: 8_000_000 },
  aimMs: STANDING_AIM_MS,
  async change(world) {
    let sinceMs = 0;
    for (const soonestMs of SOONEST_MS) {
      world.agentSide.nats[0]?.block([world.connectorSide.publicIp]);
      const left = await moved(world, "relay", sinceMs);
      world.agentSide.nats[0]?.block([]);
      const back = await moved(world, "direct", left.timeMs);
      sinceMs = back.timeMs;
      const waitedMs = back.timeMs - left.timeMs;
      if (waitedMs < soonestMs - TELLING_MS)
        throw new Error(`direct again after ${waitedMs} ms, and not after ${soonestMs}`);
    }
  },
};

async function moved({ agent }: World, to: string, sinceMs: number): Promise<LogLine> {
  const isMove = (line: LogLine) => line.event === "path-changed" && line.from !== line.to && line.to === to;
  const line = await agent?.line(isMove, CHANGE_TIMEOUT_MS, sinceMs);
  if (!line) throw new Error(`not on the ${to} path within ${CHANGE_TIMEOUT_MS} ms`);
  return line;
}
