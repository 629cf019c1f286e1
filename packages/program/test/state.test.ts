import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type T, test } from "@adit/harness";
import { Identity } from "@adit/quic";
import { defaultStateDir, ensureStateDir, loadIdentity, lockStateDir } from "../src/index.ts";

function makeDir(t: T): string {
  const dir = mkdtempSync(join(tmpdir(), "adit-state-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, "state");
}

const mode = (path: string): number => statSync(path).mode & 0o777;
const locks = (dir: string): string[] => readdirSync(dir).filter((name) => name.startsWith("lock."));

test("the default directory follows the XDG specification", (t) => {
  t.equal(defaultStateDir("adit-agent", { XDG_STATE_HOME: "/s", HOME: "/h" }), "/s/adit/agent");
  t.equal(defaultStateDir("adit-agent", { XDG_STATE_HOME: "relative", HOME: "/h" }), "/h/.local/state/adit/agent");
  t.equal(defaultStateDir("adit-connector", { HOME: "/h" }), "/h/.local/state/adit/connector");
});

test("the key is made once, for its owner alone", async (t) => {
  const dir = makeDir(t);
  const [a, b] = await Promise.all([loadIdentity(dir), loadIdentity(dir)]);
  t.equal(a.peerId, b.peerId);
  t.equal((await loadIdentity(dir)).peerId, a.peerId);
  t.same([mode(dir), mode(join(dir, "key.pem"))], [0o700, 0o600]);
  t.same(readdirSync(dir), ["key.pem"]);
});

test("of two first runs at one time the one whose key is there first gives it to both", async (t) => {
  const dir = makeDir(t);
  const first = Identity.generate();
  const { generate } = Identity;
  t.teardown(() => Object.assign(Identity, { generate }));
  Object.assign(Identity, {
    // Between the look that finds no key and the writing of one.
    generate: () => {
      writeFileSync(join(dir, "key.pem"), first.toPkcs8Pem(), { mode: 0o600, flag: "wx" });
      return generate.call(Identity);
    },
  });
  t.equal((await loadIdentity(dir)).peerId, first.peerId);
  t.equal((await loadIdentity(dir)).peerId, first.peerId);
  t.same(readdirSync(dir), ["key.pem"]);
});

test("a key file that others may read, or that is no key, is refused with what to do", async (t) => {
  const dir = makeDir(t);
  await loadIdentity(dir);
  for (const bits of [0o640, 0o604, 0o620, 0o601]) {
    chmodSync(join(dir, "key.pem"), bits);
    await t.rejects(loadIdentity(dir), {
      code: "usage",
      message: /key\.pem can be read by others \(mode 06\d\d\); run: chmod 600 /,
    });
  }
  chmodSync(join(dir, "key.pem"), 0o600);
  writeFileSync(join(dir, "key.pem"), "not a key");
  await t.rejects(loadIdentity(dir), { code: "usage", message: /holds no Ed25519 key/ });
});

test("a state directory that is a file is refused", (t) => {
  const dir = ensureStateDir(makeDir(t));
  writeFileSync(join(dir, "file"), "");
  t.throws(() => ensureStateDir(join(dir, "file")), {
    code: "usage",
    message: /is not a directory; choose another with --state-dir/,
  });
  t.throws(() => ensureStateDir(join(dir, "file", "below")), { code: "usage" });
});

test("one program at a time: the second is told the pid of the first", async (t) => {
  const dir = makeDir(t);
  const lock = await lockStateDir(dir, "adit-agent");
  await t.rejects(lockStateDir(dir, "adit-agent", 0), {
    code: "usage",
    message: new RegExp(`in use by adit-agent \\(pid ${process.pid}\\)`),
  });
  lock.release();
  lock.release();
  t.same(locks(dir), []);
  (await lockStateDir(dir, "adit-agent")).release();
});

test("another process's lock holds while it lives, and not when it was killed", async (t) => {
  const dir = ensureStateDir(makeDir(t));
  const other = spawn("sleep", ["60"]);
  t.teardown(() => other.kill("SIGKILL"));
  await once(other, "spawn");
  // What that process would have written: the birth is unknown ("0") where there is no /proc.
  writeFileSync(join(dir, `lock.${other.pid}.0`), "adit-connector\n");
  await t.rejects(lockStateDir(dir, "adit-agent", 0), {
    code: "usage",
    message: new RegExp(`in use by adit-connector \\(pid ${other.pid}\\)`),
  });
  t.same(locks(dir), [`lock.${other.pid}.0`]);
  other.kill("SIGKILL");
  await once(other, "close");
  const lock = await lockStateDir(dir, "adit-agent");
  t.same(locks(dir).length, 1);
  lock.release();
});

test("a process of another user holds its lock: that it may not be signalled says that it lives", async (t) => {
  const dir = ensureStateDir(makeDir(t));
  const { kill } = process;
  t.teardown(() => Object.assign(process, { kill }));
  const denied: number[] = [];
  Object.assign(process, {
    kill: (pid: number) => {
      denied.push(pid);
      throw Object.assign(new Error("kill EPERM"), { code: "EPERM" });
    },
  });
  const { ppid } = process;
  writeFileSync(join(dir, `lock.${ppid}.0`), "adit-agent\n");
  await t.rejects(lockStateDir(dir, "adit-agent", 0), {
    code: "usage",
    message: new RegExp(`in use by adit-agent \\(pid ${ppid}\\)`),
  });
  t.ok(denied.includes(ppid));
  t.same(locks(dir), [`lock.${ppid}.0`]);
});

test("who holds it may be on the way out: its end is waited for", async (t) => {
  const dir = ensureStateDir(makeDir(t));
  const other = spawn("sleep", ["60"]);
  t.teardown(() => other.kill("SIGKILL"));
  await once(other, "spawn");
  writeFileSync(join(dir, `lock.${other.pid}.0`), "adit-agent\n");
  const next = lockStateDir(dir, "adit-agent", 10_000);
  setTimeout(() => other.kill("SIGKILL"), 50);
  (await next).release();
  t.same(locks(dir), []);
});

test(
  "a process that has ended holds no lock, though nobody has waited for it",
  async (t) => {
    const dir = ensureStateDir(makeDir(t));
    // A sleep that has a child which it knows nothing of. The child reads a byte, so that it does not end while the shell is there, who would wait for it.
    const parent = spawn("sh", ["-c", "exec 3<&0; head -c 1 <&3 & echo $!; exec sleep 60"]);
    t.teardown(() => parent.kill("SIGKILL"));
    const [line] = await once(parent.stdout, "data");
    const pid = Number(line);
    while (!/^sleep$/m.test(readFileSync(`/proc/${parent.pid}/comm`, "utf8"))) await sleep(5);
    parent.stdin.write("x");
    while (!/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) await sleep(5);
    writeFileSync(join(dir, `lock.${pid}.0`), "adit-agent\n");
    (await lockStateDir(dir, "adit-agent", 0)).release();
    t.same(locks(dir), []);
  },
  { skip: process.platform !== "linux" && "needs /proc" },
);

test(
  "a later process with the same pid does not hold an old lock",
  async (t) => {
    const dir = ensureStateDir(makeDir(t));
    const other = spawn("sleep", ["60"]);
    t.teardown(() => other.kill("SIGKILL"));
    await once(other, "spawn");
    writeFileSync(join(dir, `lock.${other.pid}.1`), "adit-agent\n"); // nothing we start is as old as one tick after boot
    writeFileSync(join(dir, `lock.${process.pid}.1`), "adit-agent\n");
    (await lockStateDir(dir, "adit-agent")).release();
    t.same(locks(dir), []);
  },
  { skip: process.platform !== "linux" && "needs /proc" },
);
