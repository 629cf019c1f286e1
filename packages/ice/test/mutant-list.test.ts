import { readFileSync } from "node:fs";
import { isBun, test } from "@adit/harness";

const root = new URL(isBun ? "../" : "../../", import.meta.url);

interface Mutant {
  readonly rule: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

test("each mutant still has its place in the sources; `scripts/mutants.mjs` runs them", async (t) => {
  const { MUTANTS } = (await import(new URL("scripts/mutant-list.mjs", root).href)) as { MUTANTS: readonly Mutant[] };
  const lost = MUTANTS.filter(({ file, find }) => readFileSync(new URL(file, root), "utf8").split(find).length !== 2);
  t.same(
    lost.map(({ rule }) => rule),
    [],
  );
  t.equal(new Set(MUTANTS.map(({ rule }) => rule)).size, MUTANTS.length);
});
