/** docs/security.md says who can do what, and which test shows the answer: each of them has to exist. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "@adit/harness";

const root = join(import.meta.dirname, import.meta.dirname.includes("dist") ? "../../../.." : "../../..");

test("every row of the threat table names tests that there are", (t) => {
  const text = readFileSync(join(root, "docs/security.md"), "utf8");
  const rows = text.split("\n").filter((line) => /^\|.*\.ts`|^\|.*the same, "/.test(line));
  t.ok(rows.length > 30, `${rows.length} rows`);
  let file = "";
  let quotes = 0;
  for (const row of rows) {
    const shown = row.split("|")[3] ?? "";
    t.ok(/`|the same/.test(shown), `a test in: ${row}`);
    for (const [, path, words] of shown.matchAll(/`([\w./-]+\.ts)`|"([^"]+)"/g)) {
      if (path !== undefined) {
        file = join(root, "packages", path);
        t.ok(existsSync(file), `${path} exists`);
        continue;
      }
      quotes++;
      t.ok(readFileSync(file, "utf8").includes(words ?? ""), `"${words}" is a test of ${file}`);
    }
  }
  t.ok(quotes > 30, `${quotes} tests by name`);
});
