/**
 * npm run trace-plot FILE [-- --session ID] [--out FILE.svg]: draws a session of a trace; the one with the most bytes unless told which.
 * Written beside the trace unless told where.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { EXIT_STATUS, ExitError, exitCodeOf, sentenceOf } from "../exit.ts";
import { readTrace, type TracedSession } from "./read.ts";
import { plotSession } from "./svg.ts";

const moved = ({ samples }: TracedSession): number =>
  (samples.at(-1)?.sentBytes ?? 0) + (samples.at(-1)?.receivedBytes ?? 0);

function choose(sessions: readonly TracedSession[], id: string | undefined): TracedSession {
  const [first] = [...sessions].sort((a, b) => moved(b) - moved(a));
  if (!first) throw new Error("the trace has no session: none came up while it was written");
  if (id === undefined) return first;
  const found = sessions.filter((session) => session.id.startsWith(id));
  if (found.length === 1 && found[0]) return found[0];
  throw new ExitError("usage", `--session ${id}: the trace has ${sessions.map((session) => session.id).join(", ")}`);
}

function contentOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new ExitError("usage", `${file} cannot be read: ${sentenceOf(error)}`, { cause: error });
  }
}

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { session: { type: "string" }, out: { type: "string" } },
  });
  const [file] = positionals;
  if (file === undefined)
    throw new ExitError("usage", "usage: npm run trace-plot FILE [-- --session ID] [--out FILE.svg]");
  const sessions = readTrace(contentOf(file));
  const session = choose(sessions, values.session);
  const out = values.out ?? `${file.replace(/\.[^./]+$/, "")}.svg`;
  if (out === file) throw new ExitError("usage", `${out} is the trace itself; --out says where the picture goes`);
  writeFileSync(out, plotSession(session));
  console.log(`${out}: session ${session.id} with ${session.peer ?? "?"}`);
  const others = sessions.filter((other) => other !== session);
  if (others.length > 0) console.log(`other sessions: ${others.map(({ id }) => id).join(", ")}`);
} catch (error) {
  console.error(`trace-plot: ${sentenceOf(error)}`);
  process.exitCode = EXIT_STATUS[exitCodeOf(error)];
}
