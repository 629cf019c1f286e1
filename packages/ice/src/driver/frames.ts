/** RFC 4571 §2: each packet in a stream stands behind its length: 16 bits in network byte order, which do not count themselves. */
const LENGTH_BYTES = 2;

/** What 16 bits of length allow. */
export const MAX_FRAME_BYTES = 65_535;

/** Cuts a byte stream into packets. What it holds is less than one packet and one chunk, and grows with what has arrived. */
export class FrameReader {
  /** A longer packet is a fault. May change: strangers need little. */
  maxBytes: number;
  #buffer = new Uint8Array(0);
  #held = 0;
  #fault = false;

  constructor(maxBytes: number = MAX_FRAME_BYTES) {
    this.maxBytes = maxBytes;
  }

  /** A packet was too long; nothing is read any more. */
  get fault(): boolean {
    return this.#fault;
  }

  /** Gives out each packet that `chunk` completes, a view that is good until it returns. Empty ones are passed over. */
  push(chunk: Uint8Array, onPacket: (packet: Uint8Array) => void): void {
    if (this.#fault) return;
    if (this.#held === 0) {
      const rest = this.#cut(chunk, onPacket);
      if (rest.length > 0) this.#append(rest);
      return;
    }
    const rest = this.#cut(this.#append(chunk), onPacket);
    this.#buffer.set(rest); // to the front; it may overlap itself
    this.#held = rest.length;
  }

  /** Returns what is left over. */
  #cut(data: Uint8Array, onPacket: (packet: Uint8Array) => void): Uint8Array {
    let at = 0;
    while (data.length - at >= LENGTH_BYTES) {
      const length = ((data[at] as number) << 8) | (data[at + 1] as number);
      const start = at + LENGTH_BYTES;
      this.#fault = length > this.maxBytes;
      if (this.#fault || data.length < start + length) break;
      if (length > 0) onPacket(data.subarray(start, start + length));
      at = start + length;
    }
    return at === 0 ? data : data.subarray(at);
  }

  /** Puts a chunk behind what is held, and returns all of it. */
  #append(chunk: Uint8Array): Uint8Array {
    const end = this.#held + chunk.length;
    if (this.#buffer.length < end) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, this.#held));
      this.#buffer = larger;
    }
    this.#buffer.set(chunk, this.#held);
    this.#held = end;
    return this.#buffer.subarray(0, end);
  }
}

/** A packet as it stands in the stream; longer ones than {@link MAX_FRAME_BYTES} have no such form. */
export function frame(packet: Uint8Array): Uint8Array {
  const out = new Uint8Array(LENGTH_BYTES + packet.length);
  out[0] = packet.length >> 8;
  out[1] = packet.length & 0xff;
  out.set(packet, LENGTH_BYTES);
  return out;
}
