/** Every reason for which `adit_refusals_total` counts; docs/operations.md explains each. */
import type { QuotaRefusal } from "./accounts.ts";
import type { AllocationRefusal } from "./allocation-table.ts";
import type { RendezvousRefusal } from "./rendezvous.ts";
import type { SignalingDrop } from "./signaling-server.ts";

export type AnyRefusal = QuotaRefusal | AllocationRefusal | RendezvousRefusal | SignalingDrop | "loose-packets";

/** From nothing on: a rate does not see the first event of a counter that comes with it. */
export const NO_REFUSALS: Readonly<Record<AnyRefusal, 0>> = {
  "policy-register": 0,
  "policy-connect": 0,
  "name-taken": 0,
  "names-full": 0,
  "names-unavailable": 0,
  "quota-names": 0,
  "quota-registrations": 0,
  "quota-messages": 0,
  "quota-sessions": 0,
  "quota-allocations": 0,
  "quota-bandwidth": 0,
  "quota-day": 0,
  "ip-names": 0,
  "ip-clients": 0,
  "ip-handshakes": 0,
  "ip-allocations": 0,
  "ip-sessions": 0,
  clients: 0,
  handshakes: 0,
  allocations: 0,
  "loose-packets": 0,
  "bad-certificate": 0,
  "slow-client": 0,
  draining: 0,
  "not-found": 0,
  "peer-changed": 0,
  "unknown-session": 0,
  "absent-peer": 0,
};
