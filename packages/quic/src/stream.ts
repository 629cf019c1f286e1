import {
  type ConnectionClosedError,
  checkCode,
  fromNative,
  parseNativeError,
  QuicError,
  StreamResetError,
  StreamStoppedError,
} from "./errors.ts";
import { type NativeConnection, quiche } from "./native.ts";
import type { ReceiveBudget, WindowAccount } from "./receive-budget.ts";
import { SendRate } from "./send-rate.ts";
import type { StreamEnding } from "./stream-ending.ts";
import { makeReadable, makeWritable } from "./web-streams.ts";

/** What a stream needs of its connection. */
export interface StreamHost {
  readonly native: NativeConnection;
  /** The driver's clock. */
  readonly now: number;
  readonly receiveBudget: ReceiveBudget;
  /** Not null once the connection is over. */
  readonly closedError: ConnectionClosedError | null;
  /** The application did something: packets may have to leave, and streams may have to be looked at. */
  work(): void;
  /** Packets may have to leave; no stream has more to say for that. */
  unsent(): void;
  /** There may be room again for streams that wait to write. */
  mayWrite(): void;
  /** A handler was set: look at this stream again, something may have come before. */
  kick(stream: QuicStream): void;
  /** FIN was written. */
  finished(stream: QuicStream): void;
  /** The last write was not taken whole. */
  blocked(stream: QuicStream): void;
  /** Application bytes were written (taken to be sent) or read. */
  transferred(sentBytes: number, receivedBytes: number): void;
  /** Both directions are over. */
  ended(stream: QuicStream): void;
  failed(stream: QuicStream, error: unknown): void;
}

type ReadSide =
  | { is: "open" }
  | { is: "ended" } // the FIN was read
  | { is: "reset"; error: StreamResetError }
  | { is: "stopped" }; // by us

type WriteSide =
  | { is: "open"; blocked: boolean }
  | { is: "finished" }
  | { is: "reset"; code: number } // by us
  | { is: "stopped"; error: StreamStoppedError }; // by the peer

/** The native library's default. */
const LIGHT_URGENCY = 127;
const BULK_URGENCY = 159;
const EMPTY = new Uint8Array(0);
const scratch = new Uint8Array(65_536);

/**
 * A bidirectional stream. Use either the direct calls (`read`, `write`, `onReadable`, `onWritable`) or the web stream of a direction,
 * not both.
 */
export class QuicStream {
  readonly id: number;
  readonly #host: StreamHost;
  readonly #rate = new SendRate();
  readonly #window: WindowAccount;
  /** What the application has set; null: it follows from {@link SendRate}. */
  #urgency: number | null = null;
  #sentBytes = 0;
  #receivedBytes = 0;
  /** How the peer says that it has ended it; null when it has not said. */
  #toldEnd: StreamEnding | null = null;
  #readSide: ReadSide = { is: "open" };
  #writeSide: WriteSide = { is: "open", blocked: false };
  /** `onReadable` was called and the reader has not yet come to the end of what there is. */
  #readableTold = false;
  #closedTold = false;
  #onReadable: (() => void) | null = null;
  #onWritable: (() => void) | null = null;
  #onStopped: ((error: StreamStoppedError) => void) | null = null;
  #onClosed: ((error: Error | null) => void) | null = null;
  #readable: ReadableStream<Uint8Array> | null = null;
  #writable: WritableStream<Uint8Array> | null = null;

  constructor(id: number, host: StreamHost) {
    this.id = id;
    this.#host = host;
    this.#window = host.receiveBudget.open();
  }

  /** Bytes taken by {@link write}. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Bytes given out by {@link read}. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /**
   * Takes what has arrived: the number of bytes written to `into`, `"blocked"` when there is nothing now (wait for `onReadable`), `"end"`
   * after the peer's FIN.
   * @throws StreamResetError `stream-reset`; QuicError `closed`, once all that had arrived was read; `stream-finished` after `stopSending`.
   */
  read(into: Uint8Array): number | "blocked" | "end" {
    const side = this.#readSide;
    if (side.is === "ended") return "end";
    if (side.is === "reset") throw side.error;
    if (side.is !== "open") throw new QuicError("stream-finished", "stopSending was called on this stream");
    if (into.length === 0) return 0;
    const room = this.#host.closedError ? into.length : this.#host.receiveBudget.room(this.#host.now, this.#window);
    if (room === 0) {
      this.#readableTold = false;
      return "blocked";
    }
    const result = this.#receive(room < into.length ? into.subarray(0, room) : into);
    if (result === null) {
      if (this.#host.closedError) throw this.#host.closedError;
      if (this.#toldEnd && this.#receivedBytes >= this.#toldEnd.sentBytes) {
        this.#endRead({ is: "ended" });
        return "end";
      }
      this.#readableTold = false;
      return "blocked";
    }
    const [length, fin] = result;
    this.#receivedBytes += length;
    this.#host.receiveBudget.read(this.#window, length);
    this.#host.transferred(0, length);
    this.#host.unsent(); // the peer's flow control window may have grown
    if (fin) this.#endRead({ is: "ended" });
    return length === 0 ? (fin ? "end" : "blocked") : length;
  }

  /**
   * Hands bytes to be sent; they are copied. Returns how many were taken: after fewer than given, go on at `onWritable`.
   * @throws StreamStoppedError `stream-stopped`; QuicError `closed`, or `stream-finished` after `finish` or `reset`.
   */
  write(data: Uint8Array): number {
    const side = this.#openWriteSide();
    if (data.length === 0) return 0;
    const taken = this.#send(data, false) ?? 0;
    this.#sentBytes += taken;
    if (this.#rate.sent(this.#host.now, taken) && this.#urgency === null) {
      this.#prioritize(this.isBulk ? BULK_URGENCY : LIGHT_URGENCY, true);
    }
    this.#host.transferred(taken, 0);
    this.#host.unsent();
    side.blocked = taken < data.length;
    if (side.blocked) this.#host.blocked(this);
    return taken;
  }

  /** FIN after what was written. Does nothing when called again. @throws as {@link write}. */
  finish(): void {
    if (this.#writeSide.is === "finished") return;
    this.#openWriteSide();
    this.#send(EMPTY, true);
    this.#host.work();
    this.#host.finished(this);
    this.#endWrite({ is: "finished" });
  }

  /** Gives up sending: what was not delivered may be lost. Does nothing when this direction is over. `code` is the application's. */
  reset(code: number): void {
    checkCode(code);
    if (this.#writeSide.is !== "open" && this.#writeSide.is !== "finished") return;
    if (!this.#host.closedError) this.#shutdown(quiche.Shutdown.Write, code);
    this.#endWrite({ is: "reset", code });
  }

  /** Wants no more from the peer; what was not read is dropped. Does nothing when this direction is over. `code` is the application's. */
  stopSending(code: number): void {
    checkCode(code);
    if (this.#readSide.is !== "open") return;
    // quiche gives back the connection's flow control window only for what is read.
    if (this.#discard()) return;
    if (!this.#host.closedError) this.#shutdown(quiche.Shutdown.Read, code);
    this.#endRead({ is: "stopped" });
  }

  /**
   * How the connection shares its capacity: lower `urgency` (0..255) first; equal ones in turn if `incremental`. Unless this is called it is
   * {@link LIGHT_URGENCY} for a stream that has sent little lately and {@link BULK_URGENCY} for the others, so that nobody who types waits
   * behind somebody who copies.
   */
  priority(urgency: number, incremental: boolean): void {
    if (!Number.isInteger(urgency) || urgency < 0 || urgency > 255) {
      throw new QuicError("invalid-argument", `urgency must be 0..255, not ${urgency}`);
    }
    this.#urgency = urgency;
    this.#prioritize(urgency, incremental);
  }

  /** Called when `read` has something to say (bytes, the end, an error); next after `read` said "blocked". */
  get onReadable(): (() => void) | null {
    return this.#onReadable;
  }

  set onReadable(handler: (() => void) | null) {
    this.#onReadable = handler;
    if (handler) this.#host.kick(this);
  }

  /** Called when a write that was not taken whole can go on, or will throw. */
  get onWritable(): (() => void) | null {
    return this.#onWritable;
  }

  set onWritable(handler: (() => void) | null) {
    this.#onWritable = handler;
    if (handler) this.#host.kick(this);
  }

  /** Called when the peer wants no more, so that an idle writer learns it. */
  get onStopped(): ((error: StreamStoppedError) => void) | null {
    return this.#onStopped;
  }

  set onStopped(handler: ((error: StreamStoppedError) => void) | null) {
    this.#onStopped = handler;
  }

  /** Called once, when both directions are over: with null if neither the peer nor the connection cut one short. */
  get onClosed(): ((error: Error | null) => void) | null {
    return this.#onClosed;
  }

  set onClosed(handler: ((error: Error | null) => void) | null) {
    this.#onClosed = handler;
    if (handler && !this.#closedTold) this.#host.kick(this);
  }

  /** Bytes from the peer. Nothing is taken from the connection before a reader asks. Cancelling it calls {@link stopSending}. */
  get readable(): ReadableStream<Uint8Array> {
    this.#readable ??= makeReadable(this);
    return this.#readable;
  }

  /** Bytes to the peer. Closing it sends FIN, aborting it calls {@link reset}. */
  get writable(): WritableStream<Uint8Array> {
    this.#writable ??= makeWritable(this);
    return this.#writable;
  }

  /** @internal Whether the read side ended in a way after which the native library may keep the stream. */
  get mayLinger(): boolean {
    return this.#readSide.is === "stopped" || this.#readSide.is === "reset";
  }

  /** @internal How this side ended it; null when it has not, or the peer wanted no more. */
  get ending(): StreamEnding | null {
    const side = this.#writeSide;
    if (side.is !== "finished" && side.is !== "reset") return null;
    return { id: this.id, sentBytes: this.#sentBytes, resetCode: side.is === "reset" ? side.code : null };
  }

  /** @internal The peer has ended it like that, whether its FIN or RESET_STREAM comes or not. */
  expectEnd(ending: StreamEnding): void {
    if (this.#readSide.is !== "open") return;
    this.#toldEnd = ending;
    this.#readableTold = false;
    this.pumpReadable();
  }

  /** @internal Whether streams with little to say go before it. */
  get isBulk(): boolean {
    return this.#urgency === null ? this.#rate.isBulk : this.#urgency > LIGHT_URGENCY;
  }

  /** @internal Something can be read. */
  pumpReadable(): void {
    if (this.#readSide.is === "open" && !this.#readableTold && this.#onReadable) {
      this.#readableTold = true;
      this.#call(this.#onReadable);
    }
  }

  /** @internal A write may go on, or the peer stopped reading. False: it still waits. */
  pumpWritable(): boolean {
    const capacity = this.#capacity();
    const side = this.#writeSide;
    if (side.is !== "open" || !side.blocked) return true;
    if (capacity === 0 && !this.#host.closedError) return false;
    side.blocked = false;
    if (this.#onWritable) this.#call(this.#onWritable);
    return true;
  }

  /** @internal The peer may have stopped reading; a write that waits goes on waiting for its turn. */
  pumpStopped(): void {
    this.#capacity();
  }

  /** What may be written; when the peer stopped reading, everyone who waits is told. */
  #capacity(): number {
    const side = this.#writeSide;
    if (side.is !== "open") return 0;
    try {
      return this.#host.native.streamCapacity(this.id);
    } catch (error) {
      const stopped = this.#stoppedByPeer(error);
      const handler = this.#onStopped;
      if (stopped && handler) this.#call(() => handler(stopped));
      if (stopped && side.blocked && this.#onWritable) this.#call(this.#onWritable);
      return 0;
    }
  }

  /** @internal The stream or its connection is over: everyone who waits is told. */
  pumpClosed(): void {
    const { closedError } = this.#host;
    if (closedError) {
      if (this.#readSide.is === "open" && this.#onReadable) this.#call(this.#onReadable);
      if (this.#writeSide.is === "open" && this.#onWritable) this.#call(this.#onWritable);
    }
    if (!this.#onClosed || this.#closedTold) return;
    const over = this.#readSide.is !== "open" && this.#writeSide.is !== "open";
    if (!over && !closedError) return;
    this.#closedTold = true;
    const handler = this.#onClosed;
    this.#call(() => handler(this.#cutShortBy() ?? (over ? null : closedError)));
  }

  #cutShortBy(): Error | null {
    if (this.#readSide.is === "reset") return this.#readSide.error;
    return this.#writeSide.is === "stopped" ? this.#writeSide.error : null;
  }

  #prioritize(urgency: number, incremental: boolean): void {
    if (this.#host.closedError) return;
    try {
      this.#host.native.streamPriority(this.id, urgency, incremental);
    } catch (error) {
      throw fromNative(error, `set the priority of stream ${this.id}`);
    }
  }

  #openWriteSide(): WriteSide & { is: "open" } {
    const side = this.#writeSide;
    if (side.is === "stopped") throw side.error;
    if (side.is !== "open") throw new QuicError("stream-finished", "this stream was finished or reset");
    if (this.#host.closedError) throw this.#host.closedError;
    return side;
  }

  /** Null: nothing there. */
  #receive(into: Uint8Array): [number, boolean] | null {
    const resetCode = this.#host.closedError ? null : (this.#toldEnd?.resetCode ?? null);
    if (resetCode !== null) {
      this.#shutdown(quiche.Shutdown.Read, resetCode);
      this.#endReset(resetCode);
    }
    try {
      return this.#host.native.streamRecv(this.id, into);
    } catch (error) {
      const { name, value } = parseNativeError(error);
      if (name === "StreamReset") this.#endReset(value ?? 0);
      if (this.#host.closedError) throw this.#host.closedError;
      throw fromNative(error, `read stream ${this.id}`);
    }
  }

  /** @throws StreamResetError */
  #endReset(code: number): never {
    const error = new StreamResetError(code);
    this.#endRead({ is: "reset", error });
    throw error;
  }

  /** Null: nothing taken. */
  #send(data: Uint8Array, fin: boolean): number | null {
    try {
      return this.#host.native.streamSend(this.id, data, fin);
    } catch (error) {
      throw this.#stoppedByPeer(error) ?? fromNative(error, `write to stream ${this.id}`);
    }
  }

  /** A stream that is gone had its sending stopped too: the peer's STOP_SENDING came and was answered between two looks. */
  #stoppedByPeer(error: unknown): StreamStoppedError | null {
    const { name, value } = parseNativeError(error);
    if (name !== "StreamStopped" && name !== "InvalidStreamState") return null;
    const stopped = new StreamStoppedError(name === "StreamStopped" ? (value ?? 0) : 0);
    this.#endWrite({ is: "stopped", error: stopped });
    return stopped;
  }

  /** Reads and throws away what is there. True when that was the end. */
  #discard(): boolean {
    try {
      for (;;) {
        const result = this.#receive(scratch);
        if (result === null) return false;
        this.#host.work();
        if (!result[1]) continue;
        this.#endRead({ is: "ended" });
        return true;
      }
    } catch {
      return this.#readSide.is === "reset";
    }
  }

  #shutdown(direction: 0 | 1, code: number): void {
    try {
      this.#host.native.streamShutdown(this.id, direction, code);
    } catch (error) {
      throw fromNative(error, `end stream ${this.id}`);
    }
    this.#host.mayWrite(); // what it had not sent is not sent any more
    this.#host.work();
  }

  #endRead(side: ReadSide): void {
    this.#readSide = side;
    this.#host.receiveBudget.close(this.#window);
    if (this.#writeSide.is !== "open") this.#host.ended(this);
  }

  #endWrite(side: WriteSide): void {
    const wasOpen = this.#writeSide.is === "open";
    this.#writeSide = side;
    if (wasOpen && this.#readSide.is !== "open") this.#host.ended(this);
  }

  /** A handler that throws must not keep the others from being called. */
  #call(handler: () => void): void {
    try {
      handler();
    } catch (error) {
      this.#host.failed(this, error);
    }
  }
}
