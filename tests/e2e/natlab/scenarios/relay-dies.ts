import { SECOND_RELAY_IP } from "../lab.ts";
import type { World } from "../world.ts";
import { type Scenario, STANDING_AIM_MS } from "./scenario.ts";

/** The intermediate whose relay carries the session dies without a word; agent and connector know another one. */
export const relayDies: Scenario = {
  world: { pair: "apdm-apdf:apdm-apdf", secondIntermediate: true },
  relayWillDo: true,
  aimMs: STANDING_AIM_MS,
  change: async (world) => {
    const session = await world.session();
    if (session?.path !== "relay") throw new Error(`the session is not relayed but ${session?.path ?? "gone"}`);
    await carrier(world, session.remote)?.stop("SIGKILL");
  },
};

const carrier = (world: World, remote: string | null) =>
  remote?.startsWith(`${SECOND_RELAY_IP}:`) ? world.secondIntermediate : world.intermediate;
