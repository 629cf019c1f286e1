import type { Scenario } from "./scenario.ts";

/** It ends and starts anew. */
export const intermediateRestart: Scenario = {
  async change(world) {
    await world.intermediate?.stop();
    await world.startIntermediate();
  },
};
