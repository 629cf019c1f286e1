import { networkInterfaces } from "node:os";
import { type Clock, type Millis, monotonicClock } from "@adit/core";

/** What `node:os` tells about one address. */
export interface InterfaceAddress {
  readonly address: string;
  readonly internal: boolean;
}

/** The addresses of each interface, by its name. */
export type Interfaces = Readonly<Record<string, readonly InterfaceAddress[] | undefined>>;

/** One reading serves everybody in the process for so long: half of the shortest time between two looks of one endpoint, ms. */
export const SERVES_FOR_MS: Millis = 50;

/**
 * The machine's interfaces, read from the system at most once in {@link SERVES_FOR_MS}: a reading takes 50 us and more, and a process may
 * have thousands of endpoints, each of which looks once a second. It also takes a descriptor: when that fails (none is left, or a sandbox
 * forbids it), what was read last goes on serving.
 */
export class SystemInterfaces {
  readonly #clock: Clock;
  readonly #read: () => Interfaces;
  #last: Interfaces = {};
  #readAt: Millis = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock = monotonicClock, read: () => Interfaces = networkInterfaces) {
    this.#clock = clock;
    this.#read = read;
  }

  /** Never throws; empty when the system has never told. */
  current(): Interfaces {
    const now = this.#clock.now();
    if (now - this.#readAt < SERVES_FOR_MS) return this.#last;
    this.#readAt = now;
    try {
      this.#last = this.#read();
    } catch {
      // as documented: the last ones serve
    }
    return this.#last;
  }
}
