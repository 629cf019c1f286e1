import { SECOND_RELAY_IP } from "../lab.ts";
import type { World } from "../world.ts";
import { type Scenario, STANDING_AIM_MS } from "./scenario.ts";

export const relayDies: Scenario = {
  words: "both sides behind APDM, two intermediates: the one whose relay carries the session dies without a word",
  world: { pair: "apdm-apdf:apdm-apdf", secondIntermediate: true },
  neverDirect: true,
  aimMs: STANDING_AIM_MS,
  change: async (world) => {
    const session = await world.session();
    if (session?.path !== "relay") throw new Error(`the session is not relayed but ${session?.path ?? "gone"}`);
    await carrier(world, session.remote)?.stop("SIGKILL");
  },
};

const carrier = (world: World, remote: string | null) =>
  remote?.startsWith(`${SECOND_RELAY_IP}:`) ? world.secondIntermediate : world.intermediate;
