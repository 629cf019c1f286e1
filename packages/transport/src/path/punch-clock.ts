import { Backoff, type Deadline, earliest, type Millis, type Random } from "@adit/core";
import { PUNCH_TIMEOUT_MS } from "./actions.ts";

/** Without a direct path one is looked for again after 2 s, then 4, 8, ... 60 s, jittered. */
const AGAIN_INITIAL_MS = 2_000;
const AGAIN_MAX_MS = 60_000;
/** After a fall from a direct path the ways there were are asked so often, */
const LOOK_EVERY_MS = 1_000;
/** for so long: what ICE repeats by itself gets seconds apart soon, and most outages are short. */
const LOOK_FOR_MS = 30_000;

/** When to say that the hole punch failed, and when to try again while the session is on the relay. */
export class PunchClock {
  #at: Millis | null;
  #look: { at: Millis; readonly until: Millis } | null = null;
  #reason: string | null = null;
  readonly #random: Random;
  readonly #backoff = new Backoff({ initialMs: AGAIN_INITIAL_MS, maxMs: AGAIN_MAX_MS });

  constructor(now: Millis, random: Random) {
    this.#at = now + PUNCH_TIMEOUT_MS;
    this.#random = random;
  }

  /** Why there is no direct path, once that is known and until there is one. */
  get reason(): string | null {
    return this.#reason;
  }

  handleDirect(): void {
    this.#at = null;
    this.#look = null;
    this.#reason = null;
    this.#backoff.reset();
  }

  /** The session fell back to the relay. */
  handleRelay(now: Millis): void {
    this.#at = now + this.#backoff.next(this.#random.float());
    this.#look = { at: now + LOOK_EVERY_MS, until: now + LOOK_FOR_MS };
  }

  /** Whether the ways that do not answer are to be asked once more now. */
  pollLook(now: Millis): boolean {
    const look = this.#look;
    if (look === null || now < look.at) return false;
    look.at += LOOK_EVERY_MS;
    if (look.at >= look.until) this.#look = null;
    return true;
  }

  /**
   * `on`: where the session is, null for nowhere. `failed`, once in a row: the time for the first attempt is over; `again`: look for
   * new pairs. `explain` says why, either time.
   */
  handleTimeout(now: Millis, on: "relay" | "direct" | null, explain: () => string): "failed" | "again" | null {
    if (this.#at === null || now < this.#at) return null;
    if (on !== "relay") {
      this.#at = on === "direct" ? null : now + PUNCH_TIMEOUT_MS;
      return null;
    }
    const first = this.#backoff.attempt === 0;
    this.#at = now + this.#backoff.next(this.#random.float());
    // Anew each time: more may be known by now, of both networks. (One that was direct has another reason.)
    if (first || this.#reason !== null) this.#reason = `no direct path: ${explain()}`;
    return first ? "failed" : "again";
  }

  pollTimeout(): Deadline | null {
    const again = this.#at === null ? null : { at: this.#at, reason: "hole punching" };
    return earliest(again, this.#look === null ? null : { at: this.#look.at, reason: "lost direct path" });
  }
}
