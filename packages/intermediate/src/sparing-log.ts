/** A log that strangers cannot fill: whoever makes keys in masses has a line written for each, at info and above. */
import type { Clock, LogFields, Logger, Millis } from "@adit/core";

/** Lines of one event in a minute; more are counted, and told with the first line of a later minute (`suppressed`). */
export const LINES_PER_MINUTE = 600;

const MINUTE_MS = 60_000;

/** Trace and debug are written as they come: who asks for them wants all. Events are words of the program's, so that there are few. */
export function sparingLog(log: Logger, clock: Clock): Logger {
  const minutes = new Map<string, { since: Millis; lines: number }>();
  const sparing =
    (write: (event: string, fields?: LogFields) => void) =>
    (event: string, fields: LogFields = {}): void => {
      const now = clock.now();
      const minute = minutes.get(event);
      if (minute && now < minute.since + MINUTE_MS) {
        if (++minute.lines <= LINES_PER_MINUTE) write(event, fields);
        return;
      }
      minutes.set(event, { since: now, lines: 1 });
      const suppressed = (minute?.lines ?? 0) - LINES_PER_MINUTE;
      write(event, suppressed > 0 ? { ...fields, suppressed } : fields);
    };
  return {
    trace: (event, fields) => log.trace(event, fields),
    debug: (event, fields) => log.debug(event, fields),
    info: sparing((event, fields) => log.info(event, fields)),
    warn: sparing((event, fields) => log.warn(event, fields)),
    error: sparing((event, fields) => log.error(event, fields)),
  };
}
