import { statSync } from "node:fs";
import { kebab, type OptionTable, type RawOptions } from "./options.ts";

/** Sentences about secrets that other users of this host can read: on the command line, or in a file that is not the user's alone. */
export function secretsInSight(
  table: OptionTable,
  file: RawOptions | null,
  commandLine: RawOptions,
): readonly string[] {
  const secrets = ({ values }: RawOptions): string[] =>
    Object.keys(values).filter((key) => isGiven(values[key]) && table[key]?.type?.secret === true);
  const warnings = secrets(commandLine).map(
    (key) =>
      `--${kebab(key)} stands on the command line, where every user of this host can read it; let ${kebab(key)} stand in a --config file with mode 0600`,
  );
  const mode = file?.file ? modeOf(file.file) : 0;
  if (!file?.file || (mode & 0o077) === 0) return warnings;
  const octal = (mode & 0o777).toString(8).padStart(4, "0");
  const inFile = secrets(file).map(
    (key) => `${file.file} holds ${kebab(key)} and can be read by others (mode ${octal}); run: chmod 600 ${file.file}`,
  );
  return [...warnings, ...inFile];
}

const isGiven = (value: unknown): boolean => value !== undefined && !(Array.isArray(value) && value.length === 0);

/** 0 where modes mean nothing, or the file is gone. */
function modeOf(path: string): number {
  if (process.platform === "win32") return 0;
  return statSync(path, { throwIfNoEntry: false })?.mode ?? 0;
}
