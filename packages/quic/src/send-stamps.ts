/** A path validation (RFC 9000 §8.2) needs packets of that length. */
const MIN_BYTES = 1200;

/**
 * Keeps quiche 0.18 looking at the clock. It measures round trips from when its pacer says that a packet may leave, and the pacer looks at the clock
 * when ten packets have left, or one of another length than the one before. A window of a few packets takes several round trips to make ten: by then
 * the stamp is as many round trips old, the round trip seems so much longer, the pacer slower, and all that waits for a timeout waits for seconds. So
 * the packets of every other pass are a byte shorter (docs/adr/0015).
 */
export class SendStamps {
  #isShorter = false;
  #hasSent = false;

  /** How long the next packet may be, bytes. */
  limit(bytes: number): number {
    return this.#isShorter && bytes > MIN_BYTES ? bytes - 1 : bytes;
  }

  sent(): void {
    this.#hasSent = true;
  }

  /** There is nothing more to send just now. */
  passOver(): void {
    if (this.#hasSent) this.#isShorter = !this.#isShorter;
    this.#hasSent = false;
  }
}
