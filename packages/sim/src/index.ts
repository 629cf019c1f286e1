export { type Scheduled, VirtualClock } from "./clock.ts";
export { Host, type SimSocket } from "./host.ts";
export { DEFAULT_LINK, Link, LinkDirection, type LinkOptions } from "./link.ts";
export { type RunningMachine, runMachine, type SimMachine } from "./machine.ts";
export { type CommonNat, canMeetDirectly, type WayOut } from "./meeting.ts";
export { DEFAULT_NAT, Nat, type NatBehavior, type NatFiltering, type NatMapping, type NatPorts } from "./nat.ts";
export {
  type Block,
  type DropReason,
  type EndPattern,
  Network,
  type NetworkEvent,
  type NetworkOptions,
} from "./network.ts";
export { canConnectDirectly, composeNats, type NatKind } from "./oracle.ts";
export { type Datagram, Realm } from "./realm.ts";
export { forEachSeed } from "./seeds.ts";
