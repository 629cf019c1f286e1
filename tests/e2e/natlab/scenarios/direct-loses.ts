import { blockFor, type Scenario } from "./scenario.ts";

/** The direct path loses 30 % each way for a while, the relay nothing: "left within 3 s". */
export const directLoses: Scenario = {
  change: (world) => blockFor(world, [world.connectorSide.publicIp], 30),
  leaveAimMs: 3000,
};
