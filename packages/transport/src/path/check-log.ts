import type { Millis } from "@adit/core";

/** Checks of one pair that are remembered; the oldest goes first. */
const MAX_CHECKS = 400;
/** Checks that follow each other more quickly than this meet the same moment of the path: the first of them speaks for all. */
const SPACING_MS = 25;
/** A check that was not answered after its round trip and this long is held for lost; an answer that comes later takes it back. */
const LOST_AFTER_MS = 100;
/** An answer belongs to the check that left its round trip ago, give or take the time that the process took to look at it. */
const SAME_CHECK_MS = 10;

interface Sent {
  readonly at: Millis;
  answered: boolean;
}

export interface CheckCount {
  /** Checks that should have been answered by now, */
  readonly due: number;
  /** and those of them that were not; */
  readonly lost: number;
  /** how many times that began: a path that stalled once lost many in one run. */
  readonly runs: number;
}

/** What became of the liveness checks on one pair. Bulk data is no evidence: its losses are congestion's, and wanted. */
export class CheckLog {
  #sent: Sent[] = [];

  handleSent(now: Millis): void {
    const last = this.#sent.at(-1);
    if (last && now - last.at < SPACING_MS) return;
    this.#sent.push({ at: now, answered: false });
    if (this.#sent.length > MAX_CHECKS) this.#sent.shift();
  }

  handleAnswer(now: Millis, rttMs: Millis): void {
    const sentAt = now - rttMs;
    let best: Sent | null = null;
    for (const sent of this.#sent) {
      const isNearer = best === null || Math.abs(sent.at - sentAt) < Math.abs(best.at - sentAt);
      if (!sent.answered && isNearer) best = sent;
    }
    if (best && Math.abs(best.at - sentAt) <= SAME_CHECK_MS) best.answered = true;
  }

  /** Of the checks that were sent at or after `since`; `rttMs`: the pair's round trip. */
  count(now: Millis, since: Millis, rttMs: Millis): CheckCount {
    let due = 0;
    let lost = 0;
    let runs = 0;
    let wasLost = false;
    for (const { at, answered } of this.#sent) {
      if (at < since || (!answered && at + rttMs + LOST_AFTER_MS > now)) continue;
      due++;
      if (!answered) lost++;
      if (!answered && !wasLost) runs++;
      wasLost = !answered;
    }
    return { due, lost, runs };
  }
}
