import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type T, test } from "@adit/harness";
import { type AccessPolicy, OPEN_POLICY, readPolicyFile } from "../src/access-policy.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";

const ALICE = "a".repeat(51).concat("q");
const BOB = "b".repeat(51).concat("q");
const SERVER = "s".repeat(51).concat("q");

function policy(t: T, toml: string): AccessPolicy {
  const dir = mkdtempSync(join(tmpdir(), "adit-policy-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "policy.toml"), toml);
  return readPolicyFile(join(dir, "policy.toml"));
}

test("without a file, and where it is silent, everybody may; the limits are the defaults", async (t) => {
  for (const open of [OPEN_POLICY, policy(t, "")]) {
    t.ok(open.mayRegister(ALICE, "office"));
    t.ok(open.mayConnect(ALICE, { name: null, peerId: BOB }));
    t.same(open.limits, DEFAULT_LIMITS);
  }
});

test("a list allows what it names and nothing else; an empty one allows nothing", async (t) => {
  const rules = policy(
    t,
    `connect = []
     [groups]
     servers = ["${SERVER}"]
     [[register]]
     keys = ["group:servers"]
     names = ["office", "lab-*"]
     [[register]]
     keys = ["${ALICE}"]`,
  );
  t.ok(rules.mayRegister(SERVER, "office"));
  t.ok(rules.mayRegister(SERVER, "lab-7"));
  t.notOk(rules.mayRegister(SERVER, "lab"));
  t.notOk(rules.mayRegister(SERVER, "my-lab-7"), "the whole name has to fit");
  t.ok(rules.mayRegister(ALICE, "whatever"), "without names: any");
  t.notOk(rules.mayRegister(BOB, "office"));
  t.notOk(rules.mayConnect(ALICE, { name: "office", peerId: SERVER }));
});

test("who may connect to what: by name, by PeerId, by group", async (t) => {
  const rules = policy(
    t,
    `[groups]
     servers = ["${SERVER}"]
     [[connect]]
     keys = ["${ALICE}"]
     to = ["office", "group:servers"]
     [[connect]]
     keys = ["any"]
     to = ["public-*"]`,
  );
  t.ok(rules.mayConnect(ALICE, { name: "office", peerId: BOB }));
  t.ok(rules.mayConnect(ALICE, { name: null, peerId: SERVER }));
  t.notOk(rules.mayConnect(ALICE, { name: null, peerId: BOB }));
  t.ok(rules.mayConnect(BOB, { name: "public-web", peerId: SERVER }));
  t.notOk(rules.mayConnect(BOB, { name: "office", peerId: SERVER }));
  t.ok(policy(t, `[[connect]]\nkeys = ["any"]\nto = ["any"]`).mayConnect(BOB, { name: null, peerId: ALICE }));
});

test("limits: those that are given change", async (t) => {
  const { limits } = policy(t, "[limits]\nsessions-per-key = 3\nrelay-bytes-per-second = 12_500_000\n");
  t.same(limits, { ...DEFAULT_LIMITS, sessionsPerKey: 3, relayBytesPerSecond: 12_500_000 });
});

test("patterns with many stars cost little, and mean what they say", async (t) => {
  const hard = policy(t, `[[register]]\nkeys = ["any"]\nnames = ["${"*a".repeat(19)}"]`);
  const started = performance.now();
  for (let i = 0; i < 1_000; i++) t.notOk(hard.mayRegister(ALICE, `${"a".repeat(39)}b`) && i === 0);
  t.ok(performance.now() - started < 2_000);
  t.ok(hard.mayRegister(ALICE, "a".repeat(19)));
});

test("a mistake is named: the file, the place, what stands there, what was expected", async (t) => {
  const refused = (toml: string): string => {
    try {
      policy(t, toml);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    return "taken";
  };
  t.match(refused(`[[register]]\nkeys = ["bob"]`), /policy\.toml: register\.0\.keys\.0 = "bob": expected a PeerId/);
  t.match(refused(`[[register]]\nkeys = ["group:staff"]`), /"group:staff" is used, and there is no such group/);
  t.match(refused(`[[register]]\nkeys = ["group:constructor"]`), /no such group/);
  t.match(refused(`[[connect]]\nkeys = ["any"]\nto = ["Office"]`), /connect\.0\.to\.0 = "Office": expected a name/);
  t.match(refused("[[conect]]\nkeys = []"), /unknown key conect/);
  t.match(refused("[limits]\nsessions = 3"), /unknown key sessions in limits/);
  t.match(refused("[limits]\nsessions-per-key = 0"), /limits\.sessions-per-key = 0: expected 1 or more/);
  t.match(refused("keys = ["), /policy\.toml is not valid TOML/);
  t.throws(() => readPolicyFile("/nonexistent/policy.toml"), { message: /--policy .*there is no such file/ });
});
