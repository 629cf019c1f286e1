export { IceAgent } from "./agent.ts";
export type { IceAgentOptions, IceDropReason, IceEvent, IceReceipt, LocalCandidateInit } from "./agent-types.ts";
export {
  type Candidate,
  type CandidateType,
  candidatePriority,
  isUdpCandidate,
  type LocalCandidate,
  type TcpType,
} from "./candidate.ts";
export { IceDemux } from "./demux.ts";
export type { CandidateStats } from "./driver/candidate-stats.ts";
export { createIceConnection, IceConnection } from "./driver/connection.ts";
export { IceConnectionError, type IceConnectionErrorCode } from "./driver/errors.ts";
export type { TurnServer } from "./driver/gatherer.ts";
export {
  GatheringAgent,
  type GatheringAgentOptions,
  type GatheringEvent,
  type Traffic,
} from "./driver/gathering-agent.ts";
export type { IceConnectionOptions, TurnServerOptions } from "./driver/options.ts";

export { type DiscoverNatOptions, discoverNat } from "./nat/discover.ts";
export { type LocalSocket, NatDiscovery, type NatDiscoveryOptions } from "./nat/discovery.ts";
export { type Outlook, outlookOf } from "./nat/outlook.ts";
export type { FilteringBehavior, MappingBehavior, NatReport } from "./nat/report.ts";
export { explain as explainNat } from "./nat/report.ts";
export type { IceRole, NominationReason, PairFailure, PairId, PairInfo, PairStateName } from "./pair.ts";
export { pairId } from "./pair.ts";
export { generateParameters, type IceParameters, isValidParameters } from "./parameters.ts";
export { PortMapping, type PortMappingOptions, type PortMapReport } from "./portmap/driver.ts";
export { type PortMapEvent, PortMapper, type PortMapperOptions } from "./portmap/port-mapper.ts";
export type {
  ClientStatus,
  HttpAnswer,
  HttpRequest,
  PortLease,
  PortMapOutput,
  PortMapProtocol,
} from "./portmap/types.ts";
export { explainPortMap } from "./portmap/words.ts";
export { type CandidateRules, type ExternalAddress, IceRuleError } from "./rules.ts";
export {
  type CandidateAttribute,
  candidateOf,
  formatCandidate,
  formatCandidateAttribute,
  formatIceDescription,
  type IceDescription,
  parseCandidate,
  parseCandidateAttribute,
  parseIceDescription,
} from "./sdp.ts";
export {
  getAddress,
  getBytes,
  getChannelNumber,
  getErrorCode,
  getNonce,
  getRealm,
  getString,
  getU8,
  getU32,
  getU64,
  getUnknownAttributes,
  getUsername,
  getXorAddress,
  getXorAddresses,
  hasAttribute,
  type StunErrorCode,
  unknownComprehensionRequired,
} from "./stun/attributes.ts";
export { StunBuilder, type StunBuildOptions } from "./stun/builder.ts";
export { StunError } from "./stun/errors.ts";
export {
  longTermKey,
  longTermKeySha256,
  shortTermKey,
  verifyFingerprint,
  verifyIntegrity,
  verifyIntegritySha256,
} from "./stun/integrity.ts";
export {
  type Challenge,
  LongTermAuth,
  type LongTermCredentials,
  readChallenge,
  userHash,
} from "./stun/long-term.ts";
export {
  decodeStun,
  isStun,
  type RawAttribute,
  type StunClass,
  type StunMessage,
  transactionKey,
} from "./stun/message.ts";
export { ServerTimeouts } from "./stun/server-timeouts.ts";
export {
  ADDRESS_FAMILY,
  isComprehensionRequired,
  PASSWORD_ALGORITHM,
  STUN_ATTRIBUTE,
  STUN_ERROR,
  STUN_HEADER_BYTES,
  STUN_LIMITS,
  STUN_MAGIC_COOKIE,
  STUN_METHOD,
  stunErrorReason,
  TRANSPORT_UDP,
} from "./stun/tables.ts";
export {
  DEFAULT_TIMING,
  type PendingRequest,
  type RetransmissionTiming,
  StunTransaction,
  StunTransactions,
} from "./stun/transaction.ts";
export {
  CHANNEL_DATA_HEADER_BYTES,
  type ChannelData,
  channelNumberOf,
  channelPayload,
  isChannelData,
  isChannelNumber,
  isLegacyChannelData,
  isLegacyChannelNumber,
  MAX_CHANNEL_NUMBER,
  MIN_CHANNEL_NUMBER,
  parseChannelData,
  wrapChannelData,
  writeChannelHeader,
} from "./turn/channel-data.ts";
export { TurnClient } from "./turn/client.ts";
export type { TurnDrop, TurnEvent, TurnState } from "./turn/events.ts";
export type { RelayedData, RelayFamily, TurnClientOptions, TurnTransport } from "./turn/options.ts";
export {
  frameForStream,
  MAX_STREAM_MESSAGE_BYTES,
  StreamDeframer,
  type StreamFault,
  streamBytes,
} from "./turn/stream-framing.ts";
export {
  connectStunStream,
  type StunStream,
  StunStreamError,
  type StunStreamOptions,
} from "./turn/stun-stream.ts";
