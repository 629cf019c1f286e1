import type { Logger } from "@adit/core";
import { ExitError } from "@adit/program";

/** What is asked of an endpoint; the transport's Endpoint has it. */
export interface Stoppable {
  status(): { readonly sessions: readonly unknown[] };
  onStopped: ((code: string, message: string) => void) | null;
}

/** Once refused, how often it is looked whether the last session has ended, ms. */
const LOOK_EVERY_MS = 1_000;

/**
 * Resolves when the program is told to end. Rejects when the intermediate refuses it for good: at once, or, as sessions that stand need no
 * intermediate, when the last of them has ended.
 */
export function untilStopped(
  endpoint: Stoppable,
  signal: AbortSignal,
  log: Logger,
  lookEveryMs = LOOK_EVERY_MS,
): Promise<void> {
  const isUsed = (): boolean => endpoint.status().sessions.length > 0;
  const stopped = new Promise<void>((resolve, reject) => {
    let looking: ReturnType<typeof setInterval> | undefined;
    const end = (error?: ExitError): void => {
      clearInterval(looking);
      endpoint.onStopped = null;
      if (error) reject(error);
      else resolve();
    };
    endpoint.onStopped = (code, message) => {
      const refused = new ExitError("refused", message);
      if (!isUsed()) return end(refused);
      log.warn("intermediate-refused", { code, message: `${message}. The sessions that stand go on until they end` });
      looking ??= setInterval(() => {
        if (!isUsed()) end(refused);
      }, lookEveryMs);
    };
    if (signal.aborted) end();
    signal.addEventListener("abort", () => end(), { once: true });
  });
  stopped.catch(() => {}); // it may be refused before anybody waits for it
  return stopped;
}
