import { LOCAL, type World } from "../world.ts";
import { none, ROAMED_AIM_MS, type Scenario } from "./scenario.ts";

// All mappings are lost, and the new ones have other ports.
export const agentNatReboot: Scenario = {
  words: "the agent's NAT reboots",
  change: ({ agentSide }) => agentSide.nats[0]?.reboot(),
  aimMs: ROAMED_AIM_MS,
};
export const connectorNatReboot: Scenario = {
  words: "the connector's NAT reboots",
  change: ({ connectorSide }) => connectorSide.nats[0]?.reboot(),
  aimMs: ROAMED_AIM_MS,
};
export const bothNatsReboot: Scenario = {
  words: "both NATs reboot",
  change: (world) => world.rebootNats(),
  aimMs: ROAMED_AIM_MS,
};

/** Longer than the five seconds for which a session counts as busy. */
const IDLE_MS = 7_000;
/**
 * A connector whose NAT forgot it is out of reach until it sends: the next consent check of its two pairs does, each of which has one every 4 to 6 s
 * (RFC 7675 §5.1), in turn.
 */
const CONNECTOR_SENDS_MS = 4_000;

/** The same while nothing moves, so that nobody notices before the next request. */
export const idleAgentNatReboot = idleReboot("the agent's NAT reboots", ({ agentSide }) => agentSide.nats[0]?.reboot());
export const idleConnectorNatReboot = idleReboot(
  "the connector's NAT reboots",
  ({ connectorSide }) => connectorSide.nats[0]?.reboot(),
  CONNECTOR_SENDS_MS,
);
export const idleBothNatsReboot = idleReboot("both NATs reboot", (world) => world.rebootNats(), CONNECTOR_SENDS_MS);

function idleReboot(what: string, reboot: (world: World) => void, unreachableMs = 0): Scenario {
  return {
    words: `${what} while nothing moves; the next request`,
    aimMs: unreachableMs + ROAMED_AIM_MS,
    maxBytes: 1,
    change: () => {},
    instead: async (world) => {
      await Bun.sleep(IDLE_MS);
      reboot(world);
      const { connectedMs, firstByteMs } = await world.lab
        .station("agent")
        .ask("firstByte", LOCAL.host, LOCAL.port, "/hello", 20_000);
      const session = await world.session();
      if (!session) throw new Error("the session is gone");
      const { handshakes, path } = session;
      return {
        ...none,
        gapMs: firstByteMs - connectedMs,
        handshakes,
        path,
      };
    },
  };
}
