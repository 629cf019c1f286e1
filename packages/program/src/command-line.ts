import type { Logger } from "@adit/core";
import { Command, CommanderError, Option } from "commander";
import { readConfigFile } from "./config-file.ts";
import { ExitError } from "./exit.ts";
import type { LogFormat, LogLevel } from "./logger.ts";
import {
  type CommonOptions,
  commonOptions,
  kebab,
  type OptionSpec,
  type OptionTable,
  readFileKeys,
  readOptions,
  type Values,
} from "./options.ts";
import { secretsInSight } from "./secrets.ts";
import { closest } from "./suggest.ts";
import { ValueError, type ValueType } from "./values.ts";
import { VERSION } from "./version.ts";

/** What a running command gets beside its values. */
export interface Context {
  readonly program: string;
  readonly stateDir: string;
  readonly log: Logger;
  /** Aborts at the first SIGINT or SIGTERM: end cleanly. */
  readonly signal: AbortSignal;
  /** Writes to stdout, at once. */
  readonly print: (text: string) => void;
}

type Known<V, R extends keyof V> = { readonly [K in keyof V]: K extends R ? Exclude<V[K], undefined> : V[K] };

export interface CommandSpec<O extends OptionTable, U extends keyof O, R extends U, P> {
  /** Null is the program itself, without a subcommand. */
  readonly name: string | null;
  readonly summary: string;
  /** One line that a user can type. */
  readonly example: string;
  /** The program's options that it takes. */
  readonly uses: readonly U[];
  /** What they mean to this command, where that is something else than to the others. */
  readonly help?: Readonly<Partial<Record<U, string>>>;
  /** Those of them that must be given, here or in the file. */
  readonly required?: readonly R[];
  readonly argument?: ValueType<P>;
  /** SIGHUP has it read files again; without, it ends the command as SIGTERM does. */
  readonly reloads?: boolean;
  /** What is logged when `--log-level` is not given; `info` by default. */
  readonly logLevel?: LogLevel;
  /** The exit status; undefined is 0. */
  run(values: Known<Values<Pick<O, U>>, R>, context: Context, argument: P): Promise<number | undefined>;
}

/** What a command line came to. */
export type Invocation =
  | { readonly kind: "print"; readonly text: string }
  | {
      readonly kind: "run";
      readonly command: string;
      /** As given with `--state-dir`. */
      readonly stateDir: string | null;
      readonly log: LogFormat;
      readonly logLevel: LogLevel;
      /** Sentences for the log. */
      readonly warnings: readonly string[];
      /** SIGHUP is the command's own. */
      readonly reloads: boolean;
      /** All options of the program, as they were read. */
      readonly values: Readonly<Record<string, unknown>>;
      run(context: Context): Promise<number | undefined>;
    };

interface RegisteredCommand {
  readonly name: string | null;
  readonly summary: string;
  readonly example: string;
  readonly uses: readonly string[];
  readonly help: Readonly<Record<string, string | undefined>>;
  readonly argument: ValueType<unknown> | null;
  bind(
    values: Readonly<Record<string, unknown>>,
    argument: string | null,
  ): Omit<Invocation & { kind: "run" }, "kind" | "warnings">;
}

/** A program: its options, and the commands that take some of them. */
export class Program<O extends OptionTable> {
  readonly name: string;
  readonly summary: string;
  readonly #options: O & CommonOptions;
  readonly #commands: RegisteredCommand[] = [];

  constructor(o: { readonly name: string; readonly summary: string; readonly options: O }) {
    this.name = o.name;
    this.summary = o.summary;
    const place = `adit/${o.name.replace(/^adit-/, "")}`;
    const { stateDir } = commonOptions;
    const help = `${stateDir.help} (default ~/.local/state/${place}, or ${place} in $XDG_STATE_HOME)`;
    this.#options = { ...o.options, ...commonOptions, stateDir: { ...stateDir, help } };
  }

  command<U extends keyof O & string, R extends U = never, P = null>(spec: CommandSpec<O, U, R, P>): this {
    const { name, summary, example, uses, argument: argumentType = null } = spec;
    this.#commands.push({
      name,
      summary,
      example,
      uses,
      help: spec.help ?? {},
      argument: argumentType,
      bind: (values, argument) => {
        for (const key of spec.required ?? []) {
          const given = values[key];
          if (given === undefined || (Array.isArray(given) && given.length === 0)) throw this.#missing(key);
        }
        const common = values as Values<CommonOptions>;
        const parsed = argumentType === null ? null : readArgument(argumentType, argument);
        return {
          command: name ?? this.name,
          stateDir: common.stateDir ?? null,
          log: common.log,
          logLevel: common.logLevel ?? spec.logLevel ?? "info",
          reloads: spec.reloads ?? false,
          values,
          run: (context) => spec.run(values as Parameters<typeof spec.run>[0], context, parsed as P),
        };
      },
    });
    return this;
  }

  /**
   * Reads the arguments (without the program's name) and the configuration file they name.
   * @throws ExitError `usage`
   */
  parse(args: readonly string[], readFile = readConfigFile): Invocation {
    const out: string[] = [];
    const err: string[] = [];
    let chosen: { command: RegisteredCommand; given: Record<string, unknown>; argument: string | null } | null = null;
    if (args[0] === "help") this.#mustKnow(args[1]);
    const root = this.#commander((command, given, argument) => {
      chosen = { command, given, argument };
    });
    for (const command of [root, ...root.commands]) {
      command
        .exitOverride()
        .configureOutput({ writeOut: (text) => out.push(text), writeErr: (text) => err.push(text) });
    }
    try {
      root.parse(args[0] === "help" ? [...args.slice(1), "--help"] : [...args], { from: "user" });
    } catch (error) {
      if (!(error instanceof CommanderError)) throw error;
      if (error.exitCode === 0) return { kind: "print", text: out.join("") };
      // Without a command commander shows the help; an error's first line is its sentence.
      const sentence = err
        .join("")
        .replace(/^error: /, "")
        .trimEnd();
      const [option = ""] = args[0]?.split("=") ?? [];
      const early = error.code === "commander.unknownOption" && this.#hasNoRoot && option.startsWith("-");
      const hint = early
        ? `\n(Options stand behind the command: ${this.name} COMMAND ${option} ...)`
        : sentence.includes("Did you mean")
          ? ""
          : `\n(${this.#usageOf(args[0])} --help tells more)`;
      throw new ExitError(
        "usage",
        error.code === "commander.help" ? `a command is missing\n\n${sentence}` : sentence + hint,
      );
    }
    if (chosen === null) throw new ExitError("usage", `a command is missing; see ${this.name} --help`);
    return this.#invocation(chosen, readFile);
  }

  #invocation(
    {
      command,
      given,
      argument,
    }: { command: RegisteredCommand; given: Record<string, unknown>; argument: string | null },
    readFile: typeof readConfigFile,
  ): Invocation {
    const { config, ...values } = given;
    const file = typeof config === "string" ? readFileKeys(this.#options, config, readFile(config)) : null;
    const commandLine = { values, file: null };
    const parsed: Readonly<Record<string, unknown>> = readOptions(this.#options, file, commandLine);
    const warnings = secretsInSight(this.#options, file, commandLine);
    return { kind: "run", ...command.bind(parsed, argument), warnings };
  }

  #missing(key: string): ExitError {
    const spec = this.#options[key];
    const usage = `--${kebab(key)} ${spec?.type?.placeholder ?? ""}`.trimEnd();
    return new ExitError("usage", `${usage} is missing (or ${kebab(key)} in the --config file): ${spec?.help}`);
  }

  #commander(
    choose: (command: RegisteredCommand, given: Record<string, unknown>, argument: string | null) => void,
  ): Command {
    const root = new Command(this.name);
    root.description(this.summary).enablePositionalOptions().helpCommand(false);
    for (const registered of this.#commands) {
      const command = registered.name === null ? root : root.command(registered.name);
      command.summary(registered.summary).description(registered.summary);
      command.addHelpText("after", `\nExample:\n  ${registered.example}`);
      this.#addOptions(command, registered);
      const argument = registered.argument;
      if (argument) command.argument(`<${argument.placeholder}>`, argument.expected);
      else if (registered.name === null) command.argument("[command...]").usage("[options] [command]");
      command.action((...actionArgs: unknown[]) => {
        const first = argument || registered.name === null ? actionArgs[0] : undefined;
        // A placeholder that ends in dots takes all words; the type sees them with spaces between.
        if (registered.name === null && Array.isArray(first) && first.length > 0) throw this.#unknownCommand(first[0]);
        const words = Array.isArray(first) ? first.join(" ") : first;
        choose(registered, command.optsWithGlobals(), typeof words === "string" ? words : null);
      });
    }
    const first = this.#commands[0];
    if (first && this.#hasNoRoot) {
      root.addHelpText("after", `\nExample:\n  ${first.example}\n\n${this.name} COMMAND --help tells more.`);
    }
    for (const command of [root, ...root.commands]) {
      command.version(`${this.name} ${VERSION}`, "-V, --version", "print the version");
      command.helpOption("-h, --help", "print this");
    }
    return root;
  }

  /** Nothing is run without a command's name. */
  get #hasNoRoot(): boolean {
    return this.#commands.every(({ name }) => name !== null);
  }

  /** How the command is called that the first word names. */
  #usageOf(word: string | undefined): string {
    const named = this.#commands.some(({ name }) => name !== null && name === word);
    return named ? `${this.name} ${word}` : this.name;
  }

  /** @throws ExitError `usage` for a word that is no command's name. */
  #mustKnow(word: string | undefined): void {
    if (word === undefined || word.startsWith("-")) return;
    if (!this.#commands.some(({ name }) => name === word)) throw this.#unknownCommand(word);
  }

  #unknownCommand(word: string): ExitError {
    const names = this.#commands.flatMap(({ name }) => name ?? []);
    const near = closest(word, names);
    const hint = near === null ? `the commands are ${names.join(", ")}` : `did you mean ${near}?`;
    return new ExitError("usage", `unknown command "${word}"; ${hint}`);
  }

  #addOptions(command: Command, { uses, help }: RegisteredCommand): void {
    for (const key of [...uses, ...Object.keys(commonOptions)]) {
      const spec = this.#options[key];
      if (!spec) continue;
      const told = { ...spec, help: help[key] ?? spec.help };
      for (const option of commanderOptions(kebab(key), told)) command.addOption(option);
    }
    command.addOption(new Option("--config <FILE>", "a TOML or JSON file with any of the program's options, by name"));
  }
}

function commanderOptions(name: string, spec: OptionSpec<unknown>): Option[] {
  if (spec.kind === "switch") {
    // The negation is there to override a file; it needs no line in the help.
    return [new Option(`--${name}`, spec.help), new Option(`--no-${name}`).hideHelp()];
  }
  const flags = `${spec.short === null ? "" : `-${spec.short}, `}--${name} <${spec.type?.placeholder}>`;
  const help = spec.defaultText === null ? spec.help : `${spec.help} (default ${spec.defaultText})`;
  const option = new Option(flags, spec.kind === "list" ? `${help}; may be repeated` : help);
  if (spec.kind === "list") option.argParser((text, before: string[] | undefined) => [...(before ?? []), text]);
  return [option];
}

function readArgument<T>(type: ValueType<T>, argument: string | null): T {
  let parsed: T | null = null;
  let why = "";
  try {
    parsed = type.parse(argument ?? "");
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    why = `${error.message}; `;
  }
  if (parsed === null) throw new ExitError("usage", `${JSON.stringify(argument)}: ${why}expected ${type.expected}`);
  return parsed;
}
