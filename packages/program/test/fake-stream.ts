import type { ByteStream } from "../src/index.ts";

/** Two ends of an in-memory stream with the interface of a QUIC stream; each direction holds at most `window` bytes. */
export function fakeStreamPair(window = 256 * 1024): [FakeStream, FakeStream] {
  const a = new FakeStream(window);
  const b = new FakeStream(window);
  a.peer = b;
  b.peer = a;
  return [a, b];
}

export class FakeStream implements ByteStream {
  onReadable: (() => void) | null = null;
  onWritable: (() => void) | null = null;
  onClosed: ((error: Error | null) => void) | null = null;
  peer: FakeStream = this;
  readonly #window: number;
  #incoming: Uint8Array[] = [];
  #incomingBytes = 0;
  #ended = false;
  #finished = false;
  #resetBy: number | null = null;
  #stoppedBy: number | null = null;
  /** What the most bytes were that this end had not read. */
  mostHeld = 0;

  constructor(window: number) {
    this.#window = window;
  }

  /** The code with which the peer reset what this end reads. */
  get resetBy(): number | null {
    return this.#resetBy;
  }

  /** The code with which the peer stopped what this end writes. */
  get stoppedBy(): number | null {
    return this.#stoppedBy;
  }

  read(into: Uint8Array): number | "blocked" | "end" {
    if (this.#resetBy !== null) throw new Error(`the peer reset the stream (code ${this.#resetBy})`);
    const first = this.#incoming[0];
    if (!first) return this.#ended ? "end" : "blocked";
    const length = Math.min(into.length, first.length);
    into.set(first.subarray(0, length));
    if (length < first.length) this.#incoming[0] = first.subarray(length);
    else this.#incoming.shift();
    this.#incomingBytes -= length;
    later(() => this.peer.onWritable?.());
    return length;
  }

  write(data: Uint8Array): number {
    if (this.#stoppedBy !== null) throw new Error(`the peer stopped reading (code ${this.#stoppedBy})`);
    if (this.#finished) throw new Error("written after finish");
    const length = Math.min(data.length, this.#window - this.peer.#incomingBytes);
    if (length > 0) {
      this.peer.#incoming.push(data.slice(0, length));
      this.peer.#incomingBytes += length;
      this.peer.mostHeld = Math.max(this.peer.mostHeld, this.peer.#incomingBytes);
      later(() => this.peer.onReadable?.());
    }
    return length;
  }

  finish(): void {
    this.#finished = true;
    this.peer.#ended = true;
    later(() => this.peer.onReadable?.());
  }

  reset(code: number): void {
    this.#finished = true;
    this.peer.#resetBy ??= code;
    later(() => this.peer.onReadable?.());
  }

  stopSending(code: number): void {
    this.peer.#stoppedBy ??= code;
    later(() => this.peer.onWritable?.());
  }

  /** What happens when the connection is gone. */
  lose(reason: string): void {
    later(() => this.onClosed?.(new Error(reason)));
  }
}

const later = (callback: () => void): void => void setImmediate(callback);
