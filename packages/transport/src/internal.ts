export type { Carrier, CarrierEvent } from "./carrier/carrier.ts";
export { TlsCarrier } from "./carrier/tls-carrier.ts";
