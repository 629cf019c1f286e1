import { SignalingError } from "./errors.ts";

/** No frame's payload is longer, bytes. */
export const MAX_FRAME_BYTES = 65_536;

/** The u32 big-endian length before each payload. */
export const FRAME_HEADER_BYTES = 4;

const INITIAL_BUFFER_BYTES = 512;
const EMPTY = new Uint8Array(0);

/**
 * Cuts a byte stream into frames, however the stream was chopped up. Holds one incomplete frame at most, and only as much memory
 * as arrived of it: a length that lies costs nothing. After an error it stays broken, for the stream has lost its bounds.
 */
export class FrameReader {
  readonly #maxFrameBytes: number;
  /** None between frames: thousands of connections are idle. */
  #buffer = EMPTY;
  #length = 0;
  #error: SignalingError | null = null;

  constructor(options: { maxFrameBytes?: number } = {}) {
    this.#maxFrameBytes = options.maxFrameBytes ?? MAX_FRAME_BYTES;
  }

  /** Bytes of an incomplete frame that are waiting for the rest. */
  get bufferedBytes(): number {
    return this.#length;
  }

  /** What it holds in memory, bytes: grows with what arrived, not with what was announced. */
  get allocatedBytes(): number {
    return this.#buffer.length;
  }

  /**
   * Takes bytes from `data` at `offset` up to the end of one frame and never further, so that what follows a single frame
   * (the bytes of a service) stays with the caller. `payload` has its own ArrayBuffer, null while the frame is incomplete.
   * @throws SignalingError `frame-too-large`, or `bad-message` for an empty frame.
   */
  take(data: Uint8Array, offset = 0): { used: number; payload: Uint8Array<ArrayBuffer> | null } {
    if (this.#error) throw this.#error;
    let used = this.#fill(data, offset, FRAME_HEADER_BYTES);
    if (this.#length < FRAME_HEADER_BYTES) return { used, payload: null };
    const size = this.#payloadBytes();
    used += this.#fill(data, offset + used, FRAME_HEADER_BYTES + size);
    if (this.#length < FRAME_HEADER_BYTES + size) return { used, payload: null };
    const payload = this.#buffer.slice(FRAME_HEADER_BYTES, this.#length);
    this.#length = 0;
    this.#buffer = EMPTY;
    return { used, payload };
  }

  /** Each frame that `data` completes, in order. @throws SignalingError as {@link take}, after the good frames before it. */
  *frames(data: Uint8Array): Generator<Uint8Array<ArrayBuffer>, void, undefined> {
    for (let offset = 0; offset < data.length; ) {
      const { used, payload } = this.take(data, offset);
      offset += used;
      if (payload) yield payload;
    }
  }

  #payloadBytes(): number {
    const size = new DataView(this.#buffer.buffer).getUint32(0);
    if (size > this.#maxFrameBytes) {
      this.#fail("frame-too-large", `a frame of ${size} bytes was announced, the limit is ${this.#maxFrameBytes}`);
    }
    if (size === 0) this.#fail("bad-message", "a frame is empty");
    return size;
  }

  #fail(code: "frame-too-large" | "bad-message", message: string): never {
    this.#buffer = EMPTY;
    this.#length = 0;
    this.#error = new SignalingError(code, message);
    throw this.#error;
  }

  /** Copies from `data` at `offset` until the buffer holds `target` bytes; how many were copied. */
  #fill(data: Uint8Array, offset: number, target: number): number {
    const count = Math.min(target - this.#length, data.length - offset);
    if (count <= 0) return 0;
    if (this.#length + count > this.#buffer.length) {
      const wanted = Math.min(target, Math.max(this.#length + count, this.#buffer.length * 2));
      const grown = new Uint8Array(Math.max(INITIAL_BUFFER_BYTES, wanted));
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
    }
    this.#buffer.set(data.subarray(offset, offset + count), this.#length);
    this.#length += count;
    return count;
  }
}
