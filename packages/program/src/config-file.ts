import { readFileSync } from "node:fs";
import { parse as parseToml } from "smol-toml";
import { codeOf, ExitError, sentenceOf } from "./exit.ts";

/** No configuration file is larger, bytes. */
const SIZE_LIMIT = 1024 * 1024;

/**
 * The keys and values of a TOML or JSON file. JSON is told by its opening brace, which no TOML begins with.
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
  const json = content.trimStart().startsWith("{");
  try {
    return json ? JSON.parse(content) : parseToml(content);
  } catch (error) {
    // smol-toml draws the place over several lines behind the first.
    const why = sentenceOf(error).split("\n\n")[0];
    throw new ExitError("usage", `${path} is not valid ${json ? "JSON" : "TOML"}: ${why}`, { cause: error });
  }
}
