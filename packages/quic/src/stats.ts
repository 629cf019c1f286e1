import type { NativeConnection } from "./native.ts";
import type { QuicStats } from "./types.ts";

/** What a connection knows of itself beside what the native library counts. */
interface OwnCounts extends Pick<QuicStats, "streams" | "lingeringStreams" | "receiveErrors" | "sendErrors"> {
  readonly isEstablished: boolean;
}

export function statsOf(native: NativeConnection, { isEstablished, ...own }: OwnCounts): QuicStats {
  const counts = native.stats();
  return {
    ...own,
    packetsSent: counts.sent,
    packetsReceived: counts.recv,
    packetsLost: counts.lost,
    sentBytes: counts.sentBytes,
    receivedBytes: counts.recvBytes,
    lostBytes: counts.lostBytes,
    paths: counts.pathsCount,
    peerStreamsLeft: isEstablished ? native.peerStreamsLeftBidi() : 0,
    spareConnectionIds: native.availableDcids(),
  };
}
