import { readFileSync } from "node:fs";
import { constants } from "node:os";
import type { Logger } from "@adit/core";
import type { Context, Invocation, Program } from "./command-line.ts";
import { EXIT_STATUS, exitCodeOf, sentenceOf } from "./exit.ts";
import { createLogger, type LogLevel, writeNow } from "./logger.ts";
import type { OptionTable } from "./options.ts";
import { defaultStateDir } from "./state.ts";

/** What ends a program cleanly. SIGHUP is the terminal's end, and what ssh sends to its ProxyCommand. */
export type EndSignal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** The parts of the process that a program touches; a test brings its own. */
export interface Host {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  writeOut(text: string): void;
  writeErr(text: string): void;
  onSignal(handler: (signal: EndSignal) => void, signals: readonly EndSignal[]): void;
  onCrash(handler: (error: unknown) => void): void;
  exit(status: number): void;
}

/**
 * Runs a program to its exit status. The first signal that ends it aborts the command's signal, which then ends cleanly with
 * status 0; the second ends the process at once.
 */
export async function runProgram<O extends OptionTable>(
  program: Program<O>,
  host: Host = processHost(),
): Promise<void> {
  let log = createLogger({ format: asksForJson(host.args) ? "json" : "text", level: "info", write: host.writeErr });
  let level: LogLevel = "info";
  const fail = (error: unknown): void => host.exit(report(program.name, log, level, error));
  host.onCrash(fail);
  try {
    const invocation = program.parse(host.args);
    if (invocation.kind === "print") {
      host.writeOut(invocation.text);
      return host.exit(0);
    }
    level = invocation.logLevel;
    log = createLogger({ format: invocation.log, level, write: host.writeErr });
    for (const message of invocation.warnings) log.warn("secret-in-sight", { message });
    host.exit((await invocation.run(makeContext(program.name, invocation, log, host))) ?? 0);
  } catch (error) {
    fail(error);
  }
}

function makeContext(program: string, invocation: Invocation & { kind: "run" }, log: Logger, host: Host): Context {
  const abort = new AbortController();
  const onSignal = (signal: EndSignal): void => {
    // 128 + the signal's number, as a shell reports a process that a signal ended.
    if (abort.signal.aborted) return host.exit(128 + constants.signals[signal]);
    log.debug("stopping", { signal });
    abort.abort();
  };
  host.onSignal(onSignal, invocation.reloads ? ["SIGINT", "SIGTERM"] : ["SIGINT", "SIGTERM", "SIGHUP"]);
  return {
    program,
    stateDir: invocation.stateDir ?? defaultStateDir(program, host.env),
    log,
    signal: abort.signal,
    print: (text) => host.writeOut(text.endsWith("\n") ? text : `${text}\n`),
  };
}

/** Says why the program ends, in one sentence (the stack only with `--log-level debug`), and returns the exit status. */
function report(program: string, log: Logger, level: LogLevel, error: unknown): number {
  const code = exitCodeOf(error);
  const verbose = level === "debug" || level === "trace";
  const stack = verbose && error instanceof Error ? { stack: error.stack } : {};
  log.error("failed", { message: sentenceOf(error), code, program, ...stack });
  return EXIT_STATUS[code];
}

/** `--log json` counts for the complaint about a bad command line too. */
function asksForJson(args: readonly string[]): boolean {
  return args.some((arg, i) => arg === "--log=json" || (arg === "--log" && args[i + 1] === "json"));
}

function processHost(): Host {
  return {
    args: process.argv.slice(2),
    env: process.env,
    writeOut: (text) => writeNow(1, text),
    writeErr: (text) => writeNow(2, text),
    onSignal: (handler, signals) => {
      for (const signal of signals) {
        // What nohup has had ignored stays so.
        if (signal !== "SIGHUP" || !ignoresHangup()) process.on(signal, () => handler(signal));
      }
    },
    onCrash: (handler) => {
      process.on("uncaughtException", handler);
      process.on("unhandledRejection", handler);
    },
    exit: (status) => process.exit(status),
  };
}

/** Whether the process was started deaf to SIGHUP; false where /proc does not tell. */
function ignoresHangup(): boolean {
  try {
    const [, mask = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
    return (BigInt(`0x${mask}`) & 1n) === 1n; // bit 0 is signal 1
  } catch {
    return false;
  }
}
