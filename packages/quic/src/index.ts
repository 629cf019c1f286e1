export {
  CONGESTION_CONTROLS,
  type Congestion,
  DEFAULT_CONGESTION,
  QuicConfig,
  type QuicConfigOptions,
  STREAM_REFUSED,
} from "./config.ts";
export { QuicConnection } from "./connection.ts";
export {
  type ConnectOptions,
  type DropReason,
  type InitialHeader,
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
  type CertificateFault,
  Identity,
  type PeerId,
  peerIdFromCertificate,
  peerIdFromPublicKey,
  publicKeyFromPeerId,
  readCertificate,
  verifySignature,
} from "./identity.ts";
export type { PeerCheck } from "./peer-check.ts";
export type { QuicStream } from "./stream.ts";
export type { StreamEnding } from "./stream-ending.ts";
export { useHandshakeRoundTrip } from "./tail-probe.ts";
export type {
  PathEventKind,
  QuicConnectionState,
  QuicEvent,
  QuicPathStats,
  QuicStats,
  SentPacket,
  VirtualAddress,
} from "./types.ts";
