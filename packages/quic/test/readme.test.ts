import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isBun, test } from "@adit/harness";

test("the example in the README prints what it should", async (t) => {
  const readme = new URL(isBun ? "../README.md" : "../../README.md", import.meta.url);
  const [, code] = /```js\n([\s\S]*?)```/.exec(readFileSync(readme, "utf8")) ?? [];
  const directory = mkdtempSync(join(tmpdir(), "adit-readme-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "example.mjs");
  const resolved = t
    .must(code)
    .replace(/from "(@adit\/[a-z]+)"/g, (_, name) => `from ${JSON.stringify(import.meta.resolve(name))}`);
  writeFileSync(file, resolved);
  const lines: string[] = [];
  const { log } = console;
  console.log = (line) => lines.push(String(line));
  t.teardown(() => {
    console.log = log;
  });
  await import(pathToFileURL(file).href);
  t.equal(lines.length, 1);
  t.match(lines[0] ?? "", /^[a-z2-7]{52}: hello$/);
});
