/** Of the peer's earlier generations, kept to know late messages by; the oldest goes first. */
const MAX_GENERATIONS = 64;

/** The ICE generations that a peer has announced, by username fragment: a late copy of an old one begins nothing. */
export class Generations {
  readonly #ufrags = new Set<string>();

  has(ufrag: string): boolean {
    return this.#ufrags.has(ufrag);
  }

  add(ufrag: string): void {
    this.#ufrags.add(ufrag);
    if (this.#ufrags.size <= MAX_GENERATIONS) return;
    for (const oldest of this.#ufrags) {
      this.#ufrags.delete(oldest);
      return;
    }
  }
}
