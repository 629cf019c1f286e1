import type { NativeConnection } from "./native.ts";
import type { SentPacket } from "./types.ts";

/** Where a round trip is shorter, what was lost is sent again soon enough without, ms. */
const LEAST_ROUND_TRIP_MS = 150;
/** When a packet's copies follow it, in round trips: before anything can be known of it, and so far apart that a burst of losses seldom has them all. */
const AFTER_ROUND_TRIPS = [0.25, 0.75] as const;
/** Of the newest packets only: where more follow within that time their acknowledgements tell at once what was lost. */
const MAX_PACKETS = 4;
/** The largest that leaves, bytes. */
const PACKET_BYTES = 1500;
/** Shorter packets only acknowledge, bytes. */
const MIN_ELICITING_BYTES = 64;
/** Until so many packets have come a network is taken for one that loses some, */
const UNKNOWN_PACKETS = 50;
/** and later where it loses more than this share. */
const LOSSY_SHARE = 0.01;

interface Kept extends SentPacket {
  readonly data: Uint8Array;
  readonly sentAt: number;
  copies: number;
}

/**
 * Sends a packet that few others follow again, byte for byte, where round trips are long and packets get lost: a question, or its answer, that is lost would be
 * missed after a round trip and a half, be sent again after another, and so cost three where it takes a half. To the peer a copy is a packet that the
 * network doubled, and is discarded (RFC 9000 §12.3). Sans-IO; needs a round trip from elsewhere, and is silent without one.
 */
export class SparseCopies {
  readonly #native: NativeConnection;
  /** Null where nothing is copied. */
  #rttMs: number | null = null;
  /** The newest last. */
  #kept: Kept[] = [];

  constructor(native: NativeConnection) {
    this.#native = native;
  }

  /** The true round trip, ms; null when nobody knows. */
  set rttMs(rttMs: number | null) {
    this.#rttMs = rttMs !== null && rttMs >= LEAST_ROUND_TRIP_MS ? rttMs : null;
    if (this.#rttMs === null && this.#kept.length > 0) this.#kept = [];
  }

  handleSent(now: number, out: Uint8Array, { length, local, remote }: SentPacket): void {
    if (this.#rttMs === null) return;
    if (length < MIN_ELICITING_BYTES || length > PACKET_BYTES) return;
    // The memory of the packet that makes way is used again.
    const former = this.#kept.length === MAX_PACKETS ? this.#kept.shift() : null;
    const data = former?.data ?? new Uint8Array(PACKET_BYTES);
    data.set(out.subarray(0, length));
    this.#kept.push({ data, length, local, remote, sentAt: now, copies: 0 });
  }

  /** When {@link take} may have something. */
  get deadline(): number | null {
    if (this.#kept.length === 0) return null;
    let next = Number.POSITIVE_INFINITY;
    for (const packet of this.#kept) next = Math.min(next, this.#dueAt(packet));
    return next;
  }

  /** The next copy that is due, written into `out`. */
  take(now: number, out: Uint8Array): SentPacket | null {
    const packet = this.#kept.find((one) => this.#dueAt(one) <= now);
    if (!packet) return null;
    if (!this.#mayLose() || packet.length > out.length) {
      this.#kept = [];
      return null;
    }
    packet.copies++;
    if (packet.copies === AFTER_ROUND_TRIPS.length) this.#kept = this.#kept.filter((one) => one !== packet);
    out.set(packet.data.subarray(0, packet.length));
    return { length: packet.length, local: packet.local, remote: packet.remote };
  }

  #dueAt({ sentAt, copies }: Kept): number {
    return sentAt + (AFTER_ROUND_TRIPS[copies] ?? 0) * (this.#rttMs ?? 0);
  }

  #mayLose(): boolean {
    const { sent, recv, lost } = this.#native.stats();
    return recv < UNKNOWN_PACKETS || lost > LOSSY_SHARE * sent;
  }
}
