import type { Millis } from "@adit/core";

/** Rounding and delays on the way, s. */
const SLACK_SECONDS = 2;

/**
 * Notices from the seconds that a router says it has been up whether it has lost its mappings. The stricter test of RFC 6887 §8.5
 * serves NAT-PMP too (RFC 6886 §3.6 asks only whether the count fell behind): the two clocks may drift apart by a sixteenth.
 */
export class EpochClock {
  #last: { readonly at: Millis; readonly seconds: number } | null = null;

  /** False: mappings made before this answer are gone. */
  check(now: Millis, seconds: number): boolean {
    const last = this.#last;
    this.#last = { at: now, seconds };
    if (last === null) return true;
    if (seconds + 1 < last.seconds) return false;
    const clientSeconds = (now - last.at) / 1000;
    const serverSeconds = seconds - last.seconds;
    return (
      clientSeconds + SLACK_SECONDS >= serverSeconds - serverSeconds / 16 &&
      serverSeconds + SLACK_SECONDS >= clientSeconds - clientSeconds / 16
    );
  }
}
