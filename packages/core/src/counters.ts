/** Counts what was dropped or refused, by reason: nonsense from the network is counted, never thrown. Reasons are literals in our code. */
export class Counters<Reason extends string> {
  /** Made at the first count: there are several of these for each connection and socket, and most stay at nothing. */
  #counts: Map<Reason, number> | null = null;

  add(reason: Reason, by = 1): void {
    this.#counts ??= new Map();
    this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + by);
  }

  addAll(other: Counters<Reason>): void {
    for (const [reason, count] of other.#counts ?? []) this.add(reason, count);
  }

  get(reason: Reason): number {
    return this.#counts?.get(reason) ?? 0;
  }

  total(): number {
    let sum = 0;
    for (const count of this.#counts?.values() ?? []) sum += count;
    return sum;
  }

  toJSON(): Record<string, number> {
    return Object.fromEntries(this.#counts ?? []);
  }
}
