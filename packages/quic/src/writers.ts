/** What the queue needs of a stream. */
export interface Writer {
  /** Whether it has sent so much lately that others with little to say go before it. */
  readonly isBulk: boolean;
  /** Lets it go on if there is room now. False: there was none, and it waits in its place. */
  pumpWritable(): boolean;
}

/** Bulk that waited while others were served so often goes first once: it is held up, and never stopped. */
const MAX_PASSED = 8;

/**
 * Streams whose last write was not taken whole. The congestion window is shared out here: the first that is asked takes all there is. So
 * streams with little to say are asked first, and among equals who was served goes behind those that were not.
 */
export class Writers {
  readonly #light = new Set<Writer>();
  readonly #bulk = new Set<Writer>();
  #passed = 0;
  /** The one that is being asked; null once it has come back. */
  #asked: Writer | null = null;

  /** How many wait. */
  get size(): number {
    return this.#light.size + this.#bulk.size;
  }

  /** It waits, behind all others of its kind. */
  add(writer: Writer): void {
    if (writer === this.#asked) this.#asked = null;
    this.delete(writer);
    (writer.isBulk ? this.#bulk : this.#light).add(writer);
  }

  delete(writer: Writer): void {
    this.#light.delete(writer);
    this.#bulk.delete(writer);
  }

  clear(): void {
    this.#light.clear();
    this.#bulk.clear();
  }

  /** Asks everyone, each once. */
  pump(): void {
    if (this.#bulk.size === 0) this.#passed = 0;
    if (this.#passed >= MAX_PASSED) {
      this.#passed = 0;
      this.#serve(this.#bulk);
      this.#serve(this.#light);
      return;
    }
    if (this.#serve(this.#light) && this.#bulk.size > 0) this.#passed++;
    if (this.#serve(this.#bulk)) this.#passed = 0;
  }

  /** Whether anyone was served. Those that were not keep their places. */
  #serve(writers: ReadonlySet<Writer>): boolean {
    let any = false;
    for (const writer of [...writers]) {
      this.#asked = writer;
      const served = writer.pumpWritable();
      const again = this.#asked === null;
      this.#asked = null;
      if (!served) continue;
      any = true;
      if (!again) this.delete(writer);
    }
    return any;
  }
}
