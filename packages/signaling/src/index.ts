export {
  SignalingClient,
  type SignalingClientEvent,
  type SignalingClientOptions,
  type SignalingCommand,
} from "./client.ts";
export type { Codec } from "./codec.ts";
export { decodeDatagram, encodeDatagram } from "./datagram.ts";
export { SignalingError, type SignalingErrorCode, WIRE_ERROR_CODES, type WireErrorCode } from "./errors.ts";
export { FRAME_HEADER_BYTES, FrameReader, MAX_FRAME_BYTES } from "./frame.ts";
export {
  ANY_SERVICE,
  type CandidateAnswer,
  type CandidateKind,
  type CandidateOffer,
  type ClientMessage,
  type ClientOnly,
  type Connect,
  type Connected,
  type ErrorMessage,
  type Goodbye,
  type Hello,
  type Incoming,
  type IntermediateMessage,
  type IntermediateOnly,
  type ObservedAddress,
  type PathReport,
  PEER_CONNECTED_ANEW,
  type Ping,
  type Pong,
  PROTOCOL_VERSION,
  type PunchingResult,
  type Register,
  type Registered,
  type Restart,
  type Role,
  type SessionEnd,
  SIGNALING_ALPN,
  type SignaledCandidate,
  type SignaledIceParameters,
  type SignalingMessage,
  type SignalingType,
  type StartPunching,
  type TrickledCandidate,
  type TurnServer,
  type Welcome,
} from "./messages.ts";
export { controlCodec, openServiceCodec, serviceReplyCodec } from "./peer-codec.ts";
export {
  type ControlHello,
  type ControlMessage,
  type NetworkView,
  type OpenService,
  PEER_ALPN,
  type ServiceReply,
  STREAM_RESET_FROM,
  type StreamEnd,
} from "./peer-messages.ts";
export {
  type SessionMessage,
  SignalingServerConnection,
  type SignalingServerConnectionOptions,
  type SignalingServerEvent,
} from "./server-connection.ts";
export { signalingCodec } from "./signaling-codec.ts";
export { IDENTITY_SERVER_NAME, TURN_ALPN } from "./tls.ts";
