import type { Readable } from "node:stream";
import type { ByteStream } from "@adit/program";

/** At most so many bytes leave before the connector has accepted. */
export const MAX_FIRST_BYTES = 16 * 1024;

/**
 * What a local connection says first. It leaves right behind the request for the service, which saves a round trip; where the connector
 * refuses, it is void. Only the first piece is taken: clients whose turn it is to speak say it at once, and the others wait.
 */
export class FirstBytes {
  readonly #source: Readable;
  #piece: Uint8Array | null = null;
  #stream: ByteStream | null = null;
  #sent = 0;

  /** The source is paused until its bytes may leave, and again after its first piece. */
  constructor(source: Readable) {
    this.#source = source;
    source.pause();
    source.on("data", this.#take);
    source.on("error", ignore);
  }

  /** Bytes that left: the service may have had them. */
  get sentBytes(): number {
    return this.#sent;
  }

  /** The request was written: from now on the bytes follow on `stream`. */
  follow(stream: ByteStream): void {
    this.#stream = stream;
    if (this.#piece === null) this.#source.resume();
    else this.#send();
  }

  /** The source is left alone. Returns what was read of it and not taken by the stream: the source may have ended, so it cannot be put back. */
  release(): Uint8Array | null {
    this.#source.off("data", this.#take);
    this.#source.pause();
    const rest = this.#piece?.subarray(this.#sent) ?? null;
    this.#piece = null;
    this.#stream = null;
    return rest && rest.length > 0 ? rest : null;
  }

  readonly #take = (piece: Uint8Array): void => {
    this.#source.pause();
    this.#piece = this.#piece === null ? piece : Buffer.concat([this.#piece, piece]); // one was on its way
    this.#send();
  };

  /** Once: what is not taken now has time until the stream was accepted. */
  #send(): void {
    if (!this.#stream || !this.#piece || this.#sent > 0) return;
    try {
      this.#sent = this.#stream.write(this.#piece.subarray(0, MAX_FIRST_BYTES));
    } catch {
      // The stream is over: who waits for the answer hears of it.
    }
  }
}

/** Whoever carries the connection hears of it, too. */
const ignore = (): void => {};
