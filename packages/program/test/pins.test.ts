import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toBase32 } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Pins } from "../src/index.ts";

const first = toBase32(new Uint8Array(32).fill(1));
const second = toBase32(new Uint8Array(32).fill(2));

function makePins(t: T): { pins: Pins; dir: string } {
  const dir = mkdtempSync(join(tmpdir(), "adit-pins-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  return { dir, pins: new Pins(dir, "adit-agent") };
}

test("the first key is pinned, the same one passes, another is refused with the way to accept it", (t) => {
  const { pins, dir } = makePins(t);
  t.equal(pins.check("intermediates", "relay:4433", first), null);
  t.equal(new Pins(dir, "adit-agent").check("intermediates", "relay:4433", first), null);
  const why = t.must(pins.check("intermediates", "relay:4433", second));
  for (const part of [first, second, "relay:4433", "adit-agent forget relay:4433", join(dir, "pins.json")])
    t.ok(why.includes(part), part);
  t.equal(pins.get("intermediates", "relay:4433"), first);
  t.equal(statSync(pins.path).mode & 0o777, 0o600);
});

test("forgetting a pin lets the next key in, and reaches a program that runs", (t) => {
  const { pins: running, dir } = makePins(t);
  t.equal(running.check("peers", "office", first), null);
  t.equal(running.check("intermediates", "relay:4433", first), null);
  const other = new Pins(dir, "adit-agent");
  t.equal(other.forget("office"), true);
  t.equal(other.forget("office"), false);
  t.equal(running.check("peers", "office", second), null);
  t.equal(running.get("intermediates", "relay:4433"), first);
  t.same(other.keys(), ["relay:4433", "office"]);
});

test("names and addresses are apart, and object properties are no pins", (t) => {
  const { pins } = makePins(t);
  t.equal(pins.get("peers", "constructor"), null);
  t.equal(pins.check("peers", "constructor", first), null);
  t.equal(pins.get("intermediates", "constructor"), null);
  t.equal(pins.get("peers", "constructor"), first);
});

test("a damaged file is refused, not started afresh", (t) => {
  for (const content of ["{", "[]", '{"peers":{"office":"nonsense"}}', '{"peer":{}}']) {
    const { pins } = makePins(t);
    writeFileSync(pins.path, content);
    t.throws(() => pins.check("peers", "office", first), {
      code: "usage",
      message: /pins\.json is damaged \(.*mend it, or remove it/,
    });
    t.equal(readFileSync(pins.path, "utf8"), content);
  }
});
