import { classifyIp } from "@adit/core";
import type { LogLevel } from "./logger.ts";

type Fields = Readonly<Record<string, unknown>>;

/**
 * The stable events in words. An event that is not here is written as its name and fields; null is an event that would be
 * noise to a person, shown only with `--log-level debug`.
 */
const words: Readonly<Record<string, (f: Fields) => string | null>> = {
  listening: (f) => `${str(f.service)}: listening on ${str(f.address)}`,
  registered: (f) =>
    f.name === undefined ? `connected to the intermediate${at(f)}` : `registered as ${str(f.name)}${at(f)}`,
  "signaling-down": (f) =>
    `the intermediate${f.intermediate === undefined ? "" : ` ${str(f.intermediate)}`} is out of reach${reasonOf(f)}; trying again`,
  "register-refused": (f) => `${str(f.message)}; trying again`,
  "port-mapped": (f) =>
    `the router ${str(f.gateway)} opened ${str(f.external)} for this program (${str(f.protocol)})${f.isPublic === true ? "" : ", which is not public: another NAT follows"}`,
  "port-mapping-lost": (f) => `the router's port ${str(f.external)} is lost: ${str(f.why)}`,
  "router-restarted": (f) => `the router ${str(f.gateway)} has started anew`,
  "session-start": (f) => `connected to ${peerOf(f)}${isPath(f.path) ? `, ${pathInWords(f.path)}` : ""}`,
  "path-changed": (f) => {
    const gap = typeof f.gapMs === "number" ? `, ${Math.round(f.gapMs)} ms without packets` : "";
    const change = f.from === f.to ? "another way" : `before ${pathInWords(f.from)}`;
    return `${peerOf(f)}: now ${pathInWords(f.to)}, ${change}${reasonOf(f)}${gap}`;
  },
  "session-retiring": (f) => `${peerOf(f)}: the session's streams are nearly used up; another one takes over`,
  "session-end": (f) => `${peerOf(f)}: session ended${reasonOf(f)}`,
  "punch-failed": (f) => `${peerOf(f)}: no direct path for now${reasonOf(f)}`,
  "peer-not-allowed": (f) => `not let in: ${str(f.peerId)} (--allow ${str(f.peerId)} would)`,
  "relay-failed": (f) => `the relay at ${str(f.server)} gives no address${reasonOf(f)}`,
  "relay-lost": (f) => `the relay at ${str(f.server)} lost our address${reasonOf(f)}; asking for another`,
  "relay-permission-refused": (f) =>
    `the relay at ${str(f.intermediate)} lets nothing from or to ${str(f.ip)} pass (${f.code === null ? "no answer" : `STUN error ${str(f.code)}`})${
      f.code === 403 && isPrivate(f.ip)
        ? "; where private addresses are the network, start it with --allow-private-relay"
        : ""
    }`,
  "name-taken": (f) => `the name ${str(f.name)} belongs to ${str(f.peerId)} from now on`,
  "peer-registered": (f) => `${str(f.name)} is registered, from ${str(f.address)}`,
  "peer-unregistered": (f) => `${str(f.name)} has gone`,
  "peer-replaced": (f) => `${peerOf(f)} was replaced by a newer connection of its key, from ${str(f.by)}`,
  draining: (f) => `taking nothing new; ${str(f.allocations)} relayed addresses are in use`,
  drained: (f) => `done; ${str(f.allocations)} relayed addresses are in use still`,
  failed: (f) => `${str(f.program)}: ${str(f.message)}`,
  "stream-open": () => null,
  "stream-close": () => null,
  "flow-open": () => null,
  "flow-close": () => null,
  "turn-allocated": () => null,
  "turn-lost": () => null,
  "turn-failed": () => null,
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

/** Of what an intermediate may be started for with --allow-private-relay. */
const isPrivate = (ip: unknown): boolean => typeof ip === "string" && ["private", "loopback"].includes(classifyIp(ip));

const str = (value: unknown): string => (typeof value === "string" ? value : String(value ?? "?"));

const at = (fields: Fields): string => (fields.intermediate === undefined ? "" : ` at ${str(fields.intermediate)}`);

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

/** Events that come again and again while a state lasts. */
const STATES: ReadonlySet<string> = new Set(["signaling-down", "register-refused"]);
/** After these the state is another one. */
const STATE_ENDS: ReadonlySet<string> = new Set(["registered"]);
/** A state that lasts is told to a person once in so long. */
const REPEAT_MS = 60_000;

/** No more lines are remembered; then all are forgotten, and told once more. */
const REPEATS_LIMIT = 64;

/** Keeps a line that only says once more what still holds from a person. */
export class Repeats {
  readonly #toldAt = new Map<string, number>();

  /** Whether the line is news at `now`, ms. */
  isNews(now: number, event: string, line: string): boolean {
    if (STATE_ENDS.has(event)) this.#toldAt.clear();
    if (!STATES.has(event)) return true;
    const toldAt = this.#toldAt.get(line);
    if (toldAt !== undefined && now < toldAt + REPEAT_MS) return false;
    if (this.#toldAt.size >= REPEATS_LIMIT) this.#toldAt.clear();
    this.#toldAt.set(line, now);
    return true;
  }
}

/** No more names are remembered; then the oldest is forgotten. */
const NAMES_LIMIT = 1024;

/** Remembers the peer's name from a session's start, for later lines know the session and the PeerId only. */
export class PeerNames {
  readonly #names = new Map<string, string>();

  /** The fields, with the name when it is known. */
  complete(event: string, fields: Fields): Fields {
    const session = fields.session;
    if (typeof session !== "string") return fields;
    const name = this.#names.get(session);
    if (event === "session-start" && typeof fields.name === "string") {
      this.#names.set(session, fields.name);
      const [oldest] = this.#names.keys();
      if (this.#names.size > NAMES_LIMIT && oldest !== undefined) this.#names.delete(oldest);
    } else if (event === "session-end") {
      this.#names.delete(session);
    }
    return name === undefined || fields.name !== undefined ? fields : { ...fields, name };
  }
}
