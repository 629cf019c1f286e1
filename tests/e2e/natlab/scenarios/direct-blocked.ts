import { blockFor, type Scenario, STANDING_AIM_MS } from "./scenario.ts";

export const directBlocked: Scenario = {
  words: "the peer's address is unreachable for 5 s, the relay is not",
  change: (world) => blockFor(world, [world.connectorSide.publicIp]),
  aimMs: STANDING_AIM_MS,
};
