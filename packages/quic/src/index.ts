export { QuicConfig, type QuicConfigOptions, STREAM_REFUSED } from "./config.ts";
export {
  type PathEventKind,
  QuicConnection,
  type QuicConnectionState,
  type QuicEvent,
  type QuicPathStats,
  type QuicStats,
  type SentPacket,
  type VirtualAddress,
} from "./connection.ts";
export {
  type ConnectOptions,
  type DropReason,
  type InitialHeader,
  type PeerCheck,
  QuicEndpoint,
  type QuicEndpointOptions,
  type Route,
} from "./endpoint.ts";
export {
  type CloseReason,
  ConnectionClosedError,
  describeClose,
  IdentityError,
  QuicError,
  type QuicErrorCode,
  StreamResetError,
  StreamStoppedError,
} from "./errors.ts";
export {
  Identity,
  type PeerId,
  peerIdFromCertificate,
  peerIdFromPublicKey,
  publicKeyFromPeerId,
  verifySignature,
} from "./identity.ts";
export type { QuicStream } from "./stream.ts";
