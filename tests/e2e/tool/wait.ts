/** Waiting for a status document or a log line to be as expected, with a deadline. */
import { readFileSync } from "node:fs";

export interface WaitOptions {
  readonly source: { readonly url: string } | { readonly log: string };
  /** `path OP value`, all of which must hold; a path is like `sessions.0.path` or `sessions.length`. */
  readonly where: readonly string[];
  /** Log lines before this time (milliseconds since 1970) do not count. */
  readonly sinceMs: number;
  /** Which matching log line is meant, from 1. */
  readonly count: number;
  readonly timeoutMs: number;
  /** Not waited for any longer once this process has ended. */
  readonly pid: number | null;
  /** Values to be printed, separated by tabs; none: the whole document. */
  readonly print: readonly string[];
}

const POLL_MS = 15;

/** Prints what was waited for. @throws when it did not come in time, with the last that was seen. */
export async function wait(options: WaitOptions): Promise<void> {
  const startMs = performance.now();
  for (;;) {
    const { found, seen } = await look(options);
    if (found !== null) {
      const values = options.print.map((path) => show(valueAt(found, path)));
      console.log(values.length > 0 ? values.join("\t") : JSON.stringify(found));
      return;
    }
    const from = "url" in options.source ? options.source.url : options.source.log;
    if (options.pid !== null && !runs(options.pid))
      throw new Error(`${from}: the program has ended; last seen: ${seen}`);
    if (performance.now() - startMs >= options.timeoutMs) {
      throw new Error(
        `${from}: not within ${options.timeoutMs} ms: ${options.where.join(" and ") || "an answer"}; last seen: ${seen}`,
      );
    }
    await Bun.sleep(POLL_MS);
  }
}

/** A zombie, which its parent has not asked for yet, does not run. */
function runs(pid: number): boolean {
  try {
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** How many log lines match. */
export function count(options: WaitOptions): number {
  if (!("log" in options.source)) throw new Error("--log is needed");
  return matching(options.source.log, options).length;
}

async function look(options: WaitOptions): Promise<{ found: unknown; seen: string }> {
  if ("log" in options.source) {
    const lines = matching(options.source.log, options);
    return { found: lines[options.count - 1] ?? null, seen: `${lines.length} such lines` };
  }
  try {
    const response = await fetch(options.source.url, { signal: AbortSignal.timeout(2000) });
    const text = await response.text();
    const document = parse(text) ?? text;
    return {
      found: response.ok && holds(document, options.where) ? document : null,
      seen: `${response.status} ${text}`,
    };
  } catch (error) {
    return { found: null, seen: String(error) };
  }
}

function matching(file: string, { where, sinceMs }: WaitOptions): unknown[] {
  let text = "";
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return []; // the program has not opened it yet
  }
  return text
    .split("\n")
    .map(parse)
    .filter((line) => line !== null && timeOf(line) >= sinceMs && holds(line, where));
}

/** null for a line that is not JSON: half written, or a word that a runtime printed. */
function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

/** `time` as RFC 3339 text (our programs) or as milliseconds since 1970 (this tool). */
function timeOf(line: unknown): number {
  const time = valueAt(line, "time");
  return typeof time === "number" ? time : Date.parse(String(time)) || 0;
}

function holds(document: unknown, where: readonly string[]): boolean {
  return where.every((condition) => {
    const parts = /^([\w.-]+?)(>=|<=|!=|=|~|>|<)(.*)$/s.exec(condition);
    if (!parts) throw new Error(`--where ${condition}: PATH, then one of = != >= <= > < ~, then VALUE was expected`);
    const [, path = "", operator = "", expected = ""] = parts;
    return compare(valueAt(document, path), operator, expected);
  });
}

function compare(value: unknown, operator: string, expected: string): boolean {
  if (value === undefined) return false;
  switch (operator) {
    case "=":
      return show(value) === expected;
    case "!=":
      return show(value) !== expected;
    case "~":
      return new RegExp(expected, "i").test(show(value));
  }
  if (typeof value !== "number") return false;
  const bound = Number(expected);
  if (operator === ">=") return value >= bound;
  if (operator === "<=") return value <= bound;
  return operator === ">" ? value > bound : value < bound;
}

function valueAt(document: unknown, path: string): unknown {
  let value = document;
  for (const part of path.split(".")) {
    if (value === null || typeof value !== "object") return undefined;
    value = (value as Record<string, unknown>)[part];
  }
  return value;
}

const show = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? "undefined"));
