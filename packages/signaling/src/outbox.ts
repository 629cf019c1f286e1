/** What waits to be written to a stream that may be slow. At the bound the connection is given up: the other side does not read. */
const MAX_OUTBOX_BYTES = 262_144;

export class Outbox {
  #frames: Uint8Array[] = [];
  #bytes = 0;

  /** What waits. */
  get bytes(): number {
    return this.#bytes;
  }

  /** False when it is full: the frame was not taken. */
  push(frame: Uint8Array): boolean {
    if (this.#bytes + frame.length > MAX_OUTBOX_BYTES) return false;
    this.#frames.push(frame);
    this.#bytes += frame.length;
    return true;
  }

  poll(): Uint8Array | null {
    const frame = this.#frames.shift();
    if (!frame) return null;
    this.#bytes -= frame.length;
    return frame;
  }

  clear(): void {
    this.#frames = [];
    this.#bytes = 0;
  }
}
