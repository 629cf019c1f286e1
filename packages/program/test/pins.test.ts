import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toBase32 } from "@adit/core";
import { type T, test } from "@adit/harness";
import { intermediateAddress, intermediateOptions, Pins } from "../src/index.ts";

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

test("a file holds 10,000 pins of a kind; then a new name is an error that says so, and the known ones go on", (t) => {
  const { pins } = makePins(t);
  const peers = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`name-${i}`, first]));
  writeFileSync(pins.path, JSON.stringify({ intermediates: {}, peers }));
  t.throws(() => pins.check("peers", "one-more", first), { code: "usage", message: /holds 10000 pins/ });
  t.equal(pins.check("peers", "name-0", first), null);
  t.equal(pins.check("intermediates", "relay:4433", first), null);
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

test("each of several intermediates has its own key to answer to", (t) => {
  const { pins } = makePins(t);
  const places = [`${first}@relay:4433`, "[::1]:4433", "192.0.2.1:4433"].map((text) =>
    t.must(intermediateAddress.parse(text)),
  );
  const { intermediate, checkIntermediate } = intermediateOptions(pins, places);
  t.same(intermediate, [
    { host: "relay", port: 4433 },
    { host: "::1", port: 4433 },
    { host: "192.0.2.1", port: 4433 },
  ]);
  t.equal(checkIntermediate(first, "relay:4433"), null);
  t.match(checkIntermediate(second, "relay:4433") ?? "", /not .* as --intermediate says/);
  t.equal(checkIntermediate(second, "[::1]:4433"), null);
  t.match(checkIntermediate(first, "[::1]:4433") ?? "", /adit-agent forget/);
  t.match(checkIntermediate(first, "203.0.113.1:4433") ?? "", /none of the intermediates/);
  t.same(pins.keys(), ["[::1]:4433"]);
});

test("too many intermediates, and one named twice, are refused as usage errors", (t) => {
  const { pins } = makePins(t);
  const places = [1, 2, 3, 4, 5].map((host) => t.must(intermediateAddress.parse(`192.0.2.${host}:4433`)));
  t.throws(() => intermediateOptions(pins, places), { code: "usage", message: /4 times, not 5/ });
  t.throws(() => intermediateOptions(pins, [...places.slice(0, 1), ...places.slice(0, 1)]), {
    code: "usage",
    message: /twice/,
  });
});
