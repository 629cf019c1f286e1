import type { Millis } from "@adit/core";
import type { PairId } from "@adit/ice";
import type { Choice, Chooser } from "./chooser.ts";
import type { KnownPair } from "./known-pairs.ts";
import type { Outage } from "./outage.ts";
import type { SlotIndex } from "./slots.ts";
import type { Watch } from "./watch.ts";

/** A path that QUIC is validating. */
export interface Trial {
  readonly pair: PairId;
  readonly slot: SlotIndex;
  readonly choice: Choice;
  readonly giveUpAt: Millis;
}

/** Where the session's path is; each state has what it alone needs. */
export type PolicyState =
  | { readonly name: "connecting" }
  | {
      readonly name: "steady";
      readonly active: KnownPair;
      readonly watch: Watch;
      readonly chooser: Chooser;
      trial: Trial | null;
    }
  /** Nothing stands: pairs are checked, then ICE restarts. `stranded` and `suspended` in the table are its two parts. */
  | { readonly name: "outage"; readonly outage: Outage }
  | { readonly name: "ended" };
