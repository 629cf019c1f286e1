/**
 * RFC 9000 §13.2.1: "an endpoint MUST acknowledge all ack-eliciting 0-RTT and 1-RTT packets within its advertised max_ack_delay", which is 25 ms. So long, ms,
 * an answer is waited for that can carry the acknowledgement of a question.
 */
const WAIT_MS = 5;
/** "A receiver SHOULD send an ACK frame after receiving at least two ack-eliciting packets." */
const LONE = 1;
/** Longer packets are of a transfer, whose sender needs acknowledgements to go on, bytes; it is over when none has come or gone for so long, ms. */
const SHORT_BYTES = 1000;
const CALM_MS = 100;

/**
 * Says whether the acknowledgement of a packet may wait for what the application answers: a question, and the answer that acknowledges it, are two
 * packets then instead of four, and wake each side up once. Only where a packet came by itself and brought bytes of a stream, nothing else is to be sent,
 * and no transfer goes on either way: the native library does not say what a sender holds back for want of an acknowledgement.
 */
export class AnswerWait {
  #packets = 0;
  #readBefore = 0;
  #longAt = Number.NEGATIVE_INFINITY;
  #until: number | null = null;

  /** Null while nothing waits. */
  get deadline(): number | null {
    return this.#until;
  }

  handleReceived(now: number, bytes: number): void {
    this.#packets++;
    if (bytes > SHORT_BYTES) this.#longAt = now;
  }

  handleSent(now: number, bytes: number): void {
    if (bytes > SHORT_BYTES) this.#longAt = now;
  }

  /** Everything that could be sent has left, the acknowledgement with it. `readBytes`: of all streams so far. */
  handleFlushed(readBytes: number): void {
    this.#packets = 0;
    this.#until = null;
    this.#readBefore = readBytes;
  }

  handleTimeout(now: number): void {
    if (this.#until !== null && this.#until <= now) this.stop();
  }

  /** There is something else to be sent, or it was waited for long enough. */
  stop(): void {
    if (this.#packets > 0) this.#packets = LONE + 1;
    this.#until = null;
  }

  /** Whether nothing is to be sent now. `readBytes`: of all streams so far. */
  waits(now: number, readBytes: number): boolean {
    if (this.#packets !== LONE || readBytes === this.#readBefore || now < this.#longAt + CALM_MS) return false;
    this.#until ??= now + WAIT_MS;
    return true;
  }
}
