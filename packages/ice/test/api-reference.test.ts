import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "@adit/harness";

/** The test runs from test/ and from dist/test/. */
function findUp(path: string): string {
  for (let directory = dirname(fileURLToPath(import.meta.url)); ; directory = dirname(directory)) {
    if (existsSync(join(directory, path))) return join(directory, path);
    if (directory === dirname(directory)) throw new Error(`no ${path} above the test`);
  }
}

test("docs/api/ice.md has everything that the package exports, and nothing else (npm run api makes it)", (t) => {
  const index = readFileSync(findUp("packages/ice/src/index.ts"), "utf8");
  const exported = [...index.matchAll(/export (?:type )?\{([^}]*)\}/g)]
    .flatMap(([, names = ""]) => names.split(","))
    .map((name) => name.replace(/^\s*type\s|^.* as /, "").trim())
    .filter((name) => name !== "");
  const reference = readFileSync(findUp("docs/api/ice.md"), "utf8");
  const documented = [...reference.matchAll(/^### ([A-Za-z_$][\w$\\]*)(?:\(\))?$/gm)].map(([, name = ""]) =>
    name.replaceAll("\\", ""),
  );
  t.same([...new Set(documented)].sort(), [...new Set(exported)].sort());
});
