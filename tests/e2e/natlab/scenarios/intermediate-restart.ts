import { type Scenario, STANDING_AIM_MS } from "./scenario.ts";

export const intermediateRestart: Scenario = {
  words: "the intermediate ends and starts anew",
  aimMs: STANDING_AIM_MS,
  async change(world) {
    await world.intermediate?.stop();
    await world.startIntermediate();
  },
};
