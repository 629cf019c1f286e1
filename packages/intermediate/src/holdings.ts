/** How many permissions and channels all allocations hold: each may have many, for one serves all sessions of a connector, but not all of them at one time. */
import { SourceCounts } from "./ip-limits.ts";

/** Of all allocations together: a channel takes some 700 bytes. */
const MAX_IN_ALL = 262_144;
/** Of all that come from one address. */
const MAX_PER_SOURCE = 65_536;
/** What each allocation may have of either when one of these bounds is reached. */
export const FEW = 16;

export class Holdings {
  readonly #perSource = new SourceCounts();
  #all = 0;

  get size(): number {
    return this.#all;
  }

  /** Whether an allocation from there that holds `held` of a kind, `most` at most, may have `more` of it. */
  allows(source: string, held: number, more: number, most: number): boolean {
    if (held + more > most) return false;
    if (held + more <= FEW) return true;
    return this.#all + more <= MAX_IN_ALL && this.#perSource.hasRoom(source, MAX_PER_SOURCE, more);
  }

  add(source: string, by: number): void {
    this.#all += by;
    this.#perSource.add(source, by);
  }
}
