/** A network in one process, in real time: a bottleneck with a queue, a round trip, and loss in both directions. */
import { seededRandom } from "@adit/core";

export interface Network {
  readonly rttMs: number;
  /** Of packets, in each direction. */
  readonly loss: number;
  readonly mbps: number;
  /** What does not fit into the queue of the bottleneck is dropped. */
  readonly queueMs: number;
}

/** One direction. */
export class Wire {
  readonly #network: Network;
  readonly #random: () => number;
  readonly #flying: { readonly at: number; readonly to: (data: Uint8Array) => void; readonly data: Uint8Array }[] = [];
  #freeAt = 0;
  #sent = 0;
  #waitedMs = 0;

  constructor(network: Network, random: () => number) {
    this.#network = network;
    this.#random = random;
  }

  send(now: number, data: Uint8Array, to: (data: Uint8Array) => void): void {
    const { rttMs, loss, mbps, queueMs } = this.#network;
    const startsAt = Math.max(now, this.#freeAt);
    if (startsAt - now > queueMs) return;
    this.#sent++;
    this.#waitedMs += startsAt - now;
    this.#freeAt = startsAt + (data.length * 8) / (mbps * 1000);
    if (this.#random() >= loss) this.#flying.push({ at: this.#freeAt + rttMs / 2, to, data });
  }

  get meanWaitMs(): number {
    return this.#waitedMs / Math.max(1, this.#sent);
  }

  deliver(now: number): void {
    let count = 0;
    while ((this.#flying[count]?.at ?? Number.POSITIVE_INFINITY) <= now) count++;
    for (const { to, data } of this.#flying.splice(0, count)) to(data);
  }
}

/** Both directions, for one run or for several that share it. */
export class Link {
  readonly up: Wire;
  readonly down: Wire;

  constructor(network: Network, seed: number) {
    const random = seededRandom(seed);
    const uniform = () => new DataView(random.bytes(4).buffer).getUint32(0) / 2 ** 32;
    this.up = new Wire(network, uniform);
    this.down = new Wire(network, uniform);
  }
}
