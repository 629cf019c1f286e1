import { blockFor, type Scenario, STANDING_AIM_MS } from "./scenario.ts";

/** The peer's address is unreachable for a while, the relay is not. */
export const directBlocked: Scenario = {
  change: (world) => blockFor(world, [world.connectorSide.publicIp]),
  aimMs: STANDING_AIM_MS,
};
