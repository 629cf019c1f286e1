const SLAB_BYTES = 64 * 1024;

/** Room for outgoing packets, cut from slabs: one allocation for some forty packets. What was handed out is never used again. */
export class PacketBuffers {
  #slab = new Uint8Array(0);
  #used = 0;

  /** At least `size` bytes to write a packet into; call {@link commit} with how many were used. */
  next(size: number): Uint8Array {
    if (this.#used + size > this.#slab.length) {
      this.#slab = new Uint8Array(SLAB_BYTES);
      this.#used = 0;
    }
    return this.#slab.subarray(this.#used, this.#used + size);
  }

  /** The packet itself: the first `length` bytes of the last {@link next}. */
  commit(length: number): Uint8Array {
    const packet = this.#slab.subarray(this.#used, this.#used + length);
    this.#used += length;
    return packet;
  }
}
