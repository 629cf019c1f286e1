// node packages/ice/scripts/mutants.mjs [FILTER]: does the suite bite? Each mutant breaks one rule in a copy of the sources, and
// the test that is named beside it must fail there. A mutant that survives, or that no longer applies, fails the run.
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { MUTANTS } from "./mutant-list.mjs";

const packageRoot = join(dirname(fileURLToPath(import.meta.url)), "..");
const repository = join(packageRoot, "../..");
const bun = join(repository, "node_modules/.bin/bun");
const filter = process.argv[2] ?? "";
const mutants = MUTANTS.filter(({ rule, file }) => `${rule} ${file}`.includes(filter));

const copy = mkdtempSync(join(tmpdir(), "adit-mutants-"));
process.on("exit", () => rmSync(copy, { recursive: true, force: true }));
const root = join(copy, "packages/ice");
mkdirSync(root, { recursive: true });
for (const part of ["src", "test", "package.json", "README.md"]) {
  cpSync(join(packageRoot, part), join(root, part), { recursive: true });
}
symlinkSync(join(repository, "node_modules"), join(copy, "node_modules"));

/** @returns whether the test passes, and how many tests there were. */
function runTest({ test, title }) {
  const pattern = title.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const args = ["test", `./packages/ice/test/${test}`, "-t", pattern];
  const { status, stderr } = spawnSync(bun, args, { cwd: copy, encoding: "utf8", timeout: 120_000 });
  const count = Number(/Ran (\d+) tests? across/.exec(stderr ?? "")?.[1] ?? 0);
  return { passes: status === 0 && count > 0, count, output: stderr };
}

let failed = 0;
const fail = (text) => {
  failed++;
  console.log(`FAILED  ${text}`);
};

const sound = new Map();
for (const { test, title } of mutants) {
  const key = `${test}: ${title}`;
  if (!sound.has(key)) sound.set(key, runTest({ test, title }));
}
for (const [key, { passes, count, output }] of sound) {
  if (!passes) fail(`${key}: ${count === 0 ? "there is no such test" : `fails without any mutant\n${output}`}`);
}

for (const mutant of mutants) {
  const path = join(root, mutant.file);
  const original = readFileSync(path, "utf8");
  const places = original.split(mutant.find).length - 1;
  if (places !== 1) {
    fail(`${mutant.rule}: ${mutant.file} has ${places} places like ${JSON.stringify(mutant.find)}`);
    continue;
  }
  writeFileSync(
    path,
    original.replace(mutant.find, () => mutant.replace),
  );
  const { passes, count } = runTest(mutant);
  writeFileSync(path, original);
  if (passes) fail(`${mutant.rule}: the mutant survives ${mutant.test}, "${mutant.title}"`);
  else console.log(`killed  ${mutant.rule}${count === 0 ? " (does not even load)" : ""}`);
  if (!passes && count === 0) fail(`${mutant.rule}: the mutant is no program, so its death proves nothing`);
}
console.log(`${mutants.length - Math.min(failed, mutants.length)} passed, ${failed} failed`);
process.exit(failed > 0 || mutants.length === 0 ? 1 : 0);
