import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { sentenceOf } from "./exit.ts";

/** What a forwarder needs of a QUIC stream; QuicStream has it. */
export interface ByteStream {
  /** How many bytes were put into `into`. @throws when the peer reset the stream or the connection is gone. */
  read(into: Uint8Array): number | "blocked" | "end";
  /** How many bytes were taken, maybe 0. @throws when the peer stopped reading or the connection is gone. */
  write(data: Uint8Array): number;
  /** FIN behind what was written. @throws when the connection is gone, which the other calls may not have told yet. */
  finish(): void;
  reset(code: number): void;
  stopSending(code: number): void;
  onReadable: (() => void) | null;
  onWritable: (() => void) | null;
  onClosed: ((error: Error | null) => void) | null;
}

/** The side that is not QUIC: a TCP socket, or stdin and stdout. */
export interface LocalEnd {
  readonly readable: Readable;
  readonly writable: Writable;
  /** What was read of it before, and goes first. */
  readonly head?: Uint8Array | null;
  /** Ends both directions at once, so that the user notices: TCP sends RST. */
  abort(): void;
}

export interface ForwardResult {
  /** Bytes from the local end into the stream. */
  readonly sentBytes: number;
  /** Bytes from the stream into the local end. */
  readonly receivedBytes: number;
  /** Null when both directions ended in order, else who broke off and why. */
  readonly broken: { readonly by: "local" | "peer"; readonly reason: string } | null;
}

/** Application error code of RESET_STREAM and STOP_SENDING when the TCP connection behind a stream broke (docs/protocol.md). */
export const STREAM_BROKEN = 1;

/** Bytes are read into slabs of this size; a TCP socket holds at most about one slab that the kernel has not taken. */
const SLAB_BYTES = 64 * 1024;
/** A slab with less room than this is replaced. */
const SLAB_MIN_ROOM = 8 * 1024;

/**
 * Carries bytes between a TCP socket and a stream until both directions have ended. The socket must be made with
 * `allowHalfOpen`, so that one direction may end before the other.
 */
export function forwardTcp(socket: Socket, stream: ByteStream, head: Uint8Array | null = null): Promise<ForwardResult> {
  socket.setNoDelay(true);
  return forwardBytes({ readable: socket, writable: socket, head, abort: () => socket.resetAndDestroy() }, stream);
}

/**
 * Carries bytes between a local end and a stream. A slow reader on either side slows the writer on the other; an end of one
 * direction is passed on alone; a broken side breaks the other. Never rejects.
 */
export function forwardBytes(local: LocalEnd, stream: ByteStream): Promise<ForwardResult> {
  return new Promise((resolve) => {
    new Forwarder(local, stream, resolve).start();
  });
}

class Forwarder {
  readonly #local: LocalEnd;
  readonly #stream: ByteStream;
  readonly #done: (result: ForwardResult) => void;
  /** Local end to stream. `held` is what the stream had no room for; the local end is paused while there is any. */
  #up: { state: "open" | "ending"; held: Uint8Array | null } | "done";
  /** Stream to local end: `full` waits for its drain, `ending` for its last bytes to be taken. */
  #down: "open" | "full" | "ending" | "done" = "open";
  #slab = new Uint8Array(SLAB_BYTES);
  #slabUsed = 0;
  #sentBytes = 0;
  #receivedBytes = 0;
  #over = false;

  constructor(local: LocalEnd, stream: ByteStream, done: (result: ForwardResult) => void) {
    this.#local = local;
    this.#up = { state: "open", held: local.head ?? null };
    this.#stream = stream;
    this.#done = done;
  }

  start(): void {
    const { readable, writable } = this.#local;
    readable.on("data", this.#onData);
    readable.on("end", this.#onEnd);
    writable.on("drain", this.#onDrain);
    for (const side of new Set([readable, writable])) {
      side.on("error", this.#onLocalError);
      side.on("close", this.#onLocalClose);
    }
    this.#stream.onReadable = () => this.#pumpDown();
    this.#stream.onWritable = () => this.#pumpUp();
    this.#stream.onClosed = (error) => this.#onStreamClosed(error);
    if (readable.errored ?? writable.errored) return this.#onLocalError(readable.errored ?? writable.errored);
    if (readable.readableEnded) this.#onEnd();
    else if (this.#isHolding()) this.#pumpUp();
    else readable.resume();
    this.#pumpDown();
  }

  readonly #onData = (chunk: Uint8Array): void => {
    if (this.#up === "done") return;
    if (this.#up.held !== null) {
      // A chunk that was on its way when the local end was paused.
      this.#up.held = Buffer.concat([this.#up.held, chunk]);
      return;
    }
    this.#up.held = chunk;
    this.#pumpUp();
    if (this.#isHolding()) this.#local.readable.pause();
  };

  readonly #onEnd = (): void => {
    if (this.#up === "done") return;
    this.#up.state = "ending";
    this.#pumpUp();
  };

  readonly #onDrain = (): void => {
    if (this.#down !== "full") return;
    this.#down = "open";
    this.#pumpDown();
  };

  readonly #onLocalError = (error: unknown): void => this.#break("local", sentenceOf(error));

  /** A close that comes before the ends were seen is a break. */
  readonly #onLocalClose = (): void => {
    const { readable, writable } = this.#local;
    const reading = this.#up !== "done" && readable.destroyed && !readable.readableEnded;
    const writing = this.#down !== "done" && writable.destroyed && !writable.writableFinished;
    if (reading || writing) this.#break("local", "closed");
  };

  #isHolding(): boolean {
    return this.#up !== "done" && this.#up.held !== null;
  }

  #pumpUp(): void {
    const up = this.#up;
    if (up === "done" || this.#over) return;
    const wasHolding = up.held !== null;
    if (up.held !== null) {
      let taken: number;
      try {
        taken = this.#stream.write(up.held);
      } catch (error) {
        return this.#break("peer", sentenceOf(error));
      }
      this.#sentBytes += taken;
      up.held = taken < up.held.length ? up.held.subarray(taken) : null;
    }
    if (up.held !== null) return;
    if (up.state === "ending") {
      try {
        this.#stream.finish();
      } catch (error) {
        return this.#break("peer", sentenceOf(error));
      }
      this.#up = "done";
      this.#endWhenDone();
    } else if (wasHolding && this.#local.readable.isPaused()) {
      this.#local.readable.resume();
    }
  }

  #pumpDown(): void {
    while (this.#down === "open" && !this.#over) {
      if (SLAB_BYTES - this.#slabUsed < SLAB_MIN_ROOM) {
        this.#slab = new Uint8Array(SLAB_BYTES); // the old one belongs to the socket until it is written
        this.#slabUsed = 0;
      }
      let got: number | "blocked" | "end";
      try {
        got = this.#stream.read(this.#slab.subarray(this.#slabUsed));
      } catch (error) {
        return this.#break("peer", sentenceOf(error));
      }
      if (got === "blocked" || got === 0) return;
      if (got === "end") {
        this.#down = "ending";
        this.#local.writable.end(() => this.#onFlushed());
        return;
      }
      this.#receivedBytes += got;
      const chunk = this.#slab.subarray(this.#slabUsed, this.#slabUsed + got);
      this.#slabUsed += got;
      if (!this.#local.writable.write(chunk)) this.#down = "full";
    }
  }

  #onFlushed(): void {
    if (this.#over || this.#down !== "ending") return;
    this.#down = "done";
    this.#endWhenDone();
  }

  #onStreamClosed(error: Error | null): void {
    if (error) this.#break("peer", sentenceOf(error));
    else this.#pumpDown(); // both sides said FIN: what is left to read is read
  }

  #endWhenDone(): void {
    if (this.#up === "done" && this.#down === "done") this.#finish(null);
  }

  #break(by: "local" | "peer", reason: string): void {
    if (this.#over) return;
    this.#over = true; // before anything that may call back
    if (this.#up !== "done") attempt(() => this.#stream.reset(STREAM_BROKEN));
    if (this.#down !== "done") attempt(() => this.#stream.stopSending(STREAM_BROKEN));
    this.#local.abort();
    this.#finish({ by, reason });
  }

  #finish(broken: ForwardResult["broken"]): void {
    this.#over = true;
    this.#stream.onReadable = this.#stream.onWritable = this.#stream.onClosed = null;
    const { readable, writable } = this.#local;
    readable.off("data", this.#onData);
    readable.off("end", this.#onEnd);
    writable.off("drain", this.#onDrain);
    for (const side of new Set([readable, writable])) {
      side.off("close", this.#onLocalClose);
      // The error listener stays: an error that comes late must not end the program.
    }
    this.#done({ sentBytes: this.#sentBytes, receivedBytes: this.#receivedBytes, broken });
  }
}

/** A stream whose connection is gone may refuse to be reset; it is gone all the same. */
function attempt(action: () => void): void {
  try {
    action();
  } catch {
    // nothing left to break
  }
}
