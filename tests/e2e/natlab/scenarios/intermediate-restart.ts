import { type Scenario, STANDING_AIM_MS } from "./scenario.ts";

/** It ends and starts anew. */
export const intermediateRestart: Scenario = {
  aimMs: STANDING_AIM_MS,
  async change(world) {
    await world.intermediate?.stop();
    await world.startIntermediate();
  },
};
