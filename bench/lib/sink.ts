/** What a receiver tells of a transfer: from the first byte on, so that no handshake counts. */
export interface Received {
  readonly bytes: number;
  readonly ms: number;
  /** CPU time of the receiving process in that time, ms. */
  readonly cpuMs: number;
  /** How long the first {@link FIRST_BYTES} took, ms; null where no more came. */
  readonly firstMs: number | null;
}

/** Runtimes compile what is hot while it runs: a transfer is slower at first. What that costs shows in so many bytes. */
export const FIRST_BYTES = 200_000_000;

/** Counts what comes on all streams of a transfer. */
export class SinkMeter {
  #bytes = 0;
  #startedAt: number | null = null;
  #cpuAtStart = process.cpuUsage();
  #firstMs: number | null = null;

  take(bytes: number): void {
    if (this.#startedAt === null) {
      this.#startedAt = performance.now();
      this.#cpuAtStart = process.cpuUsage();
    }
    this.#bytes += bytes;
    if (this.#firstMs === null && this.#bytes > FIRST_BYTES) this.#firstMs = performance.now() - this.#startedAt;
  }

  get bytes(): number {
    return this.#bytes;
  }

  result(): Received {
    const { user, system } = process.cpuUsage(this.#cpuAtStart);
    const ms = performance.now() - (this.#startedAt ?? performance.now());
    return { bytes: this.#bytes, ms, cpuMs: (user + system) / 1000, firstMs: this.#firstMs };
  }
}

/** A line for the process that started this one. */
export function tell(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
