import type { NativeConnection } from "./native.ts";

/** When the native library wants its timers looked at, on the driver's clock. Asked for only after something may have changed it. */
export class NativeTimer {
  readonly #native: NativeConnection;
  #deadline: number | null = null;
  #stale = true;

  constructor(native: NativeConnection) {
    this.#native = native;
  }

  /** Something was sent, received or set. */
  touched(): void {
    this.#stale = true;
  }

  /** The timers were looked at. */
  fired(): void {
    this.#deadline = null;
    this.#stale = true;
  }

  deadline(now: number): number | null {
    if (!this.#stale) return this.#deadline;
    this.#stale = false;
    const timeout = this.#native.timeout();
    // The binding cuts the microseconds off: a millisecond later the timer is due for certain. Asked again, the same timer would seem
    // to be a little later each time, and never be due: what was promised stands.
    const at = timeout === null ? null : now + timeout + 1;
    const promised = this.#deadline;
    const stands = at !== null && promised !== null && promised <= at && (at - promised <= 1 || timeout === 0);
    if (!stands) this.#deadline = at;
    return this.#deadline;
  }
}
