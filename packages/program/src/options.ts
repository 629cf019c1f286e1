import { z } from "zod";
import { ExitError } from "./exit.ts";
import { closest } from "./suggest.ts";
import { directory, oneOf, ValueError, type ValueType } from "./values.ts";

/**
 * One option of a program: on the command line `--state-dir`, in a configuration file `state-dir`; the tables and the
 * parsed values name it `stateDir`.
 */
export interface OptionSpec<T> {
  readonly kind: "value" | "list" | "switch";
  readonly help: string;
  /** Null for a switch. */
  readonly type: ValueType<unknown> | null;
  /** What stands when it is not given, as a user would write it. */
  readonly defaultText: string | null;
  /** A one-letter alias on the command line. */
  readonly short: string | null;
  /** Reads a raw value: a text, a list of texts, or true and false. */
  readonly schema: z.ZodType<T>;
}

export type OptionTable = Readonly<Record<string, OptionSpec<unknown>>>;

/** What a table's options parse to. */
export type Values<O extends OptionTable> = { readonly [K in keyof O]: O[K] extends OptionSpec<infer T> ? T : never };

interface SpecOptions {
  readonly help: string;
  readonly default?: string;
  readonly short?: string;
}

/** An option with one value; undefined when neither given nor defaulted. */
export function value<T>(type: ValueType<T>, options: SpecOptions & { readonly default: string }): OptionSpec<T>;
export function value<T>(type: ValueType<T>, options: SpecOptions): OptionSpec<T | undefined>;
export function value<T>(type: ValueType<T>, options: SpecOptions): OptionSpec<T | undefined> {
  const given = schemaOf(type);
  const { default: defaultText } = options;
  const schema = defaultText === undefined ? given.optional() : z.preprocess((raw) => raw ?? defaultText, given);
  return {
    kind: "value",
    type,
    schema,
    help: options.help,
    defaultText: defaultText ?? null,
    short: options.short ?? null,
  };
}

/** No list of options is longer. */
const LIST_LIMIT = 1000;

/** An option that may be given several times; in a file a list, or one value. */
export function list<T>(type: ValueType<T>, options: SpecOptions): OptionSpec<readonly T[]> {
  const expected = `at most ${LIST_LIMIT} values`;
  const { default: defaultText } = options;
  const standing = defaultText === undefined ? [] : [defaultText];
  const schema = z.preprocess(
    (raw) => (raw === undefined ? standing : Array.isArray(raw) ? raw : [raw]),
    z.array(schemaOf(type)).max(LIST_LIMIT, expected),
  );
  return {
    kind: "list",
    type,
    schema,
    help: options.help,
    defaultText: defaultText ?? null,
    short: options.short ?? null,
  };
}

/** An option without a value: off unless given. */
export function toggle(options: { readonly help: string }): OptionSpec<boolean> {
  const schema = z
    .boolean("expected true or false")
    .optional()
    .transform((on) => on ?? false);
  return { kind: "switch", type: null, schema, help: options.help, defaultText: null, short: null };
}

function schemaOf<T>(type: ValueType<T>): z.ZodType<T> {
  return z.unknown().transform((raw, context): T => {
    const refuse = (why: string): never => {
      context.addIssue({ code: "custom", message: why });
      return z.NEVER;
    };
    // A file may write a port or a count as a number.
    const written = typeof raw === "number" ? String(raw) : raw;
    if (typeof written !== "string") return refuse(`expected ${type.expected}`);
    try {
      return type.parse(written) ?? refuse(`expected ${type.expected}`);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      return refuse(`${error.message}; expected ${type.expected}`);
    }
  });
}

/** Every subcommand of every program takes these. */
export const commonOptions = {
  stateDir: value(directory, { help: "where the key and the pins are kept" }),
  log: value(oneOf(["text", "json"]), { help: "how the log on stderr is written", default: "text" }),
  logLevel: value(oneOf(["trace", "debug", "info", "warn", "error"]), {
    help: "what is logged at least (default info)",
  }),
} as const satisfies OptionTable;

export type CommonOptions = typeof commonOptions;

/** `stateDir` -> `state-dir`. */
export const kebab = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Raw values by camel-case key, from one place. */
export interface RawOptions {
  readonly values: Readonly<Record<string, unknown>>;
  /** The file's name, or null for the command line. */
  readonly file: string | null;
}

/**
 * Turns what stands in the file and on the command line (which wins) into values, and checks all of it.
 * @throws ExitError `usage` naming the option or key, the value, and what was expected.
 */
export function readOptions<O extends OptionTable>(
  table: O,
  file: RawOptions | null,
  commandLine: RawOptions,
): Values<O> {
  const schema = z.object(Object.fromEntries(Object.entries(table).map(([key, spec]) => [key, spec.schema])));
  // A file's value that the command line replaces is checked too: it is wrong whether used today or not.
  for (const place of file ? [file, commandLine] : [commandLine]) {
    const result = schema.safeParse(place.values);
    if (!result.success) throw new ExitError("usage", describe(table, place, result.error.issues));
  }
  return schema.parse({ ...file?.values, ...commandLine.values }) as Values<O>;
}

function describe(table: OptionTable, place: RawOptions, issues: readonly z.core.$ZodIssue[]): string {
  return inOneMessage(
    issues.map((issue) => {
      const [key = "", index] = issue.path;
      const raw = place.values[String(key)];
      const bad = Array.isArray(raw) && typeof index === "number" ? raw[index] : raw;
      const { secret = false } = table[String(key)]?.type ?? {};
      const name = kebab(String(key));
      const isSecret = typeof secret === "boolean" ? secret : typeof bad === "string" && secret(bad);
      const written = isSecret ? "(not shown)" : JSON.stringify(bad);
      return place.file === null
        ? `--${name} ${written}: ${issue.message}`
        : `${place.file}: ${name} = ${written}: ${issue.message}`;
    }),
  );
}

/** All mistakes at once, so that nobody has to try again to learn of the next. */
const inOneMessage = (mistakes: readonly string[]): string =>
  mistakes.length === 1 ? mistakes.join() : `${mistakes.length} mistakes\n  ${mistakes.join("\n  ")}`;

/**
 * The keys of a configuration file, renamed to those of the table.
 * @throws ExitError `usage` naming each unknown key, its value, and the keys that exist.
 */
export function readFileKeys(
  table: OptionTable,
  fileName: string,
  content: Readonly<Record<string, unknown>>,
): RawOptions {
  const byName = new Map(Object.keys(table).map((key) => [kebab(key), key]));
  const values: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [name, raw] of Object.entries(content)) {
    const key = byName.get(name);
    if (key !== undefined) {
      values[key] = raw;
      continue;
    }
    const names = [...byName.keys()];
    const near = closest(name, names);
    const expected = near === null ? `expected one of ${names.join(", ")}` : `did you mean ${near}?`;
    // What is meant may be a secret.
    const { secret = false } = table[byName.get(near ?? "") ?? ""]?.type ?? {};
    const isSecret = secret === true || (secret !== false && typeof raw === "string" && secret(raw));
    problems.push(`${fileName}: unknown key ${name} = ${isSecret ? "(not shown)" : JSON.stringify(raw)}; ${expected}`);
  }
  if (problems.length > 0) throw new ExitError("usage", inOneMessage(problems));
  return { values, file: fileName };
}
