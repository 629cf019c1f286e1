/** Counts what was dropped or refused, by reason: nonsense from the network is counted, never thrown. Reasons are literals in our code. */
export class Counters<Reason extends string> {
  readonly #counts = new Map<Reason, number>();

  add(reason: Reason, by = 1): void {
    this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + by);
  }

  get(reason: Reason): number {
    return this.#counts.get(reason) ?? 0;
  }

  total(): number {
    let sum = 0;
    for (const count of this.#counts.values()) sum += count;
    return sum;
  }

  toJSON(): Record<string, number> {
    return Object.fromEntries(this.#counts);
  }
}
