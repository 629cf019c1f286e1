import type { Millis, Random } from "@adit/core";

/** One direction of a wire. Probabilities are in [0, 1]. */
export interface LinkOptions {
  /** One-way delay, ms. */
  readonly latencyMs: Millis;
  /** Up to this much is added to the delay, uniformly; order is kept (reordering has its own knob). */
  readonly jitterMs: Millis;
  readonly loss: number;
  /** A duplicated datagram arrives twice, the copy right behind it. */
  readonly duplicate: number;
  /** A reordered datagram is late by `reorderDelayMs`, and those behind it do not wait. */
  readonly reorder: number;
  readonly reorderDelayMs: Millis;
  /** Bits per second, null for no limit. 28 bytes of IPv4 and UDP header count. */
  readonly bandwidthBps: number | null;
  /** What may wait for the bandwidth; datagrams beyond it are lost at the tail. */
  readonly queueBytes: number;
  /** Longer UDP payloads are lost without a word, as in a path-MTU black hole. */
  readonly maxPayloadBytes: number;
}

export const DEFAULT_LINK: LinkOptions = {
  latencyMs: 5,
  jitterMs: 0,
  loss: 0,
  duplicate: 0,
  reorder: 0,
  reorderDelayMs: 20,
  bandwidthBps: null,
  queueBytes: 256 * 1024,
  maxPayloadBytes: 65_507,
};

const HEADER_BYTES = 28;

export type LinkVerdict =
  | { readonly kind: "arrives"; readonly at: readonly Millis[] }
  | { readonly kind: "lost"; readonly reason: "loss" | "queue-full" | "too-big" | "cut" };

/** Decides when, how often, and whether a datagram that enters one direction of a wire comes out of it. */
export class LinkDirection {
  #options: LinkOptions;
  readonly #random: Random;
  #cut = false;
  #busyUntil: Millis = 0;
  #lastArrival: Millis = 0;

  constructor(options: LinkOptions, random: Random) {
    this.#options = options;
    this.#random = random;
  }

  get options(): LinkOptions {
    return this.#options;
  }

  set(options: Partial<LinkOptions>): void {
    this.#options = { ...this.#options, ...options };
  }

  cut(): void {
    this.#cut = true;
  }

  restore(): void {
    this.#cut = false;
  }

  enter(now: Millis, sizeBytes: number): LinkVerdict {
    const o = this.#options;
    if (this.#cut) return { kind: "lost", reason: "cut" };
    if (sizeBytes > o.maxPayloadBytes) return { kind: "lost", reason: "too-big" };
    // Each chance is drawn whether or not it matters, so that changing one knob does not reshuffle the others' dice.
    const [lost, doubled, late, jitter] = this.#dice();
    if (lost < o.loss) return { kind: "lost", reason: "loss" };
    let leaves = now;
    if (o.bandwidthBps !== null) {
      const waiting = Math.max(0, this.#busyUntil - now);
      if ((waiting * o.bandwidthBps) / 8000 > o.queueBytes) return { kind: "lost", reason: "queue-full" };
      leaves = now + waiting + ((sizeBytes + HEADER_BYTES) * 8000) / o.bandwidthBps;
      this.#busyUntil = leaves;
    }
    let at = leaves + o.latencyMs + jitter * o.jitterMs;
    if (late < o.reorder) {
      at += o.reorderDelayMs;
    } else {
      at = Math.max(at, this.#lastArrival);
      this.#lastArrival = at;
    }
    return { kind: "arrives", at: doubled < o.duplicate ? [at, at] : [at] };
  }

  #dice(): readonly [number, number, number, number] {
    const random = this.#random;
    return [random.float(), random.float(), random.float(), random.float()];
  }
}

/** A wire with its two directions; `up` leaves the host or NAT that owns it. */
export class Link {
  readonly up: LinkDirection;
  readonly down: LinkDirection;

  constructor(options: LinkOptions, random: Random) {
    this.up = new LinkDirection(options, random);
    this.down = new LinkDirection(options, random);
  }

  /** Changes both directions from now on; what is under way arrives as it would have. */
  set(options: Partial<LinkOptions>): void {
    this.up.set(options);
    this.down.set(options);
  }

  cut(): void {
    this.up.cut();
    this.down.cut();
  }

  restore(): void {
    this.up.restore();
    this.down.restore();
  }
}
