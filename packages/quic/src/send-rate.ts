/** A stream that sends more than this beyond what leaks away is bulk, bytes; at 20 Mb/s that took 50 ms. */
const BULK_BYTES = 128 * 1024;
/** It is not any more when less than this is left. */
const LIGHT_BYTES = 32 * 1024;
/** What a stream may send all the time, bytes/ms: half a megabit per second. */
const LEAK_BYTES_PER_MS = 64;

/** Whether a stream sends much or little, as a bucket that leaks. Nobody has to say so: what is typed is told from what is copied. */
export class SendRate {
  #bytes = 0;
  #at = 0;
  #isBulk = false;

  /** Bytes were taken to be sent. Whether that made it change sides. */
  sent(now: number, bytes: number): boolean {
    this.#bytes = Math.max(0, this.#bytes - (now - this.#at) * LEAK_BYTES_PER_MS) + bytes;
    this.#at = now;
    const isBulk = this.#bytes > (this.#isBulk ? LIGHT_BYTES : BULK_BYTES);
    const changed = isBulk !== this.#isBulk;
    this.#isBulk = isBulk;
    return changed;
  }

  get isBulk(): boolean {
    return this.#isBulk;
  }
}
