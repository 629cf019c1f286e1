import type { Clock, Millis } from "@adit/core";

/** A scheduled call; `cancel` is idempotent and harmless after it ran. */
export interface Scheduled {
  readonly at: Millis;
  cancel(): void;
}

interface Entry extends Scheduled {
  readonly sequence: number;
  fn: (() => void) | null;
}

/**
 * Virtual time: starts at 0 and moves only when told to. Calls due at the same instant run in the order in which they were
 * scheduled, so a run is a function of its inputs.
 */
export class VirtualClock implements Clock {
  #now: Millis = 0;
  #sequence = 0;
  /** A binary min-heap by (at, sequence). */
  readonly #heap: Entry[] = [];

  now(): Millis {
    return this.#now;
  }

  /** When the next scheduled call is due, or null. */
  get nextAt(): Millis | null {
    this.#dropCancelled();
    return this.#heap[0]?.at ?? null;
  }

  /** Calls `fn` at time `at`; a time in the past means now (still from the run loop, never from inside this call). */
  schedule(at: Millis, fn: () => void): Scheduled {
    if (Number.isNaN(at)) throw new RangeError("cannot schedule at NaN");
    const entry: Entry = {
      at: Math.max(at, this.#now),
      sequence: this.#sequence++,
      fn,
      cancel: () => {
        entry.fn = null;
      },
    };
    this.#push(entry);
    return entry;
  }

  /** Runs the next scheduled call, moving time to it. False when there is none. */
  step(): boolean {
    this.#dropCancelled();
    const entry = this.#pop();
    if (!entry) return false;
    this.#now = entry.at;
    const fn = entry.fn;
    entry.fn = null;
    fn?.();
    return true;
  }

  /** Runs everything due up to and including `at`, then stands at `at`. */
  runUntil(at: Millis): void {
    for (let next = this.nextAt; next !== null && next <= at; next = this.nextAt) this.step();
    this.#now = Math.max(this.#now, at);
  }

  /** {@link runUntil} `now + ms`. */
  advance(ms: Millis): void {
    this.runUntil(this.#now + ms);
  }

  /**
   * Runs until `done()` holds, looking after each call. Returns whether it did before `timeoutMs` of virtual time passed or
   * nothing was left to run.
   */
  runUntilDone(done: () => boolean, timeoutMs: Millis): boolean {
    const limit = this.#now + timeoutMs;
    while (!done()) {
      const next = this.nextAt;
      if (next === null || next > limit) {
        this.#now = limit;
        return done();
      }
      this.step();
    }
    return true;
  }

  #dropCancelled(): void {
    while (this.#heap[0] && this.#heap[0].fn === null) this.#pop();
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let i = heap.push(entry) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent] as Entry;
      if (before(above, entry)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = entry;
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (!last || last === top) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child++;
      if (before(last, heap[child] as Entry)) break;
      heap[i] = heap[child] as Entry;
      i = child;
    }
    heap[i] = last;
    return top;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}
