import type { Metric, MetricSample } from "./admin.ts";

/** Counts values by size, as Prometheus wants it: each bucket holds what is not larger than its bound. */
export class Histogram {
  readonly #bounds: readonly number[];
  /** One for each bound, and one for what is larger. */
  readonly #counts: number[];
  #sum = 0;

  /** @param bounds ascending, in the unit of the metric's name. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Array<number>(bounds.length + 1).fill(0);
  }

  add(value: number): void {
    const found = this.#bounds.findIndex((bound) => value <= bound);
    const bucket = found < 0 ? this.#bounds.length : found;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += value;
  }

  metric(name: string, help: string): Metric {
    const samples: MetricSample[] = [];
    let count = 0;
    this.#counts.forEach((of, i) => {
      count += of;
      const le = i < this.#bounds.length ? String(this.#bounds[i]) : "+Inf";
      samples.push({ suffix: "_bucket", labels: { le }, value: count });
    });
    samples.push({ suffix: "_sum", value: this.#sum }, { suffix: "_count", value: count });
    return { name, help, type: "histogram", samples };
  }
}
