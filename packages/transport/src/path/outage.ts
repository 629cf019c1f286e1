import { type Deadline, earliest, type Millis, type Random } from "@adit/core";
import type { SessionPath } from "../status.ts";
import { goneAfterMs, SUSPEND_AFTER_MS, SUSPEND_LIMIT_MS } from "./actions.ts";
import { DEAD_AFTER_MIN_MS } from "./liveness.ts";
import { Search } from "./search.ts";

export interface OutageVerdict {
  /** Every pair is to be checked. */
  readonly check: boolean;
  /** New pairs are to be looked for. */
  readonly restart: boolean;
  /** `suspended`: from now on, for it has lasted long; else why the session is over. */
  readonly becomes: "suspended" | "peer-gone" | "timeout" | null;
}

/** The time in which nothing carries a session: it is stranded first, then suspended, and at last it ends. */
export class Outage {
  /** On which path it was. */
  readonly was: SessionPath;
  readonly #search: Search;
  readonly #goneAfterMs: Millis;
  #since: Millis;
  #isSuspended = false;

  /** `hasPairs`: there are pairs to check, which get some time before new ones are looked for. `roundTripMs`: the longest that is known. */
  constructor(now: Millis, was: SessionPath, hasPairs: boolean, roundTripMs: Millis, random: Random) {
    this.was = was;
    this.#goneAfterMs = goneAfterMs(roundTripMs);
    this.#since = now;
    this.#search = new Search(random);
    this.#search.start(now, hasPairs);
  }

  get isSuspended(): boolean {
    return this.#isSuspended;
  }

  /** Since when nothing has answered: that time counts when the peer is known to be gone. */
  goneSince(now: Millis): Millis {
    return this.#isSuspended ? now : this.#since - DEAD_AFTER_MIN_MS;
  }

  /** There is reason for hope: nothing waits any more. */
  hasten(now: Millis): void {
    this.#search.hasten(now);
  }

  /** The peer has answered an ICE restart. */
  handleRestarted(now: Millis): void {
    this.#search.handleRestarted(now);
  }

  /** `goneSince`: since when the peer is said to be gone, null when it is not. */
  handleTimeout(now: Millis, goneSince: Millis | null): OutageVerdict {
    if (goneSince !== null && now >= goneSince + this.#goneAfterMs) return { ...NOTHING, becomes: "peer-gone" };
    if (this.#isSuspended && now >= this.#since + SUSPEND_LIMIT_MS) return { ...NOTHING, becomes: "timeout" };
    const becomesSuspended = !this.#isSuspended && now >= this.#since + SUSPEND_AFTER_MS;
    if (becomesSuspended) {
      this.#isSuspended = true;
      this.#since = now;
      this.#search.suspend(now);
    }
    return { ...this.#search.handleTimeout(now), becomes: becomesSuspended ? "suspended" : null };
  }

  pollTimeout(goneSince: Millis | null): Deadline | null {
    const limitAt = this.#since + (this.#isSuspended ? SUSPEND_LIMIT_MS : SUSPEND_AFTER_MS);
    const goneAt = goneSince === null ? Number.POSITIVE_INFINITY : goneSince + this.#goneAfterMs;
    return earliest(this.#search.pollTimeout(), { at: Math.min(limitAt, goneAt), reason: "outage" });
  }
}

const NOTHING = { check: false, restart: false } as const;
