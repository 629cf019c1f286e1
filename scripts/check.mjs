// npm run check: types, lint and format, which package may import which, and whether the documents' links lead somewhere.
import { spawnSync } from "node:child_process";

const steps = [
  ["types", "node_modules/.bin/tsc", ["-b"]],
  ["lint and format", "node_modules/.bin/biome", ["ci", "--error-on-warnings", "."]],
  ["import borders", process.execPath, ["scripts/borders.mjs"]],
  ["links", process.execPath, ["scripts/links.mjs"]],
];
for (const [name, command, args] of steps) {
  const { status, error } = spawnSync(command, args, { stdio: "inherit" });
  if (error || status !== 0) {
    console.error(`check: ${name} failed${error ? `: ${error.message}` : ""}`);
    process.exit(1);
  }
  console.log(`check: ${name} ok`);
}
