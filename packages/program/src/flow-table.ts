import type { Clock, Logger, Millis } from "@adit/core";
import type { Datagrams } from "./datagrams.ts";

/** What either end of UDP services is given. */
export interface UdpFlowsOptions {
  readonly datagrams: Datagrams;
  readonly log: Logger;
  /** A flow without datagrams for so long is closed. */
  readonly idleMs: Millis;
  readonly clock?: Clock;
  readonly maxFlows?: number;
}

export interface FlowTableOptions {
  /** When it is full, the flow that was silent longest makes room. */
  readonly maxFlows: number;
  readonly idleMs: Millis;
}

/**
 * Flows by key, in the order of their last use: as a NAT keeps UDP mappings (RFC 4787 §4.3), a flow lives while datagrams go either way.
 * Without timers: {@link takeIdle} is asked when {@link nextIdleAt} has come.
 */
export class FlowTable<F> {
  readonly #options: FlowTableOptions;
  /** Re-inserted at each use, so that the map's order is the order of use. */
  readonly #flows = new Map<string, { readonly flow: F; usedAt: Millis }>();

  constructor(options: FlowTableOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#flows.size;
  }

  /** The flow of that key, which was used now; null when there is none. */
  use(now: Millis, key: string): F | null {
    const entry = this.#flows.get(key);
    if (!entry) return null;
    entry.usedAt = now;
    this.#flows.delete(key);
    this.#flows.set(key, entry);
    return entry.flow;
  }

  /** Takes in a flow under a key that has none; returns the one that made room for it, or null. */
  add(now: Millis, key: string, flow: F): F | null {
    let evicted: F | null = null;
    if (this.#flows.size >= this.#options.maxFlows) {
      const [oldest] = this.#flows;
      if (oldest) {
        this.#flows.delete(oldest[0]);
        evicted = oldest[1].flow;
      }
    }
    this.#flows.set(key, { flow, usedAt: now });
    return evicted;
  }

  /** Whether it was there: a key may have another flow by now. */
  delete(key: string, flow: F): boolean {
    return this.#flows.get(key)?.flow === flow && this.#flows.delete(key);
  }

  /** Takes out all that were idle for too long. */
  takeIdle(now: Millis): F[] {
    const idle: F[] = [];
    for (const [key, { flow, usedAt }] of this.#flows) {
      if (now < usedAt + this.#options.idleMs) break; // those behind it were used later
      this.#flows.delete(key);
      idle.push(flow);
    }
    return idle;
  }

  /** When the first flow will have been idle for too long; null without flows. */
  get nextIdleAt(): Millis | null {
    for (const { usedAt } of this.#flows.values()) return usedAt + this.#options.idleMs;
    return null;
  }

  /** Takes out all. */
  clear(): F[] {
    const flows = [...this.#flows.values()].map(({ flow }) => flow);
    this.#flows.clear();
    return flows;
  }
}

/** Calls back when a table has idle flows; one timer, which does not keep the program alive. */
export class IdleTimer {
  #timer: ReturnType<typeof setTimeout> | null = null;
  readonly #now: () => Millis;
  readonly #onDue: () => void;

  constructor(now: () => Millis, onDue: () => void) {
    this.#now = now;
    this.#onDue = onDue;
  }

  /** A flow that was used since only makes it come too early, once. */
  arm(at: Millis | null): void {
    if (this.#timer !== null || at === null) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#onDue();
      },
      Math.min(MAX_WAIT_MS, Math.max(1, Math.ceil(at - this.#now()))),
    );
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

/** Node turns longer timeouts into 1 ms. */
const MAX_WAIT_MS = 2 ** 31 - 1;
