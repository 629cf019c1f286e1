import type { StreamEnding } from "@adit/quic";
import { STREAM_RESET_FROM, type StreamEnd } from "@adit/signaling";

/** How a stream ended, as the peer is told on the control stream (docs/protocol.md). */
export const streamEnd = ({ id, sentBytes, resetCode }: StreamEnding): StreamEnd => ({
  type: "stream-end",
  streamId: BigInt(id),
  bytes: resetCode === null ? BigInt(sentBytes) : STREAM_RESET_FROM + BigInt(resetCode),
});

/** What the peer says of one of its streams. Larger numbers than a stream can have are nobody's stream. */
export function streamEnding({ streamId, bytes }: StreamEnd): StreamEnding {
  const id = Number(streamId);
  if (bytes < STREAM_RESET_FROM) return { id, sentBytes: Number(bytes), resetCode: null };
  return { id, sentBytes: 0, resetCode: Number(bytes - STREAM_RESET_FROM) };
}
