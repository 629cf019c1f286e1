import { RELAY_IP } from "../lab.ts";
import { blockFor, type Scenario } from "./scenario.ts";

/** Nothing goes in or out on the agent's side for a while. */
export const linkOut: Scenario = { change: (world) => blockFor(world, [RELAY_IP, world.connectorSide.publicIp]) };
