/** What an application sees of a path change: the time between two chunks of its data. */
import { readFileSync } from "node:fs";

export interface Gap {
  /** When the silence began; milliseconds since 1970. */
  readonly atMs: number;
  readonly ms: number;
  /** Bytes received before it. */
  readonly offset: number;
}

/** Silences shorter than this are the work of the scheduler. */
const SHORTEST_GAP_MS = 2;
/** At most this many are kept, the longest. */
const MAX_GAPS = 200;

/** Collects the silences between chunks. */
export class Gaps {
  #lastMs: number | null = null;
  #gaps: Gap[] = [];

  chunk(nowMs: number, offsetBefore: number): void {
    if (this.#lastMs !== null && nowMs - this.#lastMs >= SHORTEST_GAP_MS) {
      this.#gaps.push({ atMs: this.#lastMs, ms: round(nowMs - this.#lastMs), offset: offsetBefore });
      if (this.#gaps.length > 2 * MAX_GAPS) this.#gaps = this.longest();
    }
    this.#lastMs = nowMs;
  }

  longest(): Gap[] {
    return [...this.#gaps].sort((a, b) => b.ms - a.ms).slice(0, MAX_GAPS);
  }
}

/** Milliseconds since 1970, with a fraction. */
export const epochMs = (): number => performance.timeOrigin + performance.now();

export const round = (ms: number): number => Math.round(ms * 10) / 10;

/**
 * The longest silence that touches the time from `fromMs` to `toMs`, of those that a client's or a service's log reports.
 * A gap of 0 means that none was long enough to be kept.
 */
export function largestGap(log: string, fromMs: number, toMs: number): Gap {
  let largest: Gap = { atMs: fromMs, ms: 0, offset: 0 };
  for (const line of readFileSync(log, "utf8").split("\n")) {
    if (!line.includes('"gaps"')) continue;
    const { gaps } = JSON.parse(line) as { gaps: Gap[] };
    for (const gap of gaps) {
      if (gap.atMs <= toMs && gap.atMs + gap.ms >= fromMs && gap.ms > largest.ms) largest = gap;
    }
  }
  return largest;
}
