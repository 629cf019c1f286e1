import type { Program } from "../programs.ts";
import type { World } from "../world.ts";
import type { Scenario } from "./scenario.ts";

/** Longer than consent lasts (30 s), and than the NATs keep a mapping that is not used. */
const SLEEP_MS = 60_000;
const BINDING_TIMEOUT_S = 20;
/** From waking to the next byte. */
const AWAKE_AIM_MS = 5_000;

export const agentSleeps = sleepScenario("agent", ({ agent }) => agent);
export const connectorSleeps = sleepScenario("connector", ({ connector }) => connector);

/** SIGSTOP and SIGCONT stand in for a laptop that sleeps: the program's clocks run on, as the wall clock does there. */
function sleepScenario(name: string, sleeper: (world: World) => Program | null): Scenario {
  return {
    words: `the ${name} sleeps for ${SLEEP_MS / 1000} s, and its NAT forgets it after ${BINDING_TIMEOUT_S} s; the silence has the sleep in it`,
    world: { bindingTimeoutS: BINDING_TIMEOUT_S, rateBytesPerS: 2_000_000 },
    maxBytes: 10_000_000,
    aimMs: SLEEP_MS + AWAKE_AIM_MS,
    async change(world) {
      const program = sleeper(world);
      if (!program) throw new Error(`there is no ${name}`);
      program.signal("SIGSTOP");
      await Bun.sleep(SLEEP_MS);
      program.signal("SIGCONT");
    },
  };
}
