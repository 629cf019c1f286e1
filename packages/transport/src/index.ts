export type { ConnectOptions, Endpoint, EndpointOptions, IncomingService, PeerSession } from "./endpoint.ts";
export { ServiceRefusedError, SessionError, type SessionErrorCode } from "./errors.ts";
export type { EndpointStatus, SessionPath, SessionStatus } from "./status.ts";
