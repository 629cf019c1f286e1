import { randomBytes } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { codeOf, ExitError, sentenceOf } from "./exit.ts";
import { ensureStateDir } from "./state.ts";
import { type IntermediateAddress, intermediateAddress, isPeerId } from "./values.ts";

const PINS_FILE = "pins.json";

/** No file holds more pins of a kind. */
const PINS_LIMIT = 10_000;

const pinMap = z.record(z.string(), z.string().refine(isPeerId, "expected a PeerId (52 characters)"));
const pinsSchema = z.strictObject({ intermediates: pinMap.default({}), peers: pinMap.default({}) });
type PinTables = z.output<typeof pinsSchema>;
export type PinKind = keyof PinTables;

/**
 * Which key an intermediate's address, and a connector's name, first led to: `pins.json` in the state directory. Each use
 * reads the file anew, so that `forget` reaches a running program.
 */
export class Pins {
  readonly path: string;
  readonly #program: string;

  constructor(stateDir: string, program: string) {
    this.path = join(ensureStateDir(stateDir), PINS_FILE);
    this.#program = program;
  }

  /** @throws ExitError `usage` when the file is damaged. */
  get(kind: PinKind, key: string): string | null {
    const table = this.#read()[kind];
    return Object.hasOwn(table, key) ? (table[key] ?? null) : null;
  }

  /**
   * Null when `peerId` is the pinned one or is pinned now, on first use; else the sentence that says how to accept the change.
   * @throws ExitError `usage` when the file is damaged or cannot be written.
   */
  check(kind: PinKind, key: string, peerId: string): string | null {
    const pinned = this.get(kind, key);
    if (pinned === peerId) return null;
    if (pinned !== null) return this.changed(kind, key, pinned, peerId);
    const pins = this.#read();
    if (Object.keys(pins[kind]).length >= PINS_LIMIT) {
      throw new ExitError("usage", `${this.path} holds ${PINS_LIMIT} pins; remove those that are not needed`);
    }
    pins[kind][key] = peerId;
    this.#write(pins);
    return null;
  }

  /** Why `key` is refused; `found` is the PeerId it has now, when that is known. */
  changed(kind: PinKind, key: string, pinned: string, found: string | null): string {
    const what = kind === "intermediates" ? `the intermediate ${key}` : `the connector ${key}`;
    const now = found === null ? "has another PeerId now" : `has the PeerId ${found} now`;
    return (
      `${what} ${now}; before, it was ${pinned}. If its owner says that the key was changed, accept it with: ` +
      `${this.#program} forget ${key} (with the same --state-dir; it removes that line from ${this.path})`
    );
  }

  /** Forgets an intermediate's address or a connector's name. False when nothing was pinned for it. */
  forget(key: string): boolean {
    const pins = this.#read();
    let found = false;
    for (const kind of ["intermediates", "peers"] as const) {
      if (!Object.hasOwn(pins[kind], key)) continue;
      delete pins[kind][key];
      found = true;
    }
    if (found) this.#write(pins);
    return found;
  }

  /** Everything that is pinned. */
  keys(): readonly string[] {
    const { intermediates, peers } = this.#read();
    return [...Object.keys(intermediates), ...Object.keys(peers)];
  }

  /** The intermediates that were met, with their keys. */
  intermediates(): readonly { readonly peerId: string; readonly host: string; readonly port: number }[] {
    return Object.entries(this.#read().intermediates).flatMap(([key, peerId]) => {
      const address = intermediateAddress.parse(key);
      return address ? [{ peerId, host: address.host, port: address.port }] : [];
    });
  }

  #read(): PinTables {
    let content: string;
    try {
      content = readFileSync(this.path, "utf8");
    } catch (error) {
      if (codeOf(error) === "ENOENT") return { intermediates: {}, peers: {} };
      throw new ExitError("usage", `${this.path} cannot be read: ${sentenceOf(error)}`, { cause: error });
    }
    try {
      return pinsSchema.parse(JSON.parse(content));
    } catch (error) {
      const issue = error instanceof z.ZodError ? error.issues[0] : null;
      const why = issue ? `${issue.path.join(".") || "the file"}: ${issue.message}` : sentenceOf(error);
      // Never started afresh by itself: whoever damages the file would undo the pins.
      throw new ExitError(
        "usage",
        `${this.path} is damaged (${why}); mend it, or remove it to trust on first use anew`,
        {
          cause: error,
        },
      );
    }
  }

  #write(pins: PinTables): void {
    const temporary = `${this.path}.${process.pid}.${randomBytes(6).toString("hex")}`;
    try {
      writeFileSync(temporary, `${JSON.stringify(pins, null, 2)}\n`, { mode: 0o600, flag: "wx", flush: true });
      renameSync(temporary, this.path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw new ExitError("usage", `${this.path} cannot be written: ${sentenceOf(error)}`, { cause: error });
    }
  }
}

/** So many the endpoint takes: each costs a connection, keepalives and an allocation. */
const MAX_INTERMEDIATES = 4;

/**
 * The intermediates as an endpoint takes them, with what it asks about each one's key: null when it is the one that `--intermediate`
 * names, or the pinned one, or the first; else the sentence why not.
 * @throws ExitError `usage` when there are too many, or one is named twice.
 */
export function intermediateOptions(pins: Pins, intermediates: readonly IntermediateAddress[]) {
  if (intermediates.length > MAX_INTERMEDIATES) {
    throw new ExitError("usage", `--intermediate may be given ${MAX_INTERMEDIATES} times, not ${intermediates.length}`);
  }
  const checks = new Map(
    intermediates.map((intermediate) => [intermediate.key, intermediateCheck(pins, intermediate)]),
  );
  if (checks.size < intermediates.length) throw new ExitError("usage", "--intermediate names the same address twice");
  return {
    intermediate: intermediates.map(({ host, port }) => ({ host, port })),
    checkIntermediate: (peerId: string, address: string): string | null => {
      const check = checks.get(address);
      return check ? check(peerId) : `${address} is none of the intermediates that were named`;
    },
  };
}

function intermediateCheck(pins: Pins, intermediate: IntermediateAddress): (peerId: string) => string | null {
  const { peerId: named, key } = intermediate;
  return (peerId) => {
    if (named === peerId) return null;
    if (named !== null) {
      return `the intermediate ${key} has the PeerId ${peerId}, not ${named} as --intermediate says; if its owner says that the key was changed, change the option`;
    }
    try {
      return pins.check("intermediates", key, peerId);
    } catch (error) {
      return sentenceOf(error); // a key that cannot be compared is not taken
    }
  };
}
