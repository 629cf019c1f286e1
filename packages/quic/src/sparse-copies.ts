import type { NativeConnection } from "./native.ts";
import type { SentPacket, VirtualAddress } from "./types.ts";

/** Where a round trip is shorter, what was lost is sent again soon enough without, ms. */
const LEAST_ROUND_TRIP_MS = 20;
/** Where it is as long as that a network is taken for one that loses packets until so many have come, ms. */
const LONG_ROUND_TRIP_MS = 150;
const UNKNOWN_PACKETS = 50;
/** One that loses more than this share does, and is asked about so often, ms. */
const LOSSY_SHARE = 0.01;
const JUDGE_INTERVAL_MS = 100;
/** When a packet's copies follow it, in round trips: before anything can be known of it, and so far apart that a burst of losses seldom has them all. */
const AFTER_ROUND_TRIPS = [0.25, 0.75] as const;
/** Of the newest packets only: where more follow within that time their acknowledgements tell at once what was lost. */
const MAX_PACKETS = 4;
/** Longer packets are of a transfer, and what that loses on a full line would not come back by filling it, bytes. */
const PACKET_BYTES = 1000;
/** Shorter ones only acknowledge, bytes. */
const MIN_ELICITING_BYTES = 64;

interface Kept extends SentPacket {
  readonly data: Uint8Array;
  length: number;
  local: VirtualAddress;
  remote: VirtualAddress;
  sentAt: number;
  copies: number;
}

/**
 * Sends a packet that few others follow again, byte for byte, where packets get lost: a question, or its answer, that is lost would be
 * missed after a round trip and a half, be sent again after another, and so cost three where it takes a half. To the peer a copy is a packet that the
 * network doubled, and is discarded (RFC 9000 §12.3). Sans-IO; needs a round trip from elsewhere, and is silent without one.
 */
export class SparseCopies {
  readonly #native: NativeConnection;
  /** Null where nothing is copied. */
  #rttMs: number | null = null;
  /** Whether packets get lost, as far as is known, */
  #isLossy = false;
  /** and since when. */
  #judgedAt = Number.NEGATIVE_INFINITY;
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
    if (this.#rttMs === null || length < MIN_ELICITING_BYTES || length > PACKET_BYTES) return;
    if (now >= this.#judgedAt + JUDGE_INTERVAL_MS) this.#judge(now, this.#rttMs);
    if (!this.#isLossy) return;
    // What makes way is used again.
    const former = this.#kept.length === MAX_PACKETS ? this.#kept.shift() : undefined;
    const kept = former ?? { data: new Uint8Array(PACKET_BYTES), length, local, remote, sentAt: now, copies: 0 };
    kept.data.set(out.subarray(0, length));
    kept.length = length;
    kept.local = local;
    kept.remote = remote;
    kept.sentAt = now;
    kept.copies = 0;
    this.#kept.push(kept);
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
    packet.copies++;
    if (packet.copies === AFTER_ROUND_TRIPS.length) this.#kept = this.#kept.filter((one) => one !== packet);
    if (packet.length > out.length) return null;
    out.set(packet.data.subarray(0, packet.length));
    return { length: packet.length, local: packet.local, remote: packet.remote };
  }

  #dueAt({ sentAt, copies }: Kept): number {
    return sentAt + (AFTER_ROUND_TRIPS[copies] ?? 0) * (this.#rttMs ?? 0);
  }

  #judge(now: number, rttMs: number): void {
    const { sent, recv, lost } = this.#native.stats();
    this.#judgedAt = now;
    this.#isLossy = lost > LOSSY_SHARE * sent || (rttMs >= LONG_ROUND_TRIP_MS && recv < UNKNOWN_PACKETS);
  }
}
