import type { Deadline } from "@adit/core";
import type { NativeConnection } from "./native.ts";
import type { SentPacket } from "./types.ts";

/** Before the first repetition where nothing is known of the path, ms; each next one waits twice as long. */
const FIRST_AFTER_MS = 250;
/** Within these bounds it follows the round trip where that is known: an answer takes one, and some. */
const SHORTEST_AFTER_MS = 60;
const ROUND_TRIPS = 2.5;
const MAX_REPEATS = 5;
/** Datagrams that are kept, the newest; a flight is two or three. */
const MAX_PACKETS = 4;

interface Kept extends Omit<SentPacket, "length"> {
  readonly data: Uint8Array;
}

/**
 * Sends what a handshake sent last again, byte for byte, while nothing new comes. Before there is a round trip to go by, QUIC waits a second
 * for an answer, then two, then four (RFC 9002 §6.2.2): one lost packet in five makes that many seconds of a handshake. To the peer a
 * repeated packet is one that the network doubled, and is discarded (RFC 9000 §12.3). Sans-IO.
 */
export class HandshakeRepeats {
  readonly #native: NativeConnection;
  readonly #firstAfterMs: number;
  #last: Kept[] = [];
  #heard = 0;
  #repeats = 0;
  #nextAt: number | null = null;
  /** What is to be sent again now. */
  #due: Kept[] = [];

  /** `rttMs`: of the path, where it is known. */
  constructor(native: NativeConnection, rttMs: number | null) {
    this.#native = native;
    this.#firstAfterMs =
      rttMs === null ? FIRST_AFTER_MS : Math.min(FIRST_AFTER_MS, Math.max(SHORTEST_AFTER_MS, ROUND_TRIPS * rttMs));
  }

  /** A packet of the native library's left. */
  sent(now: number, data: Uint8Array, { local, remote }: Omit<SentPacket, "length">): void {
    if (this.#last.length === MAX_PACKETS) this.#last.shift();
    this.#last.push({ data: data.slice(), local, remote });
    this.#due = [];
    this.#nextAt = this.#repeats < MAX_REPEATS ? now + this.#afterMs : null;
  }

  /** After each datagram that came. True: it was something new of the peer's. */
  received(now: number): boolean {
    const { recv } = this.#native.stats();
    const isNew = recv > this.#heard;
    this.#heard = recv;
    if (!isNew) return false;
    this.#repeats = 0;
    this.#due = [];
    if (this.#last.length > 0) this.#nextAt = now + this.#afterMs;
    return true;
  }

  get deadline(): Deadline | null {
    return this.#nextAt === null ? null : { at: this.#nextAt, reason: "quic-handshake-repeat" };
  }

  handleTimeout(now: number): void {
    if (this.#nextAt === null || now < this.#nextAt) return;
    this.#due = [...this.#last];
    this.#repeats++;
    this.#nextAt = this.#repeats < MAX_REPEATS ? now + this.#afterMs : null;
  }

  /** The next one to be sent again, written into `out`. */
  take(out: Uint8Array): SentPacket | null {
    const next = this.#due.shift();
    if (!next || next.data.length > out.length) return null;
    out.set(next.data);
    return { length: next.data.length, local: next.local, remote: next.remote };
  }

  get #afterMs(): number {
    return this.#firstAfterMs * 2 ** this.#repeats;
  }
}
