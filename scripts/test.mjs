// npm test [-- FILTER ...]: every package's tests, under tap on Node and under bun:test on Bun. The last line counts them all.
// FILTER: a part of PACKAGE/FILE or of the file's path, as in ice/agent or packages/ice/test/agent.test.ts.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const filters = process.argv.slice(2);
const files = readdirSync("packages")
  .filter((name) => existsSync(`packages/${name}/test`))
  .flatMap((name) =>
    readdirSync(`packages/${name}/test`, { recursive: true })
      .filter((file) => file.endsWith(".test.ts"))
      .map((file) => ({ name, file })),
  )
  .filter(({ name, file }) => {
    const names = [`${name}/${file}`, `packages/${name}/test/${file}`];
    return filters.length === 0 || filters.some((filter) => names.some((text) => text.includes(filter)));
  });
if (files.length === 0) {
  console.error(`no test file matches "${filters.join('" or "')}"`);
  process.exit(1);
}

const build = spawnSync("node_modules/.bin/tsc", ["-b"], { stdio: "inherit" });
if (build.status !== 0) process.exit(1);

const total = { passed: 0, failed: 0, skipped: 0 };
await onNode();
await onBun();
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ""}`);
// Not process.exit: what was printed to a pipe has to be written first.
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;

/**
 * `*.bun.test.ts` needs Bun; all else runs on Node, compiled. A tap test is a program that prints TAP; two run at once.
 * (`tap run` would put its own TypeScript loader in front, which does not load beside TypeScript 7.)
 */
async function onNode() {
  const compiled = files
    .filter(({ file }) => !file.endsWith(".bun.test.ts"))
    .map(({ name, file }) => `packages/${name}/dist/test/${file.replace(/\.ts$/, ".js")}`);
  const count = { passed: 0, failed: 0, skipped: 0 };
  const queue = [...compiled];
  const worker = async () => {
    for (let file = queue.shift(); file; file = queue.shift()) {
      const { code, out } = await run(process.execPath, ["--enable-source-maps", file], { TAP: "1" });
      let failed = 0;
      for (const line of out.split("\n")) {
        const result = /^(not )?ok \d+(.*)$/.exec(line);
        if (!result) continue;
        if (/# SKIP/i.test(result[2])) count.skipped++;
        else if (result[1]) failed++;
        else count.passed++;
      }
      if (code !== 0 && failed === 0) failed = 1; // it died before its tests could say so
      if (failed > 0) console.log(`# ${file}\n${out}`);
      count.failed += failed;
    }
  };
  await Promise.all([worker(), worker()]);
  report("node", count);
}

async function onBun() {
  const directory = mkdtempSync(join(tmpdir(), "adit-test-"));
  const junit = join(directory, "junit.xml");
  const { code, out } = await run("node_modules/.bin/bun", [
    "test",
    "--reporter=junit",
    `--reporter-outfile=${junit}`,
    ...files.map(({ name, file }) => `./packages/${name}/test/${file}`),
  ]);
  const count = { passed: 0, failed: 0, skipped: 0 };
  const xml = existsSync(junit) ? readFileSync(junit, "utf8") : "";
  for (const [, body] of xml.matchAll(/<testcase\b[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    if (body?.includes("<failure") || body?.includes("<error")) count.failed++;
    else if (body?.includes("<skipped")) count.skipped++;
    else count.passed++;
  }
  rmSync(directory, { recursive: true });
  if (code !== 0 && count.failed === 0) count.failed = 1;
  if (code !== 0) console.log(out.replace(/^\(pass\).*\n/gm, ""));
  report("bun", count);
}

function report(runtime, count) {
  console.log(`${runtime}: ${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
  for (const key of Object.keys(total)) total[key] += count[key];
}

function run(command, args, env = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
    let out = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (out += data));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out }));
  });
}
