/** The next deadline of each of many: looking at those that are due costs what is due, not what exists. */
import type { Millis } from "@adit/core";

/** Deadlines that are so close are one. */
export const DEADLINE_GRANULARITY_MS = 10;

export class Deadlines<T> {
  readonly #slots = new Map<number, Set<T>>();
  readonly #slotOf = new Map<T, number>();
  /** No slot is earlier. */
  #earliest = Number.POSITIVE_INFINITY;

  get size(): number {
    return this.#slotOf.size;
  }

  /** Never early, and late by {@link DEADLINE_GRANULARITY_MS} at most; null when there is none. */
  get next(): Millis | null {
    return this.#earliest === Number.POSITIVE_INFINITY ? null : this.#earliest * DEADLINE_GRANULARITY_MS;
  }

  /** Replaces the item's deadline; null: it has none. */
  set(item: T, at: Millis | null): void {
    const before = this.#slotOf.get(item);
    const slot = at === null ? undefined : Math.ceil(at / DEADLINE_GRANULARITY_MS);
    if (before === slot) return;
    if (before !== undefined) this.#remove(item, before);
    if (slot === undefined) return;
    const items = this.#slots.get(slot);
    if (items) items.add(item);
    else this.#slots.set(slot, new Set([item]));
    this.#slotOf.set(item, slot);
    this.#earliest = Math.min(this.#earliest, slot);
  }

  /** Takes out all that are due. */
  take(now: Millis): T[] {
    const due: T[] = [];
    while (this.#earliest * DEADLINE_GRANULARITY_MS <= now) {
      for (const item of this.#slots.get(this.#earliest) ?? []) {
        due.push(item);
        this.#slotOf.delete(item);
      }
      this.#slots.delete(this.#earliest);
      this.#findEarliest();
    }
    return due;
  }

  #remove(item: T, slot: number): void {
    const items = this.#slots.get(slot);
    items?.delete(item);
    this.#slotOf.delete(item);
    if (items?.size !== 0) return;
    this.#slots.delete(slot);
    if (slot === this.#earliest) this.#findEarliest();
  }

  /** As many steps as there are slots: those of a minute are 6,000, whatever the number of items. */
  #findEarliest(): void {
    this.#earliest = Number.POSITIVE_INFINITY;
    for (const slot of this.#slots.keys()) if (slot < this.#earliest) this.#earliest = slot;
  }
}
