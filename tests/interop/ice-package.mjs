// node ice-package.mjs [BUN]: packs core and ice, installs them in an empty folder outside the checkout, and runs the README's
// example there on Node and on Bun. What is packed must be enough: no sources of the checkout, no development dependencies.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const bun = process.argv[2] ?? join(root, "node_modules/.bin/bun");
const LIMIT_MS = 60_000;

function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: "utf8", timeout: LIMIT_MS });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? `${stdout}${stderr}`}`);
  return stdout;
}

const folder = mkdtempSync(join(tmpdir(), "adit-package-"));
let passed = 0;
let failed = 0;
try {
  for (const name of ["core", "ice"]) {
    run("npm", ["pack", "--silent", "--pack-destination", folder], join(root, "packages", name));
  }
  const archives = readdirSync(folder).filter((file) => file.endsWith(".tgz"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }));
  // The archives depend on each other and on nothing else, so no registry is needed.
  run("npm", ["install", "--offline", "--no-audit", "--no-fund", ...archives.map((file) => `./${file}`)], folder);
  const readme = readFileSync(join(folder, "node_modules/@adit/ice/README.md"), "utf8");
  const example = /```ts\n\/\/ example\n([\s\S]*?)```/.exec(readme)?.[1];
  if (!example) throw new Error("the README has no example");
  writeFileSync(join(folder, "example.mjs"), example);
  const installed = readdirSync(join(folder, "node_modules/@adit"));
  if (installed.sort().join() !== "core,ice") throw new Error(`installed: ${installed}`);
  for (const [runtime, command, present] of [
    ["Node", process.execPath, true],
    ["Bun", bun, existsSync(bun)],
  ]) {
    if (!present) throw new Error(`${runtime} is not at ${command}`);
    const out = run(command, ["example.mjs"], folder).trim();
    if (out === "hello") passed++;
    else failed++;
    console.log(`${out === "hello" ? "ok" : "FAILED"} the README's example on ${runtime}: ${JSON.stringify(out)}`);
  }
} catch (error) {
  failed++;
  console.log(`FAILED ${error.message}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
