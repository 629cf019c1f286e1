import type { Deadline } from "@adit/core";
import type { NativeConnection } from "./native.ts";
import type { SentPacket } from "./types.ts";

/** Before the first repetition where nothing is known of the path, ms; each next one waits twice as long. */
const FIRST_AFTER_MS = 250;
/** Within these bounds it follows the round trip where that is known: an answer takes one, and some. */
const SHORTEST_AFTER_MS = 60;
const ROUND_TRIPS = 2.5;
const MAX_REPEATS = 5;
/** Datagrams of a flight that are kept; a server's are two or three. */
const MAX_PACKETS = 4;

interface Kept extends Omit<SentPacket, "length"> {
  readonly data: Uint8Array;
}

/**
 * Sends the first flight again, byte for byte, until anything comes that shows that it arrived. Before there is a round trip to go by, QUIC
 * waits a second for that, then two, then four (RFC 9002 §6.2.2): one lost packet in five makes that many seconds of a handshake. To the
 * peer a repeated packet is one that the network doubled (RFC 9000 §12.3: it is discarded). Sans-IO.
 */
export class HandshakeRepeats {
  readonly #native: NativeConnection;
  readonly #firstAfterMs: number;
  #flight: Kept[] = [];
  #flightAt = 0;
  #heard = 0;
  #repeats = 0;
  #nextAt: number | null = null;
  /** Of the flight, what is to be sent again now. */
  #due: Kept[] = [];

  /** `rttMs`: of the path, where it is known. */
  constructor(native: NativeConnection, rttMs: number | null) {
    this.#native = native;
    this.#firstAfterMs =
      rttMs === null ? FIRST_AFTER_MS : Math.min(FIRST_AFTER_MS, Math.max(SHORTEST_AFTER_MS, ROUND_TRIPS * rttMs));
  }

  /** A packet of the native library's left. What leaves at one moment is a flight, and takes the former one's place. */
  sent(now: number, data: Uint8Array, { local, remote }: Omit<SentPacket, "length">): void {
    if (this.#repeats === MAX_REPEATS) return;
    if (now !== this.#flightAt) this.#flight = [];
    this.#flightAt = now;
    if (this.#flight.length < MAX_PACKETS) this.#flight.push({ data: data.slice(), local, remote });
    this.#due = [];
    this.#nextAt = now + this.#afterMs;
  }

  /** After each datagram that came: whether it was something new of the peer's. */
  received(): void {
    const { recv } = this.#native.stats();
    if (recv > this.#heard && this.#flight.length > 0) this.stop();
    this.#heard = recv;
  }

  stop(): void {
    this.#repeats = MAX_REPEATS;
    this.#flight = [];
    this.#due = [];
    this.#nextAt = null;
  }

  get deadline(): Deadline | null {
    return this.#nextAt === null ? null : { at: this.#nextAt, reason: "quic-handshake-repeat" };
  }

  handleTimeout(now: number): void {
    if (this.#nextAt === null || now < this.#nextAt) return;
    this.#due = [...this.#flight];
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
