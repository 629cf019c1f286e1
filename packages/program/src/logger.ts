import { writeSync } from "node:fs";
import type { LogFields, Logger } from "@adit/core";
import { pino } from "pino";
import { codeOf } from "./exit.ts";
import { inWords, PeerNames, Repeats } from "./log-words.ts";

export type LogFormat = "json" | "text";
export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";

const LEVELS: readonly LogLevel[] = ["trace", "debug", "info", "warn", "error"];

export interface LoggerOptions {
  readonly format: LogFormat;
  /** Nothing below it is written. */
  readonly level: LogLevel;
  /** Takes whole lines, newline included; stderr by default. */
  readonly write?: (line: string) => void;
}

/**
 * The log on stderr. `json`: one object a line, with `time` (RFC 3339, UTC, ms), `level`, `event` and the fields.
 * `text`: sentences for people; see log-words.ts.
 */
export function createLogger({ format, level, write = writeStderr }: LoggerOptions): Logger {
  return format === "json" ? jsonLogger(level, write) : textLogger(level, write);
}

function jsonLogger(level: LogLevel, write: (line: string) => void): Logger {
  const out = pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
  const at =
    (name: LogLevel) =>
    (event: string, fields?: LogFields): void => {
      if (out.isLevelEnabled(name)) out[name]({ event, ...(fields && plainFields(fields)) });
    };
  return { trace: at("trace"), debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function textLogger(level: LogLevel, write: (line: string) => void): Logger {
  const least = LEVELS.indexOf(level);
  const names = new PeerNames();
  const repeats = new Repeats();
  const verbose = least <= LEVELS.indexOf("debug");
  const at = (name: LogLevel): ((event: string, fields?: LogFields) => void) => {
    if (LEVELS.indexOf(name) < least) return () => {};
    return (event, fields = {}) => {
      const line = inWords(name, event, names.complete(event, plainFields(fields)), verbose);
      if (line !== null && (verbose || repeats.isNews(performance.now(), event, line)))
        write(`${printable(line, event === "failed")}\n`);
    };
  };
  return { trace: at("trace"), debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** Control characters, which may come from the other side, must not reach a terminal. Only our last words have several lines. */
const printable = (line: string, multiline: boolean): string =>
  line.replace(multiline ? /[^\P{Cc}\n]+/gu : /\p{Cc}+/gu, " ");

const OWN_KEYS: ReadonlySet<string> = new Set(["time", "level", "event"]);

/** Fields that JSON can hold. A field may not take the place of the line's own keys, so it gets an underscore. */
function plainFields(fields: LogFields): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) plain[OWN_KEYS.has(key) ? `${key}_` : key] = plainValue(value);
  return plain;
}

function plainValue(value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Error) return value.message;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return value;
}

const stall = new Int32Array(new SharedArrayBuffer(4));

/** Writes to a file descriptor now: a line must not be lost when the process ends right after it. */
export function writeNow(fd: number, text: string): void {
  let rest = Buffer.from(text);
  // A full pipe answers EAGAIN: give its reader 2 s, then let the line go; a log must not stop the program.
  for (let tries = 0; rest.length > 0 && tries < 200; ) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if (codeOf(error) !== "EAGAIN") return; // EPIPE, EBADF: nobody is reading
      tries++;
      Atomics.wait(stall, 0, 0, 10);
    }
  }
}

function writeStderr(line: string): void {
  writeNow(2, line);
}
