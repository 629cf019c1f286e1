import { type Deadline, earliest, type Millis } from "@adit/core";
import type { PairId } from "@adit/ice";
import type { KnownPair, KnownPairs } from "./known-pairs.ts";
import { ACTIVE_FOR_MS, Liveness } from "./liveness.ts";

/** While bytes move, the other pairs are measured this often. */
const STANDBY_EVERY_MS = 1_000;
/** A check of the active path was lost: for so long */
const SAMPLING_MS = 2_000;
/** all are checked this often, to learn how much each loses. */
const SAMPLE_EVERY_MS = 30;

export interface WatchVerdict {
  /** To be checked now. */
  readonly check: readonly KnownPair[];
  /** `overdue`: nothing is heard, and the first answer should have been here. */
  readonly state: "well" | "overdue" | "dead";
}

const WELL: WatchVerdict = { check: [], state: "well" };

/** Watches the path that carries the session, and beside it those that could: which checks leave when, and what they say. */
export class Watch {
  readonly liveness: Liveness;
  readonly #pairs: KnownPairs;
  #standbyAt: Millis;
  #sampling: { at: Millis; readonly until: Millis } | null = null;

  /** `activeAt`: when application bytes moved last. */
  constructor(now: Millis, active: KnownPair, activeAt: Millis, pairs: KnownPairs) {
    this.liveness = new Liveness(now, active.rtt.smoothedMs);
    this.#pairs = pairs;
    this.#standbyAt = now;
    if (now - activeAt < ACTIVE_FOR_MS) this.liveness.handleActivity(now);
  }

  /** The best other pair that answers while the active one is silent beyond its round trip; null when there is none. */
  spare(now: Millis, active: KnownPair): PairId | null {
    const since = this.liveness.silentSince(now);
    return since === null ? null : (this.#pairs.standing(since, active.pair.id)?.pair.id ?? null);
  }

  handleTimeout(now: Millis, active: KnownPair): WatchVerdict {
    const verdict = this.liveness.handleTimeout(now);
    switch (verdict) {
      case "dead":
        return { check: [], state: "dead" };
      case "check":
      case "overdue":
        if (this.liveness.state === "verifying") this.#sampling ??= { at: now, until: now + SAMPLING_MS };
        return { check: [...this.#pairs.all()], state: verdict === "overdue" ? "overdue" : "well" };
      case "measure":
        if (now < this.#standbyAt) return { check: [active], state: "well" };
        this.#standbyAt = now + STANDBY_EVERY_MS;
        return { check: [...this.#pairs.all()], state: "well" };
      case null:
        return this.#sample(now);
    }
  }

  pollTimeout(): Deadline | null {
    const sample = this.#sampling === null ? null : { at: this.#sampling.at, reason: "loss sampling" };
    return earliest(this.liveness.pollTimeout(), sample);
  }

  #sample(now: Millis): WatchVerdict {
    const sampling = this.#sampling;
    if (sampling === null || now < sampling.at) return WELL;
    if (now >= sampling.until || this.liveness.state === "idle") {
      this.#sampling = null;
      return WELL;
    }
    sampling.at = now + SAMPLE_EVERY_MS;
    return { check: [...this.#pairs.all()], state: "well" };
  }
}
