import type { Deadline, Millis } from "@adit/core";
import type { KnownPair, KnownPairs } from "./known-pairs.ts";
import { isWorthMoving, LEAVE_DIRECT_AFTER_MS, shouldUseDirect } from "./preference.ts";
import type { SlotTable } from "./slots.ts";

/** A pair to have validated; `standby` is prepared so that falling back to it needs nothing more. */
export interface Choice {
  readonly known: KnownPair;
  readonly purpose: "move" | "standby";
}

/** Looks for something better than the active path, while that works. */
export class Chooser {
  readonly #pairs: KnownPairs;
  readonly #slots: SlotTable;
  #slowSince: Millis | null = null;

  constructor(pairs: KnownPairs, slots: SlotTable) {
    this.#pairs = pairs;
    this.#slots = slots;
  }

  choose(now: Millis, active: KnownPair): Choice | null {
    const direct = this.#pairs.best(now, "direct");
    if (active.pair.kind === "relay") {
      const better = direct !== null && shouldUseDirect("relay", direct.rtt.minMs, active.rtt.minMs);
      return better ? { known: direct, purpose: "move" } : null;
    }
    if (direct && direct !== active && isWorthMoving(direct, active)) return { known: direct, purpose: "move" };
    const relay = this.#pairs.best(now, "relay");
    if (!relay) return null;
    if (this.#slots.slotOf(relay.pair.id) === null) return { known: relay, purpose: "standby" };
    if (shouldUseDirect("direct", active.rtt.minMs, relay.rtt.minMs)) this.#slowSince = null;
    else this.#slowSince ??= now;
    if (this.#slowSince === null || now < this.#slowSince + LEAVE_DIRECT_AFTER_MS) return null;
    this.#slowSince = null;
    return { known: relay, purpose: "move" };
  }

  pollTimeout(): Deadline | null {
    return this.#slowSince === null
      ? null
      : { at: this.#slowSince + LEAVE_DIRECT_AFTER_MS, reason: "slow direct path" };
  }
}
