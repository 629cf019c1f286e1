/** What travels inside `adit-peer/1`, on the wire: same framing, same layout, tags of its own. */
import { type Codec, enumCodec, structCodec } from "./codec.ts";
import { bool, code, freeText, name, oneOf, option, u16, u32, u64 } from "./fields.ts";
import type { ControlMessage, OpenService, ServiceReply } from "./peer-messages.ts";
import { agentText, candidate, candidates, ice, path, ufrag } from "./signaling-codec.ts";

/** The control stream (stream 0). */
export const controlCodec: Codec<ControlMessage> = enumCodec<ControlMessage>({
  hello: { tag: 0, fields: { version: u16, agent: agentText } },
  candidate: { tag: 1, fields: { ufrag, candidate: option(candidate) } },
  restart: { tag: 2, fields: { ice, candidates, answer: bool } },
  "path-report": { tag: 3, fields: { path, alive: bool, silentMs: u32 } },
  ping: { tag: 4, fields: { id: u64 } },
  pong: { tag: 5, fields: { id: u64 } },
  goodbye: { tag: 6, fields: { reason: freeText } },
  "stream-end": { tag: 7, fields: { streamId: u64, bytes: u64 } },
  "network-view": { tag: 8, fields: { policy: code, udp: code, mapping: code, ports: code } },
});

/** The first frame of a service stream: a struct, so no tag. */
export const openServiceCodec: Codec<OpenService> = structCodec<OpenService>("open-service", {
  name,
  protocol: oneOf("tcp", "udp"),
});

/** The first frame back. */
export const serviceReplyCodec: Codec<ServiceReply> = enumCodec<ServiceReply>({
  accepted: { tag: 0, fields: {} },
  refused: { tag: 1, fields: { code, reason: freeText } },
});
