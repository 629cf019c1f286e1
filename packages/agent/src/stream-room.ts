import { codeOf } from "@adit/program";

/** How often those that wait try again without being told that a stream has ended, ms: the peer's word that it has comes a round trip later. */
const RETRY_MS = 50;
/** How many try at a time then. */
const RETRY_COUNT = 16;

/**
 * A session has so many streams and no more: who finds none free waits here, in the order of coming, until one has ended or its signal
 * aborts. Bounded by the connections that the listeners take.
 */
export class StreamRoom {
  readonly #waiting = new Set<() => void>();
  #timer: ReturnType<typeof setInterval> | null = null;

  /** Whether somebody waits. */
  get isFull(): boolean {
    return this.#waiting.size > 0;
  }

  /** @throws what `open` throws; `stream-limit` only once the signal has aborted. */
  async open<V>(open: () => Promise<V>, signal: AbortSignal): Promise<V> {
    for (;;) {
      try {
        return await open();
      } catch (error) {
        if (codeOf(error) !== "stream-limit") throw error;
        await this.#turn(signal);
        if (signal.aborted) throw error;
      }
    }
  }

  /** A stream has ended. */
  noteEnded(): void {
    this.#wake(1);
  }

  /** Resolves when it is worth trying again, or the signal aborts. */
  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        if (this.#waiting.size === 0) this.#stop();
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
      if (signal.aborted) return wake();
      this.#timer ??= setInterval(() => this.#wake(RETRY_COUNT), RETRY_MS);
    });
  }

  #wake(count: number): void {
    let left = count;
    for (const wake of this.#waiting) {
      if (left-- === 0) return;
      wake();
    }
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
