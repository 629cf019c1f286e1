import { readFileSync } from "node:fs";
import { parse as parseToml, TomlError } from "smol-toml";
import { codeOf, ExitError, sentenceOf } from "./exit.ts";

/** No configuration file is larger, bytes. */
const SIZE_LIMIT = 1024 * 1024;

/**
 * The keys and values of a TOML or JSON file. JSON is told by its name, or by its opening brace, which no TOML begins with.
 * @throws ExitError `usage` when it cannot be read.
 */
export function readConfigFile(path: string): Readonly<Record<string, unknown>> {
  let content: string;
  try {
    content = readFileSync(path, "utf8");
  } catch (error) {
    const why = codeOf(error) === "ENOENT" ? "there is no such file" : sentenceOf(error);
    throw new ExitError("usage", `--config ${path}: ${why}`, { cause: error });
  }
  if (content.length > SIZE_LIMIT) throw new ExitError("usage", `--config ${path}: larger than ${SIZE_LIMIT} bytes`);
  const json = path.endsWith(".json") || content.trimStart().startsWith("{");
  let values: unknown;
  try {
    values = json ? JSON.parse(content) : parseToml(content);
  } catch (error) {
    // smol-toml draws the place over several lines behind the first.
    const why = sentenceOf(error).split("\n\n")[0];
    const where = error instanceof TomlError ? `, line ${error.line}, column ${error.column}` : "";
    throw new ExitError("usage", `${path} is not valid ${json ? "JSON" : "TOML"}${where}: ${why}`, { cause: error });
  }
  if (typeof values === "object" && values !== null && !Array.isArray(values)) return { ...values };
  throw new ExitError(
    "usage",
    `${path}: expected an object with the program's options by name, such as {"name": "office"}`,
  );
}
