import type { QuicConnection } from "@adit/quic";

/** With so many streams left, or a quarter where there never were many more, it is time for another session. */
const RESERVE = 1_024;
const RESERVE_SHARE = 1 / 4;

/**
 * How many streams the peer still lets a connection open in its life. Streams that end in order give theirs back; of those that are aborted
 * quiche 0.18 forgets some, until none is left. Before that the session retires: it takes no more streams, and ends with the last it has.
 */
export class StreamCredit {
  /** Resolves when the session retires. */
  readonly retiring: Promise<void>;
  #first: number | null = null;
  #isRetiring = false;
  #resolve: () => void = () => {};

  constructor() {
    this.retiring = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get isRetiring(): boolean {
    return this.#isRetiring;
  }

  /** A stream was opened; true when the session retires with it. */
  opened(connection: QuicConnection): boolean {
    const { peerStreamsLeft: left } = connection.stats();
    this.#first ??= left;
    if (this.#isRetiring || left > Math.min(RESERVE, this.#first * RESERVE_SHARE)) return false;
    this.#isRetiring = true;
    this.#resolve();
    return true;
  }
}
