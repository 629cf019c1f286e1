import { mkdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { codeOf, ExitError, sentenceOf } from "./exit.ts";

/**
 * `$XDG_STATE_HOME/adit/<program>`, else `~/.local/state/adit/<program>`; `program` without the prefix `adit-`.
 * A relative XDG_STATE_HOME is ignored, as the XDG base directory specification asks.
 */
export function defaultStateDir(
  program: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const xdg = env.XDG_STATE_HOME;
  const base = xdg && isAbsolute(xdg) ? xdg : join(env.HOME || homedir(), ".local", "state");
  return join(base, "adit", program.replace(/^adit-/, ""));
}

/** Makes the directory (mode 0700) when it is not there. @throws ExitError `usage` */
export function ensureStateDir(path: string): string {
  const dir = resolve(path);
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    if (!statSync(dir).isDirectory()) throw new Error("it is not a directory");
  } catch (error) {
    const why = codeOf(error) === "EEXIST" ? "it is not a directory" : sentenceOf(error);
    throw new ExitError("usage", `the state directory ${dir} cannot be used: ${why}; choose another with --state-dir`, {
      cause: error,
    });
  }
  return dir;
}
