import { RELAY_IP } from "../lab.ts";
import { blockFor, OUTAGE_MS, type Scenario, STANDING_AIM_MS } from "./scenario.ts";

export const linkOut: Scenario = {
  words: "nothing goes in or out on the agent's side for 5 s, which the silence contains",
  change: (world) => blockFor(world, [RELAY_IP, world.connectorSide.publicIp]),
  aimMs: OUTAGE_MS + STANDING_AIM_MS,
};
