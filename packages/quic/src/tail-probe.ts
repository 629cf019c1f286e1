import type { QuicConnection } from "./connection.ts";

/** A packet is taken for overdue after so many round trips without an acknowledgement, and this much more, ms. */
const OVERDUE_ROUND_TRIPS = 1.5;
const OVERDUE_EXTRA_MS = 10;
/** What was heard earlier than this share of a round trip after a packet left does not answer it. */
const ANSWER_SHARE = 0.8;
/**
 * Shorter packets mostly only acknowledge, and nobody acknowledges them, bytes. A window update alone is as short: one that is lost when its sender has nothing
 * else to say waits for quiche's timeout.
 */
const MIN_ELICITING_BYTES = 64;
/**
 * RFC 9002 §6.1.1, kPacketThreshold: 3. A packet is lost when one that was sent three later is acknowledged, whatever the round trip is taken
 * for. So three PINGs leave, one ms apart: each in a packet of its own.
 */
const PROBES_AT_ONCE = 3;
const APART_MS = 1;
/** So many times in one silence, each twice as far from the last. A path that is dead is somebody else's to notice. */
const MAX_ROUNDS = 4;

/**
 * Says when a PING should follow what was sent last. quiche resends what was lost at the end of a flight after a timeout that it doubles each
 * time, and that starts too long where few packets are under way and some are lost: its round trip varies, and with it what it waits (docs/adr/0015). A PING that is acknowledged shows it at once what was lost. Needs a
 * round trip from elsewhere, and is silent without one.
 */
export class TailProbe {
  /** The true round trip, ms; null when nobody knows. */
  rttMs: number | null = null;
  #sentAt: number | null = null;
  #heardAt = Number.NEGATIVE_INFINITY;
  #probes = 0;

  handleSent(now: number, bytes: number): void {
    if (bytes < MIN_ELICITING_BYTES) return;
    this.#sentAt = now;
    this.#probes = 0;
  }

  handleReceived(now: number): void {
    this.#heardAt = now;
  }

  /** When {@link isDue} may say yes; null while nothing is waited for. */
  get deadline(): number | null {
    const { rttMs } = this;
    if (rttMs === null || this.#sentAt === null || this.#probes >= MAX_ROUNDS * PROBES_AT_ONCE) return null;
    // Three at once or none: where the first one's answer comes before the others have left, it alone shows nothing.
    const begun = this.#probes % PROBES_AT_ONCE !== 0;
    if (!begun && this.#heardAt >= this.#sentAt + ANSWER_SHARE * rttMs) return null;
    const waitMs = OVERDUE_ROUND_TRIPS * rttMs + OVERDUE_EXTRA_MS;
    const round = Math.floor(this.#probes / PROBES_AT_ONCE);
    return this.#sentAt + waitMs * 2 ** round + APART_MS * (this.#probes % PROBES_AT_ONCE);
  }

  /** Whether a PING should leave now; it counts as sent. */
  isDue(now: number): boolean {
    const at = this.deadline;
    if (at === null || at > now) return false;
    this.#probes++;
    return true;
  }
}

/** Less than that is not worth packets of its own, ms. */
const LEAST_ROUND_TRIP_MS = 100;

/**
 * For connections that stay on one path, and whose round trip nobody else measures: from `established` on what is lost is missed after that of the
 * handshake. A packet of it that was lost makes it longer, and the PINGs later.
 */
export function useHandshakeRoundTrip(connection: QuicConnection): void {
  const rttMs = connection.pathStats()[0]?.rttMs ?? 0;
  connection.roundTripMs = Math.max(rttMs, LEAST_ROUND_TRIP_MS);
}
