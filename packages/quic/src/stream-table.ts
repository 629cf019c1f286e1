import type { Logger } from "@adit/core";
import { type QuicConfig, STREAM_REFUSED } from "./config.ts";
import { type ConnectionClosedError, fromNative, parseNativeError, QuicError } from "./errors.ts";
import { type NativeConnection, quiche } from "./native.ts";
import { ReceiveBudget, type ReceiveBudgetOptions } from "./receive-budget.ts";
import { QuicStream, type StreamHost } from "./stream.ts";
import type { StreamEnding } from "./stream-ending.ts";
import { Writers } from "./writers.ts";

export interface StreamTableOptions {
  readonly native: NativeConnection;
  readonly config: QuicConfig;
  readonly log: Logger;
  /** The application did something: packets may have to leave, and streams may have to be looked at. */
  readonly onWork: () => void;
  /** Packets may have to leave; no stream has more to say for that. */
  readonly onUnsent: () => void;
}

/** The native library tells of STOP_SENDING only when asked per stream. Up to this many streams are asked each time... */
const SCAN_AT_ONCE = 32;
/** ...and more of them no more often than this, ms: 1,000 streams cost about 1 % of a core then. */
const SCAN_INTERVAL_MS = 25;

/** Up to so many streams are asked one by one whether they can be read. */
const ASKED_EACH = 4;

/** Writers that were passed over are asked again after so long, ms, should nothing be received before. */
const ASK_AGAIN_MS = 10;

/** Streams that linger are looked at when packets came, this many in turn; */
const LINGER_LOOKS_AT_ONCE = 32;
/** and nudged after 100 ms, then 200, 400, 800 ms later, and then left alone. */
const LINGER_FIRST_MS = 100;
const LINGER_NUDGES = 3;
/** More than this are not looked after: they cost memory until the connection ends. */
const MAX_LINGERING = 4096;

/** A FIN is said again after three round trips, 100 ms at least (250 where nobody knows), then after half as long again each time: until the stream is gone. */
const FIN_ROUND_TRIPS = 3;
const FIN_LEAST_MS = 100;
const FIN_FIRST_MS = 250;
const FIN_GROWTH = 1.5;
const FIN_REPEATS = 10;

/** The round trip is asked for no more often than this, ms. */
const RTT_INTERVAL_MS = 100;

interface Lingering {
  nudgeAt: number;
  nudges: number;
}

/** The streams of one connection: which exist, which of them have something to say. */
export class StreamTable implements StreamHost, ReceiveBudgetOptions {
  readonly native: NativeConnection;
  readonly receiveBudget: ReceiveBudget;
  closedError: ConnectionClosedError | null = null;
  /** See {@link QuicConnection.roundTripMs}. */
  roundTripMs: number | null = null;
  /** Application bytes of all streams, those that ended too. */
  sentBytes = 0;
  receivedBytes = 0;
  readonly #options: StreamTableOptions;
  readonly #streams = new Map<number, QuicStream>();
  #openedHere = 0;
  readonly #writers = new Writers();
  /** Something has happened since writers were last asked after which there may be room for them; see {@link mayWrite}. */
  #mayWrite = true;
  /** What was written may not have left yet; see {@link flushed}. */
  #isUnsent = false;
  /** Writers wait that were passed over for that: when to ask them at the latest. */
  #askAt: number | null = null;
  /** A handler was set since the last pump. */
  #kicked: Set<QuicStream> | null = null;
  #ended: QuicStream[] = [];
  /** Streams that are over here, and that the native library may not forget by itself; see {@link StreamTable.#look}. */
  readonly #lingering = new Map<number, Lingering>();
  /** Streams that were finished here, and whose FIN may not have arrived; see {@link StreamTable.#repeatFins}. As many as linger. */
  readonly #finished = new Map<number, Lingering>();
  /** Streams that are over in both directions, finished or reset on this side: not told yet. As many as linger; of more the peer is not told. */
  #untold: StreamEnding[] = [];
  #nextLocal = 0;
  /** Peer streams arrive in any order: the first index not seen, and the ones below it not seen. */
  #nextPeer = 0;
  readonly #skippedPeer = new Set<number>();
  #now = 0;
  #rtt = { ms: 0, askAt: Number.NEGATIVE_INFINITY };
  #scanAt: number | null = null;
  #scannedAt = Number.NEGATIVE_INFINITY;

  constructor(options: StreamTableOptions) {
    this.#options = options;
    this.native = options.native;
    this.receiveBudget = new ReceiveBudget(this);
  }

  get budgetBytes(): number {
    return this.#options.config.receiveBudgetBytes;
  }

  get maxWindowBytes(): number {
    return this.#options.config.maxStreamWindowBytes;
  }

  /** How many streams are open, either direction. */
  get size(): number {
    return this.#streams.size;
  }

  get now(): number {
    return this.#now;
  }

  get lingering(): number {
    return this.#lingering.size;
  }

  /** When {@link pump} wants to be called even if nothing arrives. */
  get deadline(): number | null {
    let at = this.receiveBudget.heldUntil;
    if (this.#scanAt !== null) at = Math.min(at ?? this.#scanAt, this.#scanAt);
    if (this.#askAt !== null) at = Math.min(at ?? this.#askAt, this.#askAt);
    for (const { nudgeAt } of this.#lingering.values()) at = at === null ? nudgeAt : Math.min(at, nudgeAt);
    for (const { nudgeAt } of this.#finished.values()) at = at === null ? nudgeAt : Math.min(at, nudgeAt);
    return at;
  }

  /** @throws QuicError `stream-limit`. */
  open(): QuicStream {
    const { maxOpenStreams } = this.#options.config;
    if (this.#openedHere >= maxOpenStreams) {
      throw new QuicError(
        "stream-limit",
        `${maxOpenStreams} streams are open, which is the limit; wait until one has ended`,
      );
    }
    const id = this.#nextLocal * 4 + this.#localBits;
    try {
      // Writing nothing makes the stream exist, so that it counts against the peer's limit from now on.
      this.native.streamSend(id, EMPTY, false);
    } catch (error) {
      throw parseNativeError(error).name === "StreamLimit"
        ? new QuicError("stream-limit", "the peer lets no more streams be open at once; wait until one has ended")
        : fromNative(error, "open a stream");
    }
    this.#nextLocal++;
    this.#openedHere++;
    const stream = new QuicStream(id, this);
    this.#streams.set(id, stream);
    return stream;
  }

  /**
   * There may be room for what is to be written. quiche reckons it anew when a packet was received or a timer fired, and not when one is sent: nobody
   * who waits needs to be asked in between.
   */
  mayWrite(): void {
    this.#mayWrite = true;
  }

  /** What was written may not have left yet. */
  get isUnsent(): boolean {
    return this.#isUnsent;
  }

  /** Everything that could be sent now has left. */
  flushed(): void {
    this.#isUnsent = false;
  }

  work(): void {
    this.#options.onWork();
  }

  unsent(): void {
    this.#options.onUnsent();
  }

  transferred(sentBytes: number, receivedBytes: number): void {
    this.sentBytes += sentBytes;
    if (sentBytes > 0) this.#isUnsent = true;
    this.receivedBytes += receivedBytes;
  }

  kick(stream: QuicStream): void {
    this.#kicked ??= new Set();
    this.#kicked.add(stream);
    this.work();
  }

  finished(stream: QuicStream): void {
    if (this.#finished.size < MAX_LINGERING) {
      this.#finished.set(stream.id, { nudgeAt: this.#now + this.#finMs(0), nudges: 0 });
    }
  }

  /** The next stream that is over here and whose FIN or RESET_STREAM the peer may never get; null when there is none. */
  takeEnded(): StreamEnding | null {
    return this.#untold.shift() ?? null;
  }

  /** The peer's side of the stream ends like that, as it says elsewhere. */
  expectEnd(ending: StreamEnding): void {
    this.#streams.get(ending.id)?.expectEnd(ending);
  }

  blocked(stream: QuicStream): void {
    this.#writers.add(stream);
    this.work();
  }

  ended(stream: QuicStream): void {
    if (!this.#streams.delete(stream.id)) return;
    this.#writers.delete(stream);
    this.#ended.push(stream);
    const { ending } = stream;
    if (ending && !this.closedError && this.#untold.length < MAX_LINGERING) this.#untold.push(ending);
    if (stream.id % 4 === this.#localBits) this.#openedHere--;
    if (stream.mayLinger && this.#lingering.size < MAX_LINGERING) {
      this.#lingering.set(stream.id, { nudgeAt: this.#now + LINGER_FIRST_MS, nudges: 0 });
    }
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
    this.#now = now;
    if ((this.receiveBudget.heldUntil ?? now + 1) <= now) this.receiveBudget.resume();
    if (this.native.isReadable()) this.#pumpReadable(onPeerStream);
    this.pumpKicked();
    this.#askWriters(now, received);
    this.#scanStopped(now, received);
    this.#pumpLingering(received);
    this.#repeatFins();
    const ended = this.#ended;
    this.#ended = [];
    for (const stream of ended) stream.pumpClosed();
  }

  /** The list of those that can be read costs as much as asking a dozen: of few, each is asked, and the list is for what is not known yet. */
  #pumpReadable(onPeerStream: (stream: QuicStream) => void): void {
    if (this.#streams.size <= ASKED_EACH) {
      for (const [id, stream] of this.#streams) if (this.native.streamReadable(id)) stream.pumpReadable();
      if (!this.native.isReadable()) return;
    }
    for (const id of this.native.readable())
      (this.#streams.get(id) ?? this.#discover(id, onPeerStream))?.pumpReadable();
  }

  /** A handler that was set late is told of what came before. */
  pumpKicked(): void {
    const kicked = this.#kicked;
    this.#kicked = null;
    for (const stream of kicked ?? []) {
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
    this.#writers.clear();
    this.#lingering.clear();
    this.#finished.clear();
    this.#untold = [];
    this.#skippedPeer.clear();
    this.#scanAt = null;
    this.#askAt = null;
    this.receiveBudget.resume(); // nobody is held back any more, and nothing is to be waited for
    for (const stream of streams) stream.pumpClosed();
  }

  /**
   * quiche 0.18 takes as much as the congestion window has room for, whatever it was given before and has not sent. So nobody is asked before that
   * has left: else each acknowledgement that comes in between adds to what waits, all streams have some of it in the end, and take turns packet
   * by packet, which is dear at both ends. What is unsent will be acknowledged, and then they are asked.
   */
  #askWriters(now: number, received: boolean): void {
    const isDue = this.#askAt !== null && this.#askAt <= now;
    if (received || isDue) this.#mayWrite = true;
    if (!this.#mayWrite) return;
    this.#askAt = this.#isUnsent && this.#writers.size > 0 ? now + ASK_AGAIN_MS : null;
    if (this.#isUnsent) return;
    this.#mayWrite = false;
    this.#writers.pump();
  }

  /** Writers learn that the peer wants no more, each for itself. */
  #scanStopped(now: number, received: boolean): void {
    if (received) this.#scanAt ??= this.#streams.size <= SCAN_AT_ONCE ? now : this.#scannedAt + SCAN_INTERVAL_MS;
    if (this.#scanAt === null || this.#scanAt > now) return;
    this.#scanAt = null;
    this.#scannedAt = now;
    for (const stream of [...this.#streams.values()]) stream.pumpStopped();
  }

  /** A stream of the peer's that was not seen before; null for one that has ended here, or is refused. */
  #discover(id: number, onPeerStream: (stream: QuicStream) => void): QuicStream | null {
    if (id % 4 !== 1 - this.#localBits) return null;
    const index = Math.floor(id / 4);
    if (index < this.#nextPeer && !this.#skippedPeer.delete(index)) return null;
    // At most as many as the peer's stream credit, and what an honest peer leaves out is soon filled in.
    for (; this.#nextPeer < index; this.#nextPeer++) this.#skippedPeer.add(this.#nextPeer);
    this.#nextPeer = Math.max(this.#nextPeer, index + 1);
    const stream = new QuicStream(id, this);
    const refused = this.#streams.size - this.#openedHere >= this.#options.config.maxPeerStreams;
    this.#streams.set(id, stream);
    if (refused) {
      stream.reset(STREAM_REFUSED);
      stream.stopSending(STREAM_REFUSED);
      return null;
    }
    onPeerStream(stream);
    return stream;
  }

  /** The connection's, quiche's own, ms. */
  rttMs(): number {
    if (this.#now >= this.#rtt.askAt) {
      const path = this.native.pathStats().find(({ active }) => active);
      this.#rtt = { ms: path?.rtt ?? this.#rtt.ms, askAt: this.#now + RTT_INTERVAL_MS };
    }
    return this.#rtt.ms;
  }

  get #localBits(): 0 | 1 {
    return this.#options.config.role === "client" ? 0 : 1;
  }

  #pumpLingering(received: boolean): void {
    if (this.#lingering.size === 0) return;
    if (received) {
      let left = Math.min(LINGER_LOOKS_AT_ONCE, this.#lingering.size);
      for (const [id, lingering] of this.#lingering) {
        if (left-- === 0) break;
        this.#lingering.delete(id);
        if (this.#look(id)) this.#lingering.set(id, lingering); // at the end: the others come first next time
      }
    }
    for (const [id, lingering] of this.#lingering) {
      if (lingering.nudgeAt > this.#now) continue;
      if (this.#look(id)) this.#nudge(id);
      else lingering.nudges = LINGER_NUDGES;
      if (lingering.nudges >= LINGER_NUDGES) this.#lingering.delete(id);
      lingering.nudges++;
      lingering.nudgeAt = this.#now + LINGER_FIRST_MS * 2 ** lingering.nudges;
    }
  }

  /**
   * quiche 0.18 looks whether a stream is complete only when it is read or when something sent on it is acknowledged, and takes the mark
   * of a RESET_STREAM that was read for something yet to be read. So a stream whose reading ended in another way than with FIN may stay.
   * Reading it once more makes it look. False when it is gone.
   */
  #look(id: number): boolean {
    try {
      this.native.streamRecv(id, scratch);
    } catch (error) {
      if (parseNativeError(error).name === "InvalidStreamState") return false;
    }
    return true;
  }

  /**
   * quiche 0.18 forgets a lost empty FIN when earlier bytes of the same stream were lost with it and the last ones were not: what it
   * sends again ends before the FIN, and nothing is left to be sent. The reader would wait for ever. Saying FIN again puts it
   * back. On a stream that is over in both directions it is too late: see {@link StreamTable.takeEnded}.
   */
  #repeatFins(): void {
    for (const [id, fin] of this.#finished) {
      if (fin.nudgeAt > this.#now) continue;
      fin.nudges++;
      fin.nudgeAt = this.#now + this.#finMs(fin.nudges);
      try {
        // Null: quiche has forgotten the stream.
        if (this.native.streamSend(id, EMPTY, true) === null || fin.nudges >= FIN_REPEATS) this.#finished.delete(id);
        else this.work();
      } catch {
        this.#finished.delete(id);
      }
    }
  }

  /** How long is waited before the FIN is said for the `repeats`th time again. */
  #finMs(repeats: number): number {
    const first = this.roundTripMs === null ? FIN_FIRST_MS : Math.max(FIN_LEAST_MS, FIN_ROUND_TRIPS * this.roundTripMs);
    return first * FIN_GROWTH ** repeats;
  }

  /** A second empty FIN, or RESET_STREAM, changes nothing for the peer, and its acknowledgement makes quiche look. */
  #nudge(id: number): void {
    if (!this.native.streamFinished(id)) return;
    try {
      this.native.streamSend(id, EMPTY, true);
    } catch (error) {
      this.native.streamShutdown(id, quiche.Shutdown.Write, parseNativeError(error).value ?? 0);
    }
    this.work();
  }
}

const EMPTY = new Uint8Array(0);
const scratch = new Uint8Array(1);
