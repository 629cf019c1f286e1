import type { Side } from "../side.ts";
import type { World } from "../world.ts";
import { ROAMED_AIM_MS, type Scenario } from "./scenario.ts";

/** A host gets another address in its own network. */
export const agentAddress: Scenario = {
  words: "the agent's host gets another address in its network",
  change: (world) => changeAddress(world, world.agentSide),
  aimMs: ROAMED_AIM_MS,
};
export const connectorAddress: Scenario = {
  words: "the connector's host gets another address in its network",
  change: (world) => changeAddress(world, world.connectorSide),
  aimMs: ROAMED_AIM_MS,
};

function changeAddress({ lab }: World, side: Side): void {
  const net = side.hostIp.split(".").slice(0, 3).join(".");
  // Away with the old one first: it takes all others of its prefix with it.
  lab.ip(
    side.host,
    `addr delete ${net}.2/24 dev eth0`,
    `addr add ${net}.3/24 dev eth0`,
    `route add default via ${net}.1`,
  );
}
