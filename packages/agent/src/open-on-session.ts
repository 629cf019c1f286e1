import { codeOf, ExitError } from "@adit/program";
import type { KeptSession } from "./session-keeper.ts";

/**
 * Opens something on the session that is up or comes up, until `signal` aborts. A session may end meanwhile: nothing was sent yet, so the
 * next one is asked. What comes too late goes to `drop`.
 * @throws the signal's reason; what `open` throws, but for the end of a session.
 */
export async function openOnSession<S extends KeptSession, V>(
  sessions: (signal: AbortSignal) => Promise<S>,
  open: (session: S) => Promise<V>,
  signal: AbortSignal,
  drop: (late: V) => void,
): Promise<{ readonly session: S; readonly opened: V }> {
  for (;;) {
    const session = await sessions(signal);
    try {
      return { session, opened: await orAbort(open(session), signal, drop) };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (codeOf(error) !== "closed") throw error;
      // Its `closed` settles first, so that the keeper has noticed before it is asked again.
      await orAbort(session.closed, signal, () => {});
    }
  }
}

/** What `promise` gives, or the signal's reason; what comes too late goes to `drop`. */
function orAbort<T>(promise: Promise<T>, signal: AbortSignal, drop: (late: T) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason);
      promise.then(drop, () => {});
    };
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(
      (value) => {
        signal.removeEventListener("abort", onAbort);
        if (!signal.aborted) resolve(value);
      },
      (error) => {
        signal.removeEventListener("abort", onAbort);
        reject(error);
      },
    );
    if (signal.aborted) onAbort();
  });
}

/** The services that the connector said it does not have, since it last accepted or was asked anew. */
export class UnknownServices {
  readonly #wanted: readonly string[];
  readonly #onUseless: (error: ExitError) => void;
  readonly #unknown = new Set<string>();

  /** `onUseless`: the connector has none of the services that are wanted; there is nothing left to do here. */
  constructor(wanted: readonly string[], onUseless: (error: ExitError) => void) {
    this.#wanted = wanted;
    this.#onUseless = onUseless;
  }

  noteAccepted(service: string): void {
    this.#unknown.delete(service);
  }

  noteUnknown(service: string, reason: string): void {
    this.#unknown.add(service);
    if (this.#wanted.every((name) => this.#unknown.has(name))) {
      this.#onUseless(new ExitError("refused", `the connector refuses ${service}: ${reason}`));
    }
  }
}
