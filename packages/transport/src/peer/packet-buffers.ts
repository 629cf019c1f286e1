import { SEND_BATCH } from "../driver.ts";

interface Slot {
  readonly room: Uint8Array;
  /** The part of it that was handed out, which is mostly as long as the last time. */
  handed: Uint8Array;
  /** The packet in it. A bulk transfer's packets are all as long, so it is mostly the same view again. */
  packet: Uint8Array;
}

/**
 * Room for outgoing packets. What was handed out is used again after {@link SEND_BATCH} further ones: by then the driver has sent or
 * copied it. So a transfer allocates nothing per packet, and its packets stay in the processor's cache.
 */
export class PacketBuffers {
  readonly #sizeBytes: number;
  readonly #slots: Slot[] = [];
  #next = 0;

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  /** Room for a packet of `sizeBytes` at most, all there is by default; call {@link commit} with how many bytes were used, or nothing if none were. */
  next(sizeBytes: number = this.#sizeBytes): Uint8Array {
    const slot = this.#slot();
    if (slot.handed.length !== sizeBytes) slot.handed = slot.room.subarray(0, sizeBytes);
    return slot.handed;
  }

  /** The packet itself: the first `length` bytes of the last {@link next}. */
  commit(length: number): Uint8Array {
    const slot = this.#slot();
    if (slot.packet.length !== length) slot.packet = slot.room.subarray(0, length);
    this.#next = (this.#next + 1) % SEND_BATCH;
    return slot.packet;
  }

  #slot(): Slot {
    const known = this.#slots[this.#next];
    if (known) return known;
    const room = new Uint8Array(this.#sizeBytes);
    const slot = { room, handed: room, packet: room };
    this.#slots.push(slot);
    return slot;
  }
}
