import type { Deadline, Millis } from "@adit/core";
import type { FailureCause, KnownPair, KnownPairs } from "./known-pairs.ts";
import { isWorthMoving, LEAVE_DIRECT_AFTER_MS, losesTooMuch, shouldUseDirect } from "./preference.ts";
import type { SlotTable } from "./slots.ts";

/**
 * A pair to have validated, and why; `blame`: what is wrong with the active one. `standby` is prepared so that falling back to it needs
 * nothing more.
 */
export type Choice =
  | { readonly purpose: "standby"; readonly known: KnownPair }
  | {
      readonly purpose: "move";
      readonly known: KnownPair;
      readonly reason: string;
      readonly blame: FailureCause | null;
    };

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
      const isBetter = direct !== null && shouldUseDirect(direct.rtt.minMs, active.rtt.minMs);
      return isBetter
        ? moveTo(direct, compared(direct, active))
        : this.#prepare(this.#pairs.best(now, "relay", active));
    }
    const relay = this.#pairs.best(now, "relay");
    if (direct && direct !== active && isWorthMoving(direct, active)) return moveTo(direct, compared(direct, relay));
    if (!relay) return null;
    const standby = this.#prepare(relay);
    if (standby) return standby;
    const loss = losesTooMuch(now, active, relay);
    if (loss !== null) return moveTo(relay, `the direct path lost ${loss.lost} of ${loss.due} checks`, "lossy");
    if (!this.#isTooSlow(now, active, relay)) return null;
    return moveTo(relay, "the relay is quicker than the direct path", "slow");
  }

  /** The relay that is fallen back to, or another one where a relay carries the session. */
  #prepare(relay: KnownPair | null): Choice | null {
    const isReady = relay === null || this.#slots.slotOf(relay.pair.id) !== null;
    return isReady ? null : { purpose: "standby", known: relay };
  }

  pollTimeout(): Deadline | null {
    return this.#slowSince === null
      ? null
      : { at: this.#slowSince + LEAVE_DIRECT_AFTER_MS, reason: "slow direct path" };
  }

  #isTooSlow(now: Millis, active: KnownPair, relay: KnownPair): boolean {
    if (shouldUseDirect(active.rtt.minMs, relay.rtt.minMs)) this.#slowSince = null;
    else this.#slowSince ??= now;
    if (this.#slowSince === null || now < this.#slowSince + LEAVE_DIRECT_AFTER_MS) return false;
    this.#slowSince = null;
    return true;
  }
}

const moveTo = (known: KnownPair, reason: string, blame: FailureCause | null = null): Choice => ({
  purpose: "move",
  known,
  reason,
  blame,
});

function compared(direct: KnownPair, relay: KnownPair | null): string {
  const answers = `a direct pair answers in ${formatMs(direct.rtt.minMs)}`;
  return relay === null || relay.rtt.minMs === null ? answers : `${answers}, the relay ${formatMs(relay.rtt.minMs)}`;
}

const formatMs = (ms: Millis | null): string => (ms === null ? "an unknown time" : `${ms.toFixed(1)} ms`);
