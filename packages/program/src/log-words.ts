import type { LogLevel } from "./logger.ts";

type Fields = Readonly<Record<string, unknown>>;

/**
 * The stable events in words. An event that is not here is written as its name and fields; null is an event that would be
 * noise to a person, shown only with `--log-level debug`.
 */
const words: Readonly<Record<string, (f: Fields) => string | null>> = {
  listening: (f) => `${str(f.service)}: listening on ${str(f.address)}`,
  registered: (f) => `registered as ${str(f.name)}${f.intermediate === undefined ? "" : ` at ${str(f.intermediate)}`}`,
  "session-start": (f) => `connected to ${peerOf(f)}${isPath(f.path) ? `, ${pathInWords(f.path)}` : ""}`,
  "path-changed": (f) => {
    const gap = typeof f.gapMs === "number" ? `, ${Math.round(f.gapMs)} ms without packets` : "";
    return `${peerOf(f)}: now ${pathInWords(f.to)}, before ${pathInWords(f.from)}${reasonOf(f)}${gap}`;
  },
  "session-end": (f) => `${peerOf(f)}: session ended${reasonOf(f)}`,
  failed: (f) => `${str(f.program)}: ${str(f.message)}`,
  "stream-open": () => null,
  "stream-close": () => null,
};

/** One line for a person. `verbose` adds the time, the level and every field. */
export function inWords(level: LogLevel, event: string, fields: Fields, verbose: boolean): string | null {
  const sentence = words[event]?.(fields);
  if (verbose) {
    const time = new Date().toISOString().slice(11, 23);
    return `${time} ${level.padEnd(5)} ${event}${sentence ? `: ${sentence}` : ""}${pairs(fields)}`;
  }
  if (sentence === null) return null;
  const prefix = event === "failed" ? "" : level === "warn" ? "warning: " : level === "error" ? "error: " : "";
  if (sentence !== undefined) return prefix + sentence;
  // A field named `message` is a sentence already.
  const { message, ...rest } = fields;
  if (typeof message === "string") return `${prefix}${message}`;
  return `${prefix}${event.replaceAll("-", " ")}${pairs(rest)}`;
}

function pairs(fields: Fields): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(
      ([key, value]) => ` ${key}=${typeof value === "string" && !/[\s"=]/.test(value) ? value : JSON.stringify(value)}`,
    )
    .join("");
}

const str = (value: unknown): string => (typeof value === "string" ? value : String(value ?? "?"));

/** The other side's name, else the beginning of its PeerId. */
function peerOf(fields: Fields): string {
  const peer = typeof fields.peer === "object" && fields.peer !== null ? (fields.peer as Fields) : null;
  const name = fields.name ?? fields.peerName ?? peer?.name ?? (typeof fields.peer === "string" ? fields.peer : null);
  if (typeof name === "string") return name;
  const id = fields.peerId ?? peer?.id;
  return typeof id === "string" ? `${id.slice(0, 8)}...` : "the peer";
}

const reasonOf = (fields: Fields): string => (typeof fields.reason === "string" ? ` (${fields.reason})` : "");

const PATHS: Readonly<Record<string, string>> = {
  relay: "over the relay",
  direct: "direct",
  suspended: "suspended",
  connecting: "connecting",
};

const isPath = (path: unknown): boolean => typeof path === "string" && path in PATHS;

const pathInWords = (path: unknown): string => PATHS[str(path)] ?? str(path);
