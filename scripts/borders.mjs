// Imports between packages go one way (docs/architecture.md). Fails on an import that the table does not allow, or that
// package.json does not declare. `--graph` prints the imports that exist.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What the sources of each package may import. Tests may also import harness and sim. */
const allowed = {
  core: [],
  harness: [],
  sim: ["core"],
  ice: ["core"],
  quic: ["core"],
  signaling: ["core"],
  transport: ["core", "ice", "quic", "signaling"],
  program: ["core", "quic", "signaling", "transport"],
  intermediate: ["core", "ice", "quic", "signaling", "transport", "program"],
  connector: ["core", "ice", "quic", "signaling", "transport", "program"],
  agent: ["core", "ice", "quic", "signaling", "transport", "program"],
};
const testOnly = ["harness", "sim"];

const sources = (directory) =>
  readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));

const problems = [];
const graph = new Map();
for (const name of readdirSync("packages")) {
  if (!(name in allowed)) {
    problems.push(`packages/${name} is not in the table of scripts/borders.mjs`);
    continue;
  }
  const manifest = JSON.parse(readFileSync(`packages/${name}/package.json`, "utf8"));
  const edges = new Set();
  for (const part of ["src", "test"]) {
    let files = [];
    try {
      files = sources(`packages/${name}/${part}`);
    } catch {
      continue;
    }
    for (const file of files) {
      const text = readFileSync(file, "utf8");
      for (const [, imported] of text.matchAll(/(?:from|import)\s*\(?\s*["']@adit\/([a-z]+)(?:\/[a-z]+)?["']/g)) {
        if (imported === name) continue;
        const mayUse = part === "src" ? allowed[name] : [...allowed[name], ...testOnly];
        if (!mayUse.includes(imported)) problems.push(`${file}: ${name} may not import ${imported}`);
        const declared = { ...manifest.dependencies, ...(part === "test" ? manifest.devDependencies : {}) };
        if (!(`@adit/${imported}` in declared))
          problems.push(`${file}: @adit/${imported} is not declared in package.json`);
        if (part === "src") edges.add(imported);
      }
      for (const [, path] of text.matchAll(/from\s*["'](\.\.?\/[^"']+)["']/g)) {
        const target = join(file, "..", path);
        if (!target.startsWith(`packages/${name}/`)) problems.push(`${file}: ${path} reaches into another package`);
      }
    }
  }
  graph.set(name, [...edges].sort());
}
if (process.argv.includes("--graph")) {
  for (const [name, edges] of graph) console.log(`${name.padEnd(13)} -> ${edges.join(", ") || "(nothing)"}`);
}
for (const problem of problems) console.error(problem);
process.exit(problems.length > 0 ? 1 : 0);
