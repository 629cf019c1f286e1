import { ROAMED_AIM_MS, type Scenario } from "./scenario.ts";

/** All mappings are lost, and the new ones have other ports. */
export const agentNatReboot: Scenario = {
  change: ({ agentSide }) => agentSide.nats[0]?.reboot(),
  aimMs: ROAMED_AIM_MS,
};
export const connectorNatReboot: Scenario = {
  change: ({ connectorSide }) => connectorSide.nats[0]?.reboot(),
  aimMs: ROAMED_AIM_MS,
};
export const bothNatsReboot: Scenario = { change: (world) => world.rebootNats(), aimMs: ROAMED_AIM_MS };
