/** What a receiver tells of a transfer: from the first byte on, so that no handshake counts. */
export interface Received {
  readonly bytes: number;
  readonly ms: number;
  /** CPU time of the receiving process in that time, ms. */
  readonly cpuMs: number;
}

/** Counts what comes on all streams of a transfer. */
export class SinkMeter {
  #bytes = 0;
  #startedAt: number | null = null;
  #cpuAtStart = process.cpuUsage();

  take(bytes: number): void {
    if (this.#startedAt === null) {
      this.#startedAt = performance.now();
      this.#cpuAtStart = process.cpuUsage();
    }
    this.#bytes += bytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  result(): Received {
    const { user, system } = process.cpuUsage(this.#cpuAtStart);
    const ms = performance.now() - (this.#startedAt ?? performance.now());
    return { bytes: this.#bytes, ms, cpuMs: (user + system) / 1000 };
  }
}

/** A line for the process that started this one. */
export function tell(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
