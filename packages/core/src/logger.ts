/** Values go here as fields, not into the sentence. Keys, tickets and passwords never do. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Per packet at trace, decisions at debug, state changes at info. `event` is a stable kebab-case name. */
export interface Logger {
  trace(event: string, fields?: LogFields): void;
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

const nothing = (): void => {};

export const nullLogger: Logger = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };
