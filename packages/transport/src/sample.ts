import type { QuicConnection } from "@adit/quic";
import type { SessionPath, SessionStatus } from "./status.ts";

/** A session at one moment, for traces; counters are since its start. What is unknown is null. */
export interface SessionSample {
  readonly session: string;
  readonly path: SessionPath;
  /** By the checks of the path policy. */
  readonly rttMs: number | null;
  readonly relayRttMs: number | null;
  /** Of QUIC's active path; null without a connection. On a slot that changed its pair they are stale for a while. */
  readonly quicRttMs: number | null;
  readonly congestionWindowBytes: number | null;
  readonly packetsSent: number;
  readonly packetsReceived: number;
  readonly packetsLost: number;
  /** Application bytes. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Of QUIC packets; checks and ChannelData headers are not in them. */
  readonly wireSentBytes: number;
  readonly wireReceivedBytes: number;
}

export function sampleOf(status: SessionStatus, connection: QuicConnection | null): SessionSample {
  const stats = connection?.stats();
  const active = connection?.pathStats().find((path) => path.active);
  return {
    session: status.id,
    path: status.path,
    rttMs: status.rttMs,
    relayRttMs: status.relayRttMs,
    quicRttMs: active?.rttMs ?? null,
    congestionWindowBytes: active?.congestionWindowBytes ?? null,
    packetsSent: stats?.packetsSent ?? 0,
    packetsReceived: stats?.packetsReceived ?? 0,
    packetsLost: stats?.packetsLost ?? 0,
    sentBytes: status.sentBytes,
    receivedBytes: status.receivedBytes,
    wireSentBytes: stats?.sentBytes ?? 0,
    wireReceivedBytes: stats?.receivedBytes ?? 0,
  };
}
