import { LOCAL } from "../world.ts";
import { none, type Scenario, STANDING_AIM_MS } from "./scenario.ts";

/** Longer than the five seconds for which a session counts as busy. */
const IDLE_MS = 7_000;

/** The direct path dies while nothing moves, so that nobody notices before the next request. */
export const idleDirectBlocked: Scenario = {
  words: "the peer's address becomes unreachable while nothing moves; the time to the next request's first byte",
  aimMs: STANDING_AIM_MS,
  maxBytes: 1,
  change: () => {},
  instead: async (world) => {
    await Bun.sleep(IDLE_MS);
    world.agentSide.nats[0]?.block([world.connectorSide.publicIp]);
    const { connectedMs, firstByteMs } = await world.lab
      .station("agent")
      .ask("firstByte", LOCAL.host, LOCAL.port, "/hello", 20_000);
    const session = await world.session();
    if (session?.path !== "relay") throw new Error(`the session is not on the relay but ${session?.path ?? "gone"}`);
    return { ...none, gapMs: firstByteMs - connectedMs, handshakes: session.handshakes, path: session.path };
  },
};
