import type { Logger } from "@adit/core";
import { type ConnectionClosedError, fromNative, parseNativeError, QuicError } from "./errors.ts";
import { type NativeConnection, quiche } from "./native.ts";
import { QuicStream, type StreamHost } from "./stream.ts";

export interface StreamTableOptions {
  readonly native: NativeConnection;
  readonly role: "client" | "server";
  readonly maxPeerStreams: number;
  readonly log: Logger;
  /** The application did something: packets may have to leave. */
  readonly onWork: () => void;
}

/** The native library tells of STOP_SENDING only when asked per stream. Up to this many streams are asked each time... */
const SCAN_AT_ONCE = 32;
/** ...and more of them no more often than this, ms: 1,000 streams cost about 1 % of a core then. */
const SCAN_INTERVAL_MS = 25;
/** A stream that lingers is looked at after 100 ms, then 200 ... 6,400 ms later, and then left alone. */
const LINGER_FIRST_MS = 100;
const LINGER_LOOKS = 7;

interface Lingering {
  lookAt: number;
  looks: number;
}

/**
 * The streams of one connection: which exist, which of them have something to say.
 *
 * The peer may have `maxPeerStreams` open at once; the native library forgets a stream when both directions are over and acknowledged,
 * and only then lets the peer open another.
 */
export class StreamTable implements StreamHost {
  readonly native: NativeConnection;
  closedError: ConnectionClosedError | null = null;
  /** Application bytes of all streams, those that ended too. */
  sentBytes = 0;
  receivedBytes = 0;
  readonly #options: StreamTableOptions;
  readonly #streams = new Map<number, QuicStream>();
  /** Their last write was not taken whole. In turn: the first to be served goes to the end when it blocks again. */
  readonly #blocked = new Set<QuicStream>();
  /** A handler was set since the last pump. */
  readonly #kicked = new Set<QuicStream>();
  #ended: QuicStream[] = [];
  /** Streams that the native library may not forget by itself; see {@link StreamTable.#lookAfter}. At most half of `maxPeerStreams`. */
  readonly #lingering = new Map<number, Lingering>();
  #nextLocal = 0;
  /** Peer streams arrive in any order: the first index not seen, and the ones below it not seen. */
  #nextPeer = 0;
  readonly #skippedPeer = new Set<number>();
  #scanAt: number | null = null;
  #scannedAt = Number.NEGATIVE_INFINITY;

  constructor(options: StreamTableOptions) {
    this.#options = options;
    this.native = options.native;
  }

  /** How many streams are open, either direction. */
  get size(): number {
    return this.#streams.size;
  }

  get lingering(): number {
    return this.#lingering.size;
  }

  get mayStop(): boolean {
    return this.#lingering.size < this.#options.maxPeerStreams / 2;
  }

  /** When {@link pump} wants to be called even if nothing arrives. */
  get deadline(): number | null {
    let at = this.#scanAt;
    for (const { lookAt } of this.#lingering.values()) at = at === null ? lookAt : Math.min(at, lookAt);
    return at === Number.POSITIVE_INFINITY ? null : at;
  }

  /** @throws QuicError `stream-limit`. */
  open(): QuicStream {
    const id = this.#nextLocal * 4 + (this.#options.role === "client" ? 0 : 1);
    try {
      // Writing nothing makes the stream exist, so that it counts against the peer's limit from now on.
      this.native.streamSend(id, new Uint8Array(0), false);
    } catch (error) {
      throw parseNativeError(error).name === "StreamLimit"
        ? new QuicError("stream-limit", "the peer lets no more streams be open at once; wait until one has ended")
        : fromNative(error, "open a stream");
    }
    this.#nextLocal++;
    const stream = new QuicStream(id, this);
    this.#streams.set(id, stream);
    return stream;
  }

  work(): void {
    this.#options.onWork();
  }

  transferred(sentBytes: number, receivedBytes: number): void {
    this.sentBytes += sentBytes;
    this.receivedBytes += receivedBytes;
  }

  kick(stream: QuicStream): void {
    this.#kicked.add(stream);
    this.work();
  }

  blocked(stream: QuicStream): void {
    this.#blocked.delete(stream);
    this.#blocked.add(stream);
  }

  ended(stream: QuicStream): void {
    this.#streams.delete(stream.id);
    this.#blocked.delete(stream);
    this.#ended.push(stream);
    if (stream.mayLinger) this.#lingering.set(stream.id, { lookAt: 0, looks: 0 });
    this.work();
  }

  failed(stream: QuicStream, error: unknown): void {
    if (this.closedError) return; // it did not catch what `read` or `write` threw for that
    this.#options.log.error("stream-handler-failed", { stream: stream.id, error: String(error) });
    stream.reset(0);
    stream.stopSending(0);
  }

  /** Calls the handlers of every stream that has something to say, each once. `received`: packets came since the last call. */
  pump(now: number, received: boolean, onPeerStream: (stream: QuicStream) => void): void {
    if (this.native.isReadable()) {
      for (const id of this.native.readable())
        (this.#streams.get(id) ?? this.#discover(id, onPeerStream))?.pumpReadable();
    }
    this.pumpKicked();
    this.#pumpWriters(now, received);
    for (const [id, lingering] of this.#lingering) {
      if (lingering.lookAt <= now) this.#lookAfter(now, id, lingering);
    }
    const ended = this.#ended;
    this.#ended = [];
    for (const stream of ended) stream.pumpClosed();
  }

  /** A handler that was set late is told of what came before. */
  pumpKicked(): void {
    if (this.#kicked.size === 0) return;
    const kicked = [...this.#kicked];
    this.#kicked.clear();
    for (const stream of kicked) {
      if (this.native.streamReadable(stream.id)) stream.pumpReadable();
      stream.pumpWritable();
      stream.pumpClosed();
    }
  }

  /** The connection is over. Everyone who waits is told; what has arrived can still be read. */
  close(error: ConnectionClosedError): void {
    this.closedError = error;
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.#blocked.clear();
    this.#lingering.clear();
    this.#skippedPeer.clear();
    this.#scanAt = null;
    for (const stream of streams) stream.pumpClosed();
  }

  #pumpWriters(now: number, received: boolean): void {
    if (this.#blocked.size > 0) {
      const blocked = [...this.#blocked];
      this.#blocked.clear();
      for (const stream of blocked) stream.pumpWritable();
    }
    if (received) this.#scanAt ??= this.#streams.size <= SCAN_AT_ONCE ? now : this.#scannedAt + SCAN_INTERVAL_MS;
    if (this.#scanAt === null || this.#scanAt > now) return;
    this.#scanAt = null;
    this.#scannedAt = now;
    for (const stream of [...this.#streams.values()]) stream.pumpWritable();
  }

  /** A stream of the peer's that was not seen before; null for one that has ended here. */
  #discover(id: number, onPeerStream: (stream: QuicStream) => void): QuicStream | null {
    const peerBits = this.#options.role === "client" ? 1 : 0;
    if (id % 4 !== peerBits) return null;
    const index = Math.floor(id / 4);
    if (index < this.#nextPeer && !this.#skippedPeer.delete(index)) return null;
    for (; this.#nextPeer < index; this.#nextPeer++) this.#skippedPeer.add(this.#nextPeer);
    this.#nextPeer = Math.max(this.#nextPeer, index + 1);
    const stream = new QuicStream(id, this);
    this.#streams.set(id, stream);
    onPeerStream(stream);
    return stream;
  }

  /**
   * quiche 0.18 looks whether a stream is complete only when it is read or when something sent on it is acknowledged. So one whose
   * reading ended otherwise (STOP_SENDING by us, RESET_STREAM by the peer) may stay, and hold one of the peer's stream credits, after
   * both directions are over. Reading it again, or a second empty FIN or RESET_STREAM, which changes nothing for the peer, makes it look.
   */
  #lookAfter(now: number, id: number, lingering: Lingering): void {
    if (!this.#exists(id)) {
      this.#lingering.delete(id);
      return;
    }
    try {
      this.native.streamRecv(id, new Uint8Array(1));
    } catch {
      // StreamReset again; or gone.
    }
    if (lingering.looks > 0 && this.#exists(id) && this.native.streamFinished(id)) {
      try {
        this.native.streamSend(id, new Uint8Array(0), true);
      } catch (error) {
        const { value } = parseNativeError(error);
        this.native.streamShutdown(id, quiche.Shutdown.Write, value ?? 0);
      }
      this.work();
    }
    lingering.lookAt =
      lingering.looks < LINGER_LOOKS ? now + LINGER_FIRST_MS * 2 ** lingering.looks : Number.POSITIVE_INFINITY;
    lingering.looks++;
  }

  #exists(id: number): boolean {
    try {
      this.native.streamCapacity(id);
      return true;
    } catch (error) {
      return parseNativeError(error).name !== "InvalidStreamState";
    }
  }
}
