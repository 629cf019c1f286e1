/** Datagrams that wait to be read; further ones are dropped and counted, as a socket's buffer does. */
export const MAX_QUEUED_DATAGRAMS = 1024;

type End = { readonly kind: "open" } | { readonly kind: "done" } | { readonly kind: "failed"; readonly error: Error };

/** A bounded queue between what arrives and one reader. */
export class DatagramQueue implements AsyncIterator<Uint8Array, undefined> {
  readonly #waiting: Uint8Array[] = [];
  /** Reads that wait for a datagram: one for each call of `next()`, so the reader bounds them. */
  readonly #readers: { resolve(result: IteratorResult<Uint8Array, undefined>): void; reject(error: Error): void }[] =
    [];
  #end: End = { kind: "open" };
  #dropped = 0;

  /** How many did not fit. */
  get dropped(): number {
    return this.#dropped;
  }

  push(datagram: Uint8Array): void {
    if (this.#end.kind !== "open") return;
    const reader = this.#readers.shift();
    if (reader) reader.resolve({ done: false, value: datagram });
    else if (this.#waiting.length < MAX_QUEUED_DATAGRAMS) this.#waiting.push(datagram);
    else this.#dropped++;
  }

  /** What is queued can still be read; then it ends, with an error when one is given. */
  end(error: Error | null = null): void {
    if (this.#end.kind !== "open") return;
    this.#end = error ? { kind: "failed", error } : { kind: "done" };
    for (const reader of this.#readers.splice(0)) {
      if (error) reader.reject(error);
      else reader.resolve({ done: true, value: undefined });
    }
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const value = this.#waiting.shift();
    if (value) return Promise.resolve({ done: false, value });
    switch (this.#end.kind) {
      case "done":
        return Promise.resolve({ done: true, value: undefined });
      case "failed":
        return Promise.reject(this.#end.error);
      case "open":
        return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    }
  }
}
