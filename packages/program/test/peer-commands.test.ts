import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nullLogger } from "@adit/core";
import { test } from "@adit/harness";
import { CONGESTION_CONTROLS, DEFAULT_CONGESTION } from "@adit/quic";
import { congestionControlOption, congestionControls, withState } from "../src/peer-commands.ts";

test("--congestion-control offers what the library has, with the same default", (t) => {
  t.same([...congestionControls].sort(), [...CONGESTION_CONTROLS].sort());
  t.equal(congestionControlOption.schema.parse(undefined), DEFAULT_CONGESTION);
});

test("a damaged file of pins is an error of configuration before anything is begun", async (t) => {
  const stateDir = mkdtempSync(join(tmpdir(), "adit-state-"));
  t.teardown(() => rmSync(stateDir, { recursive: true }));
  writeFileSync(join(stateDir, "pins.json"), "{");
  const { signal } = new AbortController();
  const context = { program: "adit-agent", stateDir, log: nullLogger, signal, print: () => {} };
  let ran = false;
  const run = withState(context, async () => {
    ran = true;
  });
  await t.rejects(run, { code: "usage", message: /pins\.json is damaged .*mend it, or remove it/ });
  t.equal(ran, false);
});
