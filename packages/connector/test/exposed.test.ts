import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "@adit/harness";
import { noteExposed, warnOfUnexposed } from "../src/exposed.ts";

function stateDir(t: { teardown(end: () => unknown): void }): string {
  const dir = mkdtempSync(join(tmpdir(), "adit-exposed-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test("a service that the connector did not expose when it last ran is named, with what it may have been meant for", (t) => {
  const dir = stateDir(t);
  noteExposed(dir, ["ssh"]);
  noteExposed(dir, ["web", "dns"]);
  t.same(warnOfUnexposed(dir, ["web", "dns"]), []);
  t.same(warnOfUnexposed(dir, []), [], "no name: all that are exposed");
  const [slip = "", other = "", ...more] = warnOfUnexposed(dir, ["wbe", "web", "printer"]);
  t.match(slip, /no "wbe" when it last ran, but web, dns \(did you mean web\?\)/);
  t.match(other, /no "printer" when it last ran, but web, dns; this ticket opens it once there is --expose printer=/);
  t.same(more, []);
});

test("where nothing is known of what is exposed nobody is warned", (t) => {
  const dir = stateDir(t);
  t.same(warnOfUnexposed(dir, ["web"]), [], "it has not run yet");
  writeFileSync(join(dir, "exposed"), "\u0000\u001b[31m\n");
  t.same(warnOfUnexposed(dir, ["web"]), [], "the file is damaged");
  t.same(warnOfUnexposed(join(dir, "none"), ["web"]), []);
  noteExposed(join(dir, "none"), ["web"]); // does not throw
});
