/** The enum `SignalingMessage` on the wire: tags and fields in the order of docs/protocol.md. */
import { type Codec, enumCodec } from "./codec.ts";
import {
  address,
  anyAddress,
  bool,
  code,
  freeText,
  LIMITS,
  name,
  oneOf,
  option,
  pattern,
  peerId,
  struct,
  target,
  u8Literal,
  u16,
  u32,
  u32UpTo,
  u64,
  vec,
} from "./fields.ts";
import type { SignaledCandidate, SignaledIceParameters, SignalingMessage, TurnServer } from "./messages.ts";

/** Printable ASCII. */
export const agentText = pattern(/^[\x20-\x7e]{1,64}$/, "1 to 64 printable ASCII characters");

/** RFC 8839 §5.4: 4*256ice-char. */
export const ufrag = pattern(/^[A-Za-z0-9+/]{4,256}$/, "4 to 256 ice-chars");

export const candidate = struct<SignaledCandidate>({
  foundation: pattern(/^[A-Za-z0-9+/]{1,32}$/, "1 to 32 ice-chars"), // RFC 8839 §5.1
  component: u8Literal(1),
  transport: oneOf("udp"),
  priority: u32,
  address,
  type: oneOf("host", "srflx", "prflx", "relay"),
  related: option(anyAddress),
});

/** The lengths of four strings, component, priority, and the tag of the option. */
const MIN_CANDIDATE_BYTES = 4 * 8 + 1 + 4 + 1;
export const candidates = vec(candidate, MIN_CANDIDATE_BYTES, LIMITS.candidates);

export const ice = struct<SignaledIceParameters>({
  ufrag,
  pwd: pattern(/^[A-Za-z0-9+/]{22,256}$/, "22 to 256 ice-chars"), // RFC 8839 §5.4
  options: vec(pattern(/^[A-Za-z0-9+/_-]{1,32}$/, "an ice-option of 1 to 32 characters"), 8, LIMITS.iceOptions),
});

const credential = pattern(/^[\x20-\x7e]{1,256}$/, "1 to 256 printable ASCII characters");

const turnServer = struct<TurnServer>({
  address,
  username: credential,
  password: credential,
  realm: pattern(/^[\x20-\x7e]{1,127}$/, "1 to 127 printable ASCII characters"), // RFC 8489 §14.9
  expiresInS: u32,
});

const ticket = pattern(/^[a-z2-7]{1,2048}$/, "1 to 2048 characters of base32");

export const path = oneOf("direct", "relay");

export const signalingCodec: Codec<SignalingMessage> = enumCodec<SignalingMessage>({
  hello: { tag: 0, fields: { version: u16, agent: agentText, role: oneOf("agent", "connector") } },
  welcome: { tag: 1, fields: { version: u16, peerId, observed: address, turn: option(turnServer) } },
  register: { tag: 2, fields: { requestId: u64, name } },
  registered: { tag: 3, fields: { requestId: u64, name } },
  connect: { tag: 4, fields: { sessionId: u64, target, expectedPeer: option(peerId) } },
  connected: { tag: 5, fields: { sessionId: u64, peerId, name: option(name), peerObserved: anyAddress } },
  incoming: { tag: 6, fields: { sessionId: u64, peerId, peerObserved: address } },
  "candidate-offer": { tag: 7, fields: { sessionId: u64, serviceId: name, ice, candidates, ticket: option(ticket) } },
  "candidate-answer": { tag: 8, fields: { sessionId: u64, ice, candidates } },
  candidate: { tag: 9, fields: { sessionId: u64, ufrag, candidate: option(candidate) } },
  "start-punching": {
    tag: 10,
    fields: { sessionId: u64, targetTimeMs: u32UpTo(LIMITS.targetTimeMs), peerCandidates: candidates },
  },
  "punching-result": {
    tag: 11,
    fields: { sessionId: u64, outcome: oneOf("direct", "relay", "failed"), detail: freeText },
  },
  "observed-address": { tag: 12, fields: { observed: address } },
  restart: { tag: 13, fields: { sessionId: u64, ice, candidates, answer: bool } },
  "path-report": { tag: 14, fields: { sessionId: u64, path, alive: bool, silentMs: u32 } },
  ping: { tag: 15, fields: { id: u64 } },
  pong: { tag: 16, fields: { id: u64 } },
  error: {
    tag: 17,
    fields: { code, message: freeText, sessionId: option(u64), requestId: option(u64) },
  },
  goodbye: { tag: 18, fields: { reason: freeText } },
  "session-end": { tag: 19, fields: { sessionId: u64, reason: freeText } },
});
