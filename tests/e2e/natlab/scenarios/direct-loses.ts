import { blockFor, type Scenario } from "./scenario.ts";

/** "Left within 3 s". */
export const directLoses: Scenario = {
  words: "the direct path loses 30 % each way for 5 s, the relay nothing",
  change: (world) => blockFor(world, [world.connectorSide.publicIp], 30),
  leaveAimMs: 3000,
};
