import type { QuicStream } from "@adit/quic";
import { type Codec, FrameReader } from "@adit/signaling";

/** Bytes of frames that wait for the stream to take them; a peer that stops reading costs no more than this. */
const MAX_PENDING_BYTES = 256 * 1024;
const READ_BYTES = 16 * 1024;

/** Messages over a QUIC stream: one frame each, in order. It owns the stream's callbacks. */
export class FramedStream<M> {
  readonly stream: QuicStream;
  readonly #codec: Codec<M>;
  readonly #onMessage: (message: M) => void;
  readonly #onEnd: (reason: string) => void;
  readonly #reader = new FrameReader();
  readonly #buffer = new Uint8Array(READ_BYTES);
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #ended = false;

  constructor(
    stream: QuicStream,
    codec: Codec<M>,
    handlers: { onMessage: (message: M) => void; onEnd: (reason: string) => void },
  ) {
    this.stream = stream;
    this.#codec = codec;
    this.#onMessage = handlers.onMessage;
    this.#onEnd = handlers.onEnd;
    stream.onReadable = () => this.#read();
    stream.onWritable = () => this.#flush();
    stream.onClosed = (error) => this.#end(error?.message ?? "the stream was closed");
    this.#read();
  }

  /** False when the stream is over, or too much is waiting already. */
  send(message: M): boolean {
    if (this.#ended) return false;
    const frame = this.#codec.encodeFrame(message);
    if (this.#pendingBytes + frame.length > MAX_PENDING_BYTES) return false;
    this.#pending.push(frame);
    this.#pendingBytes += frame.length;
    this.#flush();
    return !this.#ended;
  }

  #flush(): void {
    try {
      while (this.#pending.length > 0) {
        const head = this.#pending[0] as Uint8Array;
        const taken = this.stream.write(head);
        this.#pendingBytes -= taken;
        if (taken < head.length) {
          this.#pending[0] = head.subarray(taken);
          return;
        }
        this.#pending.shift();
      }
    } catch (error) {
      this.#end((error as Error).message);
    }
  }

  #read(): void {
    while (!this.#ended) {
      try {
        const read = this.stream.read(this.#buffer);
        if (read === "blocked") return;
        if (read === "end") return this.#end("the peer finished the stream");
        for (const payload of this.#reader.frames(this.#buffer.subarray(0, read))) {
          this.#onMessage(this.#codec.decode(payload));
        }
      } catch (error) {
        return this.#end((error as Error).message);
      }
    }
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#pending = [];
    this.#onEnd(reason);
  }
}

/**
 * Writes a whole frame: a busy connection takes a stream's bytes piece by piece. The stream is nobody else's until it resolves.
 * @throws the stream's own errors.
 */
export function writeFrame(stream: QuicStream, frame: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    let rest = frame;
    const write = (): void => {
      try {
        rest = rest.subarray(stream.write(rest));
        if (rest.length > 0) return;
        stream.onWritable = null;
        resolve();
      } catch (error) {
        stream.onWritable = null;
        reject(error);
      }
    };
    stream.onWritable = write;
    write();
  });
}

/**
 * The first frame of a stream, read without taking a byte more: what follows belongs to somebody else. `onRead` hears of each
 * byte taken, at once.
 * @throws SignalingError on a bad frame; the stream's own errors; Error when it ends before the frame is whole.
 */
export function readFirstFrame<M>(
  stream: QuicStream,
  codec: Codec<M>,
  onRead: (bytes: number) => void = () => {},
): Promise<M> {
  return new Promise((resolve, reject) => {
    const reader = new FrameReader();
    const buffer = new Uint8Array(READ_BYTES);
    const header: number[] = [];
    let missing = 4;
    const done = (settle: () => void): void => {
      stream.onReadable = null;
      stream.onClosed = null;
      settle();
    };
    const read = (): void => {
      try {
        for (;;) {
          const count = stream.read(buffer.subarray(0, Math.min(missing, buffer.length)));
          if (count === "blocked") return;
          if (count === "end") throw new Error("the stream ended before its first frame");
          onRead(count);
          const part = buffer.subarray(0, count);
          missing -= count;
          for (const byte of part) if (header.length < 4) header.push(byte);
          const { payload } = reader.take(part);
          if (payload) return done(() => resolve(codec.decode(payload)));
          if (missing === 0) missing = new DataView(Uint8Array.from(header).buffer).getUint32(0);
        }
      } catch (error) {
        done(() => reject(error));
      }
    };
    stream.onReadable = read;
    stream.onClosed = (error) => done(() => reject(error ?? new Error("the stream was closed")));
    read();
  });
}
