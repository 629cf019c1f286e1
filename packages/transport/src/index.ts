export {
  Driver,
  type DriverComponent,
  type DriverDrop,
  type DriverOptions,
  type Receive,
  type Timers,
} from "./driver.ts";
export type {
  ConnectOptions,
  Endpoint,
  EndpointOptions,
  IncomingService,
  PeerSession,
  Place,
  SessionHandle,
  Surroundings,
} from "./endpoint.ts";
export { ServiceRefusedError, SessionError, type SessionErrorCode } from "./errors.ts";
export { type LocalAddress, localAddresses } from "./interfaces.ts";
export type { DatagramFlow, FlowSent } from "./peer/flows.ts";
export { startEndpoint } from "./peer/node.ts";
export type { SessionSample } from "./sample.ts";
export type {
  EndpointStatus,
  IntermediateStatus,
  PortMappingStatus,
  SessionPath,
  SessionStatus,
  SessionTotals,
} from "./status.ts";
export {
  issueTicket,
  readTicket,
  type Ticket,
  TicketError,
  type TicketTerms,
} from "./ticket.ts";
export { bindUdp, udpRuntimes } from "./udp/bind.ts";
export { UdpBindError, type UdpBindErrorCode } from "./udp/errors.ts";
export { canSendUnfragmented } from "./udp/socket-calls.ts";
export {
  type Incoming,
  MAX_RECEIVE_BATCH,
  type Outgoing,
  type UdpBindOptions,
  type UdpHandlers,
  type UdpRuntime,
  type UdpSocket,
  type UdpStats,
} from "./udp/udp.ts";
