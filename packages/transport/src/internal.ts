export type { Carrier, CarrierEvent } from "./carrier/carrier.ts";
export { TlsCarrier } from "./carrier/tls-carrier.ts";
export { CHECKS_AT_ONCE, CHECKS_PER_SECOND } from "./peer/check-budget.ts";
export { PacketBuffers } from "./peer/packet-buffers.ts";
export { SystemInterfaces } from "./system-interfaces.ts";
