/** All that may happen to a network, by name. */
import { agentAddress, connectorAddress } from "./addresses.ts";
import { agentRoams } from "./agent-roams.ts";
import { jittery30, lossy20, satellite450, shrinkingMtu, slow5mbit, smallMtu } from "./bad-networks.ts";
import { directBlocked } from "./direct-blocked.ts";
import { directLoses } from "./direct-loses.ts";
import { flapping } from "./flapping.ts";
import { idle, idleShort } from "./idle.ts";
import { idleDirectBlocked } from "./idle-blocked.ts";
import { intermediateRestart } from "./intermediate-restart.ts";
import { linkOut } from "./link-out.ts";
import {
  agentNatReboot,
  bothNatsReboot,
  connectorNatReboot,
  idleAgentNatReboot,
  idleBothNatsReboot,
  idleConnectorNatReboot,
} from "./nat-reboots.ts";
import { mappingRenewed, routerRestart } from "./port-mapping.ts";
import { relayDies } from "./relay-dies.ts";
import type { Scenario } from "./scenario.ts";
import { agentSleeps, connectorSleeps } from "./sleeps.ts";
import {
  lossy20ComesUp,
  lossy20StaysUp,
  satellite450ComesUp,
  satellite450StaysUp,
  slow5mbitComesUp,
  slow5mbitStaysUp,
} from "./stays-up.ts";

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "agent-address": agentAddress,
  "connector-address": connectorAddress,
  "agent-roams": agentRoams,
  "agent-nat-reboot": agentNatReboot,
  "connector-nat-reboot": connectorNatReboot,
  "both-nats-reboot": bothNatsReboot,
  "idle-direct-blocked": idleDirectBlocked,
  "idle-agent-nat-reboot": idleAgentNatReboot,
  "idle-connector-nat-reboot": idleConnectorNatReboot,
  "idle-both-nats-reboot": idleBothNatsReboot,
  "link-out": linkOut,
  "direct-blocked": directBlocked,
  "direct-loses": directLoses,
  flapping,
  "intermediate-restart": intermediateRestart,
  "relay-dies": relayDies,
  "agent-sleeps": agentSleeps,
  "connector-sleeps": connectorSleeps,
  "lossy-20": lossy20,
  "satellite-450": satellite450,
  "small-mtu": smallMtu,
  "shrinking-mtu": shrinkingMtu,
  "slow-5mbit": slow5mbit,
  "jittery-30": jittery30,
  "lossy-20-comes-up": lossy20ComesUp,
  "satellite-450-comes-up": satellite450ComesUp,
  "slow-5mbit-comes-up": slow5mbitComesUp,
  "lossy-20-stays-up": lossy20StaysUp,
  "satellite-450-stays-up": satellite450StaysUp,
  "slow-5mbit-stays-up": slow5mbitStaysUp,
  idle,
  "idle-short": idleShort,
  "mapping-renewed": mappingRenewed,
  "router-restart": routerRestart,
};
