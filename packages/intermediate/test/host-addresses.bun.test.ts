/** In a process of its own: its descriptors are used up. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { test } from "@adit/harness";

const SCRIPT = `
  import { openSync } from "node:fs";
  import { hostAddresses } from "${join(import.meta.dirname, "../src/relay-address.ts")}";
  const before = hostAddresses();
  try { for (;;) openSync("/dev/null", "r"); } catch {}
  await new Promise((resolve) => setTimeout(resolve, 200)); // one reading serves for a moment
  process.stdout.write(JSON.stringify([before, hostAddresses()]));
`;

test("when no descriptor is left, the addresses of this host are those that were read before", (t) => {
  const limited = `ulimit -n 64; exec "$0" -e "$1"`;
  const out = execFileSync("/bin/sh", ["-c", limited, process.execPath, SCRIPT], { encoding: "utf8" });
  const [before, after] = JSON.parse(out);
  t.ok(before.length > 0);
  t.same(after, before);
});
