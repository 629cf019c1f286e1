import type { Millis } from "@adit/core";

/** How often the interfaces are looked at: no runtime tells of changes by itself. */
export const WATCH_INTERVAL_MS = 1_000;
/** The wall clock may be adjusted by this much without anybody having slept. */
export const SLEPT_MS = 3_000;

export interface NetworkChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** The machine slept, or was stopped: NATs and relays may have forgotten us. */
  readonly slept: boolean;
}

/** Notices that addresses come and go, and that time has passed in which nothing ran. */
export class NetworkWatch {
  #addresses: ReadonlySet<string>;
  #now: Millis;
  #wall: Millis;

  /** @param wall Milliseconds of the wall clock, which runs on while the machine sleeps; `now` may not. */
  constructor(now: Millis, wall: Millis, addresses: Iterable<string>) {
    this.#addresses = new Set(addresses);
    this.#now = now;
    this.#wall = wall;
  }

  /** To be called every {@link WATCH_INTERVAL_MS}. Null: nothing has changed. */
  look(now: Millis, wall: Millis, addresses: readonly string[]): NetworkChange | null {
    const added = addresses.filter((ip) => !this.#addresses.has(ip));
    const removed = [...this.#addresses].filter((ip) => !addresses.includes(ip));
    const slept = Math.max(now - this.#now, wall - this.#wall) > WATCH_INTERVAL_MS + SLEPT_MS;
    this.#addresses = new Set(addresses);
    this.#now = now;
    this.#wall = wall;
    return slept || added.length > 0 || removed.length > 0 ? { added, removed, slept } : null;
  }
}
