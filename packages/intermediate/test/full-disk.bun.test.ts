// What only a disk that is full, or cannot be written, can show: in a mount namespace of its own. Needs `unshare -rm`.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "@adit/harness";

const unshare = (script: string, ...args: string[]) =>
  spawnSync("unshare", ["-rm", "sh", "-ec", script, "sh", ...args], { encoding: "utf8", timeout: 20_000 });
const possible = unshare("mount -t tmpfs tmpfs /mnt").status === 0;

const IN_A_SMALL_DISK = `
  mount -t tmpfs -o size=400k tmpfs "$1"
  for step in make start run; do "$2" "$3" "$1" $step; done
  mount -o remount,ro "$1"
  "$2" "$3" "$1" read-only
`;

test(
  "a disk that is full, to the last byte: names that are stored stand and their owners get in; a directory that cannot be written is said to be one",
  async (t) => {
    const dir = mkdtempSync(join(tmpdir(), "adit-disk-"));
    t.teardown(() => rmSync(dir, { recursive: true, force: true }));
    const { stdout, stderr, status } = unshare(
      IN_A_SMALL_DISK,
      dir,
      process.execPath,
      join(import.meta.dirname, "full-disk.ts"),
    );
    t.equal(status, 0, stderr);
    const [, start, full, readOnly] = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    t.equal(start.code, "disk-full", "said by a program that starts as well");
    t.equal(full.refused.code, "disk-full");
    t.match(full.refused.message, /no room on the disk for .*names\.sqlite; the names that are stored stand/);
    t.equal(full.owner, "o".repeat(52));
    t.same(full.again, { is: "owned", fresh: false });
    t.equal(full.listed, full.taken + 1, "what was promised is there, and no half of another");
    t.same(full.later, { is: "owned", fresh: true });
    t.equal(full.all, full.taken + 2);
    t.equal(readOnly.lock.code, "usage");
    t.match(readOnly.lock.message, /^the state directory .* cannot be written: EROFS/);
    t.equal(readOnly.names.code, "unavailable");
    t.match(readOnly.names.message, /has to be writable, also to read the names \(EROFS/);
  },
  { skip: !possible && "no mount namespaces here" },
);
