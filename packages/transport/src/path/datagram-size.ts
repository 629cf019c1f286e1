import type { Deadline, Millis } from "@adit/core";
import type { PairId } from "@adit/ice";

/** RFC 9000 §14.1, §14.2: "QUIC MUST NOT be used if the network path cannot support a maximum datagram size of at least 1200 bytes." */
export const BASE_DATAGRAM_BYTES = 1200;
/** The largest that is tried: a whole Ethernet frame, without headers of IPv4 and UDP. */
export const MAX_DATAGRAM_BYTES = 1472;

/** Lengths of IP packets that are common: Ethernet, PPPoE and tunnels in it, WireGuard, and the least of IPv6. */
const IP_PACKET_BYTES = [1500, 1480, 1420, 1360, 1280] as const;
const HEADER_BYTES = { 4: 28, 6: 48 } as const;
/** ChannelData (RFC 8656 §12.4), on either side's way to its relay. */
const CHANNEL_DATA_BYTES = 4;

/** RFC 8899 §5.1.2, MAX_PROBES: a size that is not answered this often does not get there. */
const MAX_PROBES = 3;
/** A size in use that is not answered this often does not get there any more. More often than above: losses are likelier than changes. */
const MAX_MISSES = 4;
/** How long an answer is waited for, ms: two round trips, this at least. RFC 8899 has 1 s; a path that carries data is known better. */
const MIN_WAIT_MS = 100;
/** While larger datagrams leave, the size is proved again this often, ms. */
const VERIFY_MS = 500;
/** RFC 8899 §5.1.1, PMTU_RAISE_TIMER: "the period a sender will continue to use the current PLPMTU, after which it reenters the Search Phase": 600 s. */
const RAISE_MS = 600_000;
/** After a black hole the first search comes sooner, ms, and then after twice as long each time. */
const FIRST_RAISE_MS = 15_000;

type State =
  /** `index` into the sizes. */
  | { readonly is: "searching"; readonly index: number; readonly tries: number; readonly nextAt: Millis }
  /** `used`: something of more than the base size left since the last probe. */
  | { readonly is: "proved"; readonly bytes: number; used: boolean; misses: number; nextAt: Millis }
  | { readonly is: "resting"; readonly nextAt: Millis };

export interface SizeWay {
  readonly family: 4 | 6;
  /** Either end is a relayed address. */
  readonly relayed: boolean;
  readonly rttMs: Millis;
}

/**
 * How large datagrams may be on one pair (RFC 8899): the base size, until an authenticated check of more bytes was answered. It is proved again as
 * long as such datagrams leave, so that a path that swallows them (a black hole) is noticed although small ones get through.
 */
export class DatagramSize {
  readonly #sizes: readonly number[];
  #state: State;
  #raiseMs = FIRST_RAISE_MS;
  rttMs: Millis;

  constructor(now: Millis, { family, relayed, rttMs }: SizeWay) {
    const overhead = HEADER_BYTES[family] + (relayed ? CHANNEL_DATA_BYTES : 0);
    this.#sizes = IP_PACKET_BYTES.map((bytes) => bytes - overhead);
    this.rttMs = rttMs;
    this.#state = { is: "searching", index: 0, tries: 0, nextAt: now };
  }

  /** What is proved, bytes. */
  get bytes(): number {
    return this.#state.is === "proved" ? this.#state.bytes : BASE_DATAGRAM_BYTES;
  }

  /** A datagram of so many bytes left. */
  handleSent(bytes: number): void {
    if (this.#state.is === "proved" && bytes > BASE_DATAGRAM_BYTES) this.#state.used = true;
  }

  /** A check of so many bytes was answered. */
  handleAnswer(now: Millis, bytes: number): void {
    const state = this.#state;
    if (bytes <= BASE_DATAGRAM_BYTES) return;
    // What was given up is no longer believed: an answer that is as late as that would only bring the next fall.
    if (state.is === "searching" && state.tries > 0 && bytes >= (this.#sizes[state.index] ?? 0)) {
      this.#state = { is: "proved", bytes, used: false, misses: 0, nextAt: now + VERIFY_MS };
    } else if (state.is === "proved" && bytes >= state.bytes) {
      state.misses = 0;
      state.nextAt = now + VERIFY_MS;
    }
  }

  /** The length of the check that is to be sent now; null for none. {@link bytes} may be less afterwards: the path swallows what is larger. */
  pollProbe(now: Millis): number | null {
    const state = this.#state;
    if (state.nextAt > now) return null;
    switch (state.is) {
      case "searching":
        return this.#search(now, state);
      case "proved":
        return this.#verify(now, state);
      case "resting":
        return this.#search(now, { is: "searching", index: 0, tries: 0, nextAt: now });
    }
  }

  pollTimeout(): Millis | null {
    const state = this.#state;
    return state.is === "proved" && !state.used && state.misses === 0 ? null : state.nextAt;
  }

  #search(now: Millis, { index, tries }: State & { is: "searching" }): number | null {
    const next = tries < MAX_PROBES ? { index, tries } : { index: index + 1, tries: 0 };
    const size = this.#sizes[next.index];
    if (size === undefined) {
      this.#rest(now, RAISE_MS);
      return null;
    }
    this.#state = { is: "searching", index: next.index, tries: next.tries + 1, nextAt: now + this.#waitMs };
    return size;
  }

  #verify(now: Millis, state: State & { is: "proved" }): number | null {
    if (!state.used && state.misses === 0) return null;
    if (state.misses >= MAX_MISSES) {
      this.#rest(now, this.#raiseMs);
      this.#raiseMs = Math.min(2 * this.#raiseMs, RAISE_MS);
      return null;
    }
    state.used = false;
    state.misses++; // until the answer comes
    state.nextAt = now + this.#waitMs;
    return state.bytes;
  }

  #rest(now: Millis, forMs: Millis): void {
    this.#state = { is: "resting", nextAt: now + forMs };
  }

  get #waitMs(): Millis {
    return Math.max(MIN_WAIT_MS, 2 * this.rttMs);
  }
}

/** Pairs whose sizes are remembered; the one used longest ago goes first. A session uses few. */
const MAX_PAIRS = 8;

/** The datagram sizes of a session's pairs. Only the active pair is probed. */
export class DatagramSizes {
  readonly #byPair = new Map<PairId, DatagramSize>();
  #active: PairId | null = null;

  /** What may be sent on that pair, bytes. */
  bytes(pair: PairId): number {
    return this.#byPair.get(pair)?.bytes ?? BASE_DATAGRAM_BYTES;
  }

  handleSent(pair: PairId, bytes: number): void {
    if (bytes > BASE_DATAGRAM_BYTES) this.#byPair.get(pair)?.handleSent(bytes);
  }

  handleAnswer(now: Millis, pair: PairId, bytes: number): void {
    this.#byPair.get(pair)?.handleAnswer(now, bytes);
  }

  /** The pair that carries the session; null for none that may be probed now. */
  setActive(now: Millis, pair: PairId | null, way: () => SizeWay | null): void {
    if (pair === this.#active) return;
    const found = pair === null ? null : way();
    this.#active = found ? pair : null;
    if (!found || pair === null) return;
    const known = this.#byPair.get(pair) ?? new DatagramSize(now, found);
    known.rttMs = found.rttMs;
    this.#byPair.delete(pair);
    this.#byPair.set(pair, known);
    for (const oldest of this.#byPair.keys()) {
      if (this.#byPair.size <= MAX_PAIRS) break;
      this.#byPair.delete(oldest);
    }
  }

  /** The check to be sent now. */
  pollProbe(now: Millis): { readonly pair: PairId; readonly bytes: number } | null {
    const pair = this.#active;
    const bytes = pair === null ? null : (this.#byPair.get(pair)?.pollProbe(now) ?? null);
    return pair === null || bytes === null ? null : { pair, bytes };
  }

  pollTimeout(): Deadline | null {
    const at = this.#active === null ? null : (this.#byPair.get(this.#active)?.pollTimeout() ?? null);
    return at === null ? null : { at, reason: "datagram-size" };
  }
}
