/** docs/troubleshooting.md is where people look for what a program said: each sentence about a session or a connection has to be found there. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "@adit/harness";

const root = join(import.meta.dirname, import.meta.dirname.includes("dist") ? "../../../.." : "../../..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

/** Where sentences are made of what became of a session, or of a connection in it. */
const SOURCES = [
  ...["transport/src/path", "transport/src/peer"].flatMap((directory) =>
    readdirSync(join(root, "packages", directory)).map((file) => `${directory}/${file}`),
  ),
  "transport/src/nat/explain.ts",
  "signaling/src/client.ts",
  "intermediate/src/rendezvous.ts",
  "agent/src/carrier.ts",
  "agent/src/destination.ts",
  "agent/src/failures.ts",
  "connector/src/services.ts",
  "connector/src/udp-services.ts",
];

/** What stands in those files and says itself what to do, follows the colon of another sentence, or is said to the other program alone. */
const ELSEWHERE = [
  "another connection was first",
  "another way was quicker",
  "a better way was found",
  "another intermediate was expected",
  "this is not the intermediate that was expected",
  "on port * *",
  "UDP is blocked still",
  "the stream was closed",
  "the peer finished the stream",
  "no path can be used",
  "the session is not up",
  "the session ended",
  "the local connection was closed",
  "*: refused by the connector: *",
  "*: connection reset: *",
  "--intermediate [PEERID@]HOST:PORT is missing *",
  "(or intermediate in the --config file): the intermediate that introduces the two; only with a ticket it is not needed",
  "--expose names the * service * twice",
  "* does not answer: *",
  "closed by the agent",
  "the connector is ending",
];

/** Three words and more: less is no sentence. */
const MIN_WORDS = 3;

interface Literal {
  /** With `*` for what is put in. */
  readonly text: string;
  readonly before: string;
}

/** Every string of a TypeScript source, those inside of templates too. */
function literalsOf(source: string): readonly Literal[] {
  const found: Literal[] = [];
  const literal = (from: number, quote: string): number => {
    let text = "";
    let at = from + 1;
    while (source[at] !== quote) {
      if (quote === "`" && source.startsWith("${", at)) {
        text += "*";
        at = code(at + 2, "}");
      } else {
        if (source[at] === "\\") at++;
        text += source[at++];
      }
    }
    found.push({ text, before: source.slice(Math.max(0, from - 100), from) });
    return at + 1;
  };
  const code = (from: number, end: string | null): number => {
    let at = from;
    while (at < source.length && source[at] !== end) {
      const char = source[at];
      if (source.startsWith("//", at)) at = source.indexOf("\n", at);
      else if (source.startsWith("/*", at)) at = source.indexOf("*/", at) + 2;
      else if (char === '"' || char === "`") at = literal(at, char);
      else if (char === "{") at = code(at + 1, "}");
      else at++;
    }
    return at + 1;
  };
  code(0, null);
  return found;
}

/** A deadline's name is for traces; and a bug's error for us. */
const isInternal = ({ before }: Literal): boolean =>
  /\bat\b[^{}]*\breason: $/.test(before) || /new (Range)?Error\($/.test(before);

test("what a program says of a session or a connection is found in docs/troubleshooting.md", (t) => {
  const page = read("docs/troubleshooting.md");
  const sentences = new Set<string>();
  for (const source of SOURCES)
    for (const one of literalsOf(read(`packages/${source}`)))
      if (one.text.trim().split(/\s+/).length >= MIN_WORDS && !isInternal(one)) sentences.add(one.text.trim());
  t.ok(sentences.size > 60, `${sentences.size} sentences`);
  const isThere = (sentence: string): boolean => {
    const parts = sentence.split("*").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return new RegExp(parts.join("[^|\n]*?")).test(page);
  };
  t.same(
    [...sentences].filter((sentence) => !ELSEWHERE.includes(sentence) && !isThere(sentence)),
    [],
  );
});

test("what it need not have is still said", (t) => {
  const said = new Set(
    SOURCES.flatMap((source) => literalsOf(read(`packages/${source}`)).map(({ text }) => text.trim())),
  );
  t.same(
    ELSEWHERE.filter((sentence) => !said.has(sentence)),
    [],
  );
});
