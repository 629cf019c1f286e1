// Runs at the end of `npm ci`: patches what does not load as published, and builds dist/ for Node.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

if (!existsSync("node_modules/typescript")) process.exit(0); // installed without development tools: Bun runs the sources
for (const [command, args] of [
  ["patch-package", ["--error-on-fail"]],
  ["tsc", ["-b"]],
]) {
  const { status, error } = spawnSync(`node_modules/.bin/${command}`, args, { stdio: "inherit" });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
