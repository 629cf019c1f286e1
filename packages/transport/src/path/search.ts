import { Backoff, type Deadline, type Millis, type Random } from "@adit/core";
import { RESTART_AFTER_MS, STRANDED_CHECK_MS } from "./actions.ts";

/** A suspended session looks round this many times as seldom. */
const SUSPENDED_FACTOR = 10;

/** The clocks of a session that no path carries: when to check every pair, and when to look for new ones by an ICE restart. */
export class Search {
  readonly #random: Random;
  readonly #backoff = new Backoff({ initialMs: 2_000, maxMs: 30_000 });
  #checkEveryMs = STRANDED_CHECK_MS;
  #checkAt: Millis = 0;
  #restartAt: Millis = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Nothing stands from now on; `hasPairs`: there are pairs to check, which get some time before new ones are looked for. */
  start(now: Millis, hasPairs: boolean): void {
    this.#backoff.reset();
    this.#checkEveryMs = STRANDED_CHECK_MS;
    this.#checkAt = now;
    this.#restartAt = hasPairs ? now + RESTART_AFTER_MS : now;
  }

  /** There is reason for hope: nothing waits any more. */
  hasten(now: Millis): void {
    this.#backoff.reset();
    this.#checkAt = now;
    this.#restartAt = now;
  }

  /** A restart has been answered: its pairs get their time before the next one does away with them. */
  handleRestarted(now: Millis): void {
    this.#restartAt = Math.max(this.#restartAt, now + RESTART_AFTER_MS);
  }

  /** It will take longer. */
  suspend(now: Millis): void {
    this.#checkEveryMs = STRANDED_CHECK_MS * SUSPENDED_FACTOR;
    this.#checkAt = now;
    this.#restartAt = now;
  }

  handleTimeout(now: Millis): { readonly check: boolean; readonly restart: boolean } {
    const check = now >= this.#checkAt;
    const restart = now >= this.#restartAt;
    if (check) this.#checkAt = now + this.#checkEveryMs;
    if (restart) this.#restartAt = now + this.#backoff.next(this.#random.float());
    return { check, restart };
  }

  pollTimeout(): Deadline {
    return { at: Math.min(this.#checkAt, this.#restartAt), reason: "search for a path" };
  }
}
