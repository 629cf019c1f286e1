import type { Deadline, Millis } from "@adit/core";
import type { PeerId } from "@adit/quic";
import type { Carrier } from "./carrier.ts";

/** One way to the intermediate. */
export type Way = { readonly kind: "quic" } | { readonly kind: "tls"; readonly port: number };

/** QUIC has the field to itself for this long; then TLS starts beside it, and after as long again the next one, ms. */
export const HEAD_START_MS = 300;

/**
 * The ways in the order of trying, those of one array at once. What worked last is not waited for; QUIC is always tried, because
 * only over UDP can peers meet.
 */
export function waysTo(port: number, last: Way | null): readonly (readonly Way[])[] {
  const tls = [...new Set([port, 443])].map((tcp): Way => ({ kind: "tls", port: tcp }));
  if (last?.kind !== "tls") return [[{ kind: "quic" }], ...tls.map((way) => [way])];
  const others = tls.filter((way) => way.kind === "tls" && way.port !== last.port);
  return [[{ kind: "quic" }, last], ...others.map((way) => [way])];
}

export type RaceResult =
  | { readonly type: "won"; readonly way: Way; readonly carrier: Carrier; readonly peerId: PeerId }
  | { readonly type: "lost"; readonly reason: string };

/** Tries several ways at one time; the first that is established wins. Sans-IO but for what `open` does. */
export class CarrierRace {
  readonly #open: (way: Way) => Carrier;
  readonly #waiting: (readonly Way[])[];
  readonly #running = new Map<Carrier, Way>();
  readonly #reasons: string[] = [];
  #nextAt: Millis;

  /** `open` throws when a way cannot even be tried. */
  constructor(now: Millis, ways: readonly (readonly Way[])[], open: (way: Way) => Carrier) {
    this.#open = open;
    this.#waiting = [...ways];
    this.#nextAt = now;
    this.handleTimeout(now);
  }

  /** Those under way. */
  get carriers(): readonly Carrier[] {
    return [...this.#running.keys()];
  }

  handleTimeout(now: Millis): void {
    while (this.#waiting.length > 0 && now >= this.#nextAt) {
      this.#nextAt = now + HEAD_START_MS;
      for (const way of this.#waiting.shift() ?? []) this.#start(way);
      // None of them could be tried: nobody is waited for.
      if (this.#running.size === 0) this.#nextAt = now;
    }
  }

  pollTimeout(): Deadline | null {
    return this.#waiting.length > 0 ? { at: this.#nextAt, reason: "the next way to the intermediate" } : null;
  }

  /** To be called whenever a carrier may have something to say. Null while it goes on. */
  poll(now: Millis): RaceResult | null {
    for (const [carrier, way] of this.#running) {
      for (let event = carrier.pollEvent(); event; event = carrier.pollEvent()) {
        if (event.type === "established") {
          this.#running.delete(carrier);
          return { type: "won", way, carrier, peerId: event.peerId };
        }
        if (event.type !== "closed") continue;
        this.#running.delete(carrier);
        this.#reasons.push(`${way.kind === "quic" ? "QUIC" : `TLS on port ${way.port}`}: ${event.reason}`);
        this.#nextAt = now;
      }
    }
    this.handleTimeout(now);
    if (this.#running.size > 0 || this.#waiting.length > 0) return null;
    return { type: "lost", reason: this.#reasons.join("; ") };
  }

  #start(way: Way): void {
    try {
      this.#running.set(this.#open(way), way);
    } catch (error) {
      this.#reasons.push((error as Error).message);
    }
  }
}
