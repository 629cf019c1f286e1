import { type Deadline, earliest, type Millis } from "@adit/core";
import type { PeerId } from "@adit/quic";
import type { Carrier } from "./carrier.ts";

/** One way to the intermediate. */
export type Way = { readonly kind: "quic" } | { readonly kind: "tls"; readonly port: number };

/** QUIC has the field to itself for this long; then TLS starts beside it, and after as long again the next one, ms. */
export const HEAD_START_MS = 300;

/** A way that was refused is tried again after this while another one still runs: UDP is not refused where it is blocked, it is silent, ms. */
export const REFUSED_AGAIN_MS = 1_000;

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

/** A way to one of the addresses behind the intermediate's name. */
export type AddressedWay = Way & { readonly ip: string };

/** The ways to each address, in the order of trying: each address begins one step behind the one before, so that a dead one holds nobody up. */
export function waysOver(
  ips: readonly string[],
  ways: readonly (readonly Way[])[],
): readonly (readonly AddressedWay[])[] {
  const steps = Array.from({ length: ips.length + ways.length - 1 }, (): AddressedWay[] => []);
  for (const [i, ip] of ips.entries()) {
    for (const [j, step] of ways.entries()) for (const way of step) steps[i + j]?.push({ ...way, ip });
  }
  return steps;
}

export type RaceResult<W extends Way> =
  | { readonly type: "won"; readonly way: W; readonly carrier: Carrier; readonly peerId: PeerId }
  | { readonly type: "lost"; readonly reason: string };

/** Tries several ways at one time; the first that is established wins. Sans-IO but for what `open` does. */
export class CarrierRace<W extends Way> {
  readonly #open: (way: W) => Carrier;
  readonly #waiting: (readonly W[])[];
  readonly #running = new Map<Carrier, W>();
  /** Refused ones; as many as there are ways, at most. */
  readonly #again: { readonly way: W; readonly at: Millis }[] = [];
  readonly #reasons = new Set<string>();
  #nextAt: Millis;

  /** `open` throws when a way cannot even be tried. */
  constructor(now: Millis, ways: readonly (readonly W[])[], open: (way: W) => Carrier) {
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
    for (let next = this.#again[0]; next && now >= next.at; next = this.#again[0]) {
      this.#again.shift();
      this.#start(next.way);
    }
    while (this.#waiting.length > 0 && now >= this.#nextAt) {
      this.#nextAt = now + HEAD_START_MS;
      for (const way of this.#waiting.shift() ?? []) this.#start(way);
      // None of them could be tried: nobody is waited for.
      if (this.#running.size === 0) this.#nextAt = now;
    }
  }

  pollTimeout(): Deadline | null {
    const next = this.#waiting.length > 0 ? { at: this.#nextAt, reason: "the next way to the intermediate" } : null;
    const [again] = this.#again;
    return earliest(next, again ? { at: again.at, reason: "a refused way to the intermediate" } : null);
  }

  /** To be called whenever a carrier may have something to say. Null while it goes on. */
  poll(now: Millis): RaceResult<W> | null {
    for (const [carrier, way] of this.#running) {
      for (let event = carrier.pollEvent(); event; event = carrier.pollEvent()) {
        if (event.type === "established") {
          this.#running.delete(carrier);
          return { type: "won", way, carrier, peerId: event.peerId };
        }
        if (event.type !== "closed") continue;
        this.#running.delete(carrier);
        this.#reasons.add(`${way.kind === "quic" ? "QUIC" : `TLS on port ${way.port}`}: ${event.reason}`);
        this.#nextAt = now;
        this.#again.push({ way, at: now + REFUSED_AGAIN_MS });
      }
    }
    this.handleTimeout(now);
    if (this.#running.size > 0 || this.#waiting.length > 0) return null;
    return { type: "lost", reason: [...this.#reasons].join("; ") };
  }

  #start(way: W): void {
    try {
      this.#running.set(this.#open(way), way);
    } catch (error) {
      this.#reasons.add((error as Error).message);
    }
  }
}
