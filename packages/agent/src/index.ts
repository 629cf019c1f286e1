export { Carrier, type CarrierOptions, type CarryingSession } from "./carrier.ts";
export { type ForwardValues, forward } from "./forward.ts";
export type { LinkValues, StartEndpoint } from "./link.ts";
export { type BoundListener, Listeners } from "./listeners.ts";
export { type PingedSession, ping, pingSession } from "./ping.ts";
export { type PipeStdio, pipe } from "./pipe.ts";
export { makeProgram } from "./program.ts";
export { type KeptSession, SessionKeeper, type SessionKeeperOptions } from "./session-keeper.ts";
