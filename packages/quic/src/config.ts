import { utf8 } from "@adit/core";
import { QuicError } from "./errors.ts";
import type { Identity } from "./identity.ts";
import { type NativeConfig, quiche } from "./native.ts";
import type { OverheadLimit } from "./peer-limits.ts";

/** How a sender finds out what a path takes. */
export const CONGESTION_CONTROLS = ["cubic", "bbr", "reno"] as const;
export type Congestion = (typeof CONGESTION_CONTROLS)[number];
/** Measured: docs/adr/0015-congestion-control.md. */
export const DEFAULT_CONGESTION: Congestion = "cubic";

export interface QuicConfigOptions {
  readonly role: "client" | "server";
  readonly identity: Identity;
  readonly alpn: string;
  /** The connection ends when nothing was heard for so long; the smaller of both sides' counts (RFC 9000 §10.1). */
  readonly maxIdleTimeoutMs: number;
  /** A handshake that is not over after so long is given up. 10,000 by default. */
  readonly handshakeTimeoutMs?: number;
  /**
   * Whether the first flight is sent again when it stays without an answer, before QUIC itself would. By default a client does; a server
   * may only where the client's address is proved by other means (RFC 9000 §8.1).
   */
  readonly repeatsHandshake?: boolean;
  /** What this side sends by; {@link DEFAULT_CONGESTION} by default. The other side's may be another one. */
  readonly congestion?: Congestion;
  /**
   * The largest UDP payload sent, 1200..16383; 1200 by default, which every path carries. The native library has no path-MTU discovery: who finds
   * out more gives more, and says less where that does not get through ({@link QuicConnection.limitPackets}).
   */
  readonly maxDatagramSizeBytes?: number;
  /** Streams that this side may have open at once; 512 by default. */
  readonly maxOpenStreams?: number;
  /**
   * Streams of the peer's that are handled at once; more are refused with {@link STREAM_REFUSED}. 1,024 by default: twice what the peer
   * opens by itself, because the two ends do not see a stream end at the same moment.
   */
  readonly maxPeerStreams?: number;
  /** Unread bytes of one stream before any was read; 32 KiB by default. A peer can make us hold that of each of its streams. */
  readonly initialStreamWindowBytes?: number;
  /** Unread bytes of one stream that is read as fast as they come, at most; 8 MiB by default. */
  readonly maxStreamWindowBytes?: number;
  /**
   * What the windows of all streams of a connection may grow by, bytes, beyond 128 KiB for each; 128 MiB by default. It is what a peer can
   * make us hold when many readers stop at once.
   */
  readonly receiveBudgetBytes?: number;
  /** Whether the peer may send datagrams (RFC 9221); true by default. */
  readonly datagrams?: boolean;
  /** What the peer may send beside streams and datagrams; not bounded unless given. */
  readonly overheadLimit?: OverheadLimit;
  /** Whether the acknowledgement of a lone small packet waits some milliseconds for an answer that carries it; false by default. */
  readonly waitsForAnswers?: boolean;
  /** Connection IDs given to the peer, and kept of it: {@link CONNECTION_ID_LIMIT} by default, 2 at least. Each costs some memory. */
  readonly connectionIds?: number;
  /**
   * Connection IDs given to the peer ahead of the paths that there are, for the next ones; as many as it keeps by default. A peer that does
   * not move by itself needs few.
   */
  readonly spareConnectionIds?: number;
}

/** RFC 9000 §18.2, active_connection_id_limit: how many of the peer's connection IDs are kept. Four slots need four, and spares. */
const CONNECTION_ID_LIMIT = 8;
/** Datagrams (RFC 9221) that wait in each direction; the oldest received, or the newest to be sent, is dropped beyond it. */
const DATAGRAM_QUEUE_LENGTH = 256;

/** The application code with which a stream beyond the peer's limit is reset and stopped. */
export const STREAM_REFUSED = 0xad17;

/**
 * What the peer may open before any stream has ended, in multiples of `maxPeerStreams`. The bound that counts is kept in StreamTable: quiche
 * 0.18 never forgets a stream that was reset, by us or on STOP_SENDING, while something written to it had not left, and does not give
 * back its credit. So every download that is broken off costs one for good; see {@link QuicStats.peerStreamsLeft}.
 */
const STREAM_CREDIT_FACTOR = 64;

const MIB = 1024 * 1024;

/**
 * quiche's window starts at 32 KiB whatever credit the peer is given first, and doubles when it is used up within two round trips. A
 * larger first credit only delays that: at 40 ms, 20 MB took 13.7 round trips with 32 KiB and 18.2 with 1 MiB (0.3 MB: 5.8 and 4.7).
 */
const INITIAL_STREAM_WINDOW = 32 * 1024;

/**
 * Flow control is per stream; the connection's is opened so far that it never closes. quiche 0.18 never gives back the part of it that
 * was unread when the peer reset a stream (24 MiB of that, and the connection stood still for good), and lets one unread stream hold
 * back all the others once its initial part is used up. What bounds memory is {@link ReceiveBudget}.
 */
const CONNECTION_WINDOW = 2 ** 50;

/** What the connections of one role and protocol have in common. Share it: a connection costs a fifth less memory. */
export class QuicConfig {
  readonly role: "client" | "server";
  readonly alpn: string;
  readonly identity: Identity;
  readonly handshakeTimeoutMs: number;
  readonly repeatsHandshake: boolean;
  readonly maxDatagramSizeBytes: number;
  readonly maxOpenStreams: number;
  readonly maxPeerStreams: number;
  readonly maxStreamWindowBytes: number;
  readonly receiveBudgetBytes: number;
  readonly overheadLimit: OverheadLimit | null;
  readonly waitsForAnswers: boolean;
  readonly connectionIds: number;
  readonly spareConnectionIds: number;
  /** @internal */
  readonly native: NativeConfig;

  private constructor(options: QuicConfigOptions, native: NativeConfig) {
    this.role = options.role;
    this.alpn = options.alpn;
    this.identity = options.identity;
    this.handshakeTimeoutMs = options.handshakeTimeoutMs ?? 10_000;
    this.repeatsHandshake = options.repeatsHandshake ?? options.role === "client";
    this.maxDatagramSizeBytes = options.maxDatagramSizeBytes ?? 1200;
    this.maxOpenStreams = options.maxOpenStreams ?? 512;
    this.maxPeerStreams = options.maxPeerStreams ?? 1024;
    this.maxStreamWindowBytes = options.maxStreamWindowBytes ?? 8 * MIB;
    this.receiveBudgetBytes = options.receiveBudgetBytes ?? 128 * MIB;
    this.overheadLimit = options.overheadLimit ?? null;
    this.waitsForAnswers = options.waitsForAnswers ?? false;
    this.connectionIds = Math.max(2, options.connectionIds ?? CONNECTION_ID_LIMIT);
    this.spareConnectionIds = Math.max(1, options.spareConnectionIds ?? this.connectionIds);
    this.native = native;
  }

  /** How many connection IDs a peer has who has used so many paths. */
  idsFor(paths: number): number {
    return Math.min(this.connectionIds, paths + this.spareConnectionIds);
  }

  /** @throws QuicError `invalid-argument` for sizes that QUIC does not allow. */
  static create(options: QuicConfigOptions): QuicConfig {
    const { identity } = options;
    // Both sides must show a certificate; any is let through here, because who it belongs to is checked on the certificate itself
    // before anything is read. Only Ed25519 signatures are offered or taken.
    const native = quiche.Config.withBoringSslCtx(
      true,
      true,
      null,
      [utf8(identity.keyPem)],
      [utf8(identity.certificatePem)],
      "ed25519",
    );
    const config = new QuicConfig(options, native);
    if (config.maxDatagramSizeBytes < 1200 || config.maxDatagramSizeBytes > 16_383) {
      throw new QuicError("invalid-argument", "maxDatagramSizeBytes must be 1200..16383 (RFC 9000 §14)");
    }
    const streamWindow = config.maxStreamWindowBytes;
    const initialWindow = Math.min(options.initialStreamWindowBytes ?? INITIAL_STREAM_WINDOW, streamWindow);
    native.setApplicationProtos([options.alpn]);
    native.setMaxIdleTimeout(options.maxIdleTimeoutMs);
    native.setMaxSendUdpPayloadSize(config.maxDatagramSizeBytes);
    native.setMaxRecvUdpPayloadSize(65_527);
    native.setInitialMaxData(CONNECTION_WINDOW);
    native.setInitialMaxStreamDataBidiLocal(initialWindow);
    native.setInitialMaxStreamDataBidiRemote(initialWindow);
    native.setInitialMaxStreamDataUni(0);
    native.setInitialMaxStreamsBidi(config.maxPeerStreams * STREAM_CREDIT_FACTOR);
    native.setInitialMaxStreamsUni(0);
    native.setMaxStreamWindow(streamWindow);
    native.setMaxConnectionWindow(CONNECTION_WINDOW);
    native.setActiveConnectionIdLimit(config.connectionIds);
    native.setDisableActiveMigration(false);
    native.setDisableDcidReuse(true); // two paths of one ID are a way into CVE-2025-7054
    const congestion = options.congestion ?? DEFAULT_CONGESTION;
    native.setCcAlgorithmName(congestion);
    // The binding hides the time to send at, so that no packet is held back. But quiche measures from it: without a pacer cubic's and reno's
    // round trips grow without end on a lossy path, and with one bbr takes its own burst for the path's rate (docs/adr/0015).
    native.enablePacing(congestion !== "bbr");
    // It ends slow start when round trips grow. Those that are measured from such stamps do as soon as packets leave one by one.
    native.enableHystart(false);
    if (options.datagrams ?? true) native.enableDgram(true, DATAGRAM_QUEUE_LENGTH, DATAGRAM_QUEUE_LENGTH);
    return config;
  }
}
