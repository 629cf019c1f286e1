import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type T, test } from "@adit/harness";

// Both launchers are the same but for the name. The tests run in the root of the repository.
const launchers = ["adit-agent", "adit-connector"].map((name) => ({
  name,
  path: resolve("packages", name.replace("adit-", ""), "bin", name),
}));

function tempDir(t: T): string {
  const dir = mkdtempSync(join(tmpdir(), "adit launcher-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  return dir;
}

test("the launcher starts the program from any directory, through symbolic links, whatever Bun files lie there", (t) => {
  const dir = tempDir(t);
  writeFileSync(join(dir, "bunfig.toml"), 'preload = ["./preload.ts"]\n');
  writeFileSync(join(dir, "preload.ts"), 'console.log("preloaded");\n');
  writeFileSync(join(dir, ".env"), "XDG_STATE_HOME=/nonexistent-from-env-file\n");
  mkdirSync(join(dir, "bin"));
  for (const { name, path } of launchers) {
    symlinkSync(path, join(dir, "bin", name));
    symlinkSync(name, join(dir, "bin", `${name}-again`));
    const env = { PATH: "/usr/bin:/bin", HOME: dir };
    const version = spawnSync(join(dir, "bin", `${name}-again`), ["--version"], { cwd: dir, env, encoding: "utf8" });
    t.equal(version.stdout, `${name} 0.1.0\n`, version.stderr);
    const id = spawnSync(`./bin/${name}`, ["id"], { cwd: dir, env, encoding: "utf8" });
    t.match(id.stdout, /^[a-z2-7]{52}\n$/, id.stderr);
  }
});

/** A connector without an intermediate; `words` stand before the command. It runs: it has warned that nobody is let in. */
async function startConnector(t: T, words: readonly string[] = []) {
  const args =
    "--intermediate 127.0.0.1:9 --name x --expose a=tcp://127.0.0.1:9 --admin 127.0.0.1:0 --bind 127.0.0.1 --log json";
  const [command = "", ...rest] = [...words, t.must(launchers[1]).path, ...args.split(" "), "--state-dir", tempDir(t)];
  const child = spawn(command, rest);
  t.teardown(() => child.kill("SIGKILL"));
  const log: string[] = [];
  child.stderr.on("data", (text) => log.push(String(text)));
  await once(child.stderr, "data");
  return { child, log: () => log.join("") };
}

test("what nohup has started stays when the terminal goes", async (t) => {
  const { child, log } = await startConnector(t, ["nohup"]);
  child.kill("SIGHUP");
  child.kill("SIGTERM");
  t.same(await once(child, "close"), [0, null], log()); // a second signal that counts would have made it 143
});

test("the process that was started is the program: a signal ends it cleanly", async (t) => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    const { child, log: logged } = await startConnector(t);
    const pid = child.pid;
    child.kill(signal);
    const [code, by] = await once(child, "close");
    const log = logged();
    t.same([code, by], [0, null], log);
    t.throws(() => process.kill(pid ?? 0, 0), { code: "ESRCH" });
    for (const line of log.trimEnd().split("\n")) t.equal(typeof JSON.parse(line).event, "string");
  }
});

/** Loaded before a program: the QUIC library is not there, as on a machine that it is not prebuilt for. */
const WITHOUT_QUICHE = `import { plugin } from "bun";
const gone = () => { throw new Error("Failed requiring possible native bindings"); };
plugin({ name: "no-quiche", setup: (build) => build.module("@matrixai/quic/native/quiche.js", gone) });
`;

test("where the QUIC library is not prebuilt the programs say so at start", (t) => {
  const dir = tempDir(t);
  writeFileSync(join(dir, "preload.ts"), WITHOUT_QUICHE);
  const env = { PATH: "/usr/bin:/bin", HOME: dir, BUN_OPTIONS: "--preload=./preload.ts" };
  for (const { name, path } of launchers) {
    const run = spawnSync(path, ["id"], { cwd: dir, env, encoding: "utf8" });
    t.equal(run.status, 1, run.stderr);
    t.match(
      run.stderr,
      new RegExp(`^${name}: the QUIC library \\(quiche\\) does not load on \\w+-\\w+\\. It is prebuilt for linux-x64`),
    );
  }
});
