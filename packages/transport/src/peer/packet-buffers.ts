import { SEND_BATCH } from "../driver.ts";

/** Room for one packet, and the two views of it that were used last: a transfer's packets have two lengths, in turn (docs/adr/0015). */
class Room {
  readonly #bytes: Uint8Array;
  #last: Uint8Array;
  #beforeLast: Uint8Array;

  constructor(sizeBytes: number) {
    this.#bytes = new Uint8Array(sizeBytes);
    this.#last = this.#bytes;
    this.#beforeLast = this.#bytes;
  }

  first(length: number): Uint8Array {
    if (this.#last.length === length) return this.#last;
    const view = this.#beforeLast.length === length ? this.#beforeLast : this.#bytes.subarray(0, length);
    this.#beforeLast = this.#last;
    this.#last = view;
    return view;
  }
}

/**
 * Room for outgoing packets. What was handed out is used again after {@link SEND_BATCH} further ones: by then the driver has sent or
 * copied it. So a transfer allocates nothing per packet, and its packets stay in the processor's cache.
 */
export class PacketBuffers {
  readonly #sizeBytes: number;
  readonly #rooms: Room[] = [];
  #next = 0;

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  /** Room for a packet of `sizeBytes` at most, all there is by default; call {@link commit} with how many bytes were used, or nothing if none were. */
  next(sizeBytes: number = this.#sizeBytes): Uint8Array {
    return this.#room().first(sizeBytes);
  }

  /** The packet itself: the first `length` bytes of the last {@link next}. */
  commit(length: number): Uint8Array {
    const packet = this.#room().first(length);
    this.#next = (this.#next + 1) % SEND_BATCH;
    return packet;
  }

  #room(): Room {
    const known = this.#rooms[this.#next];
    if (known) return known;
    const room = new Room(this.#sizeBytes);
    this.#rooms.push(room);
    return room;
  }
}
