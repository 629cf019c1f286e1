import { test } from "@adit/harness";
import { fromBase32, fromHex, seededRandom, toBase32, toHex, utf8 } from "../src/index.ts";

test("base32 gives the values of RFC 4648 §10, lower case and unpadded", (t) => {
  const table = ["", "my", "mzxq", "mzxw6", "mzxw6yq", "mzxw6ytb", "mzxw6ytboi"];
  table.forEach((text, length) => {
    const bytes = utf8("foobar").subarray(0, length);
    t.equal(toBase32(bytes), text);
    t.same(fromBase32(text), new Uint8Array(bytes));
  });
});

test("base32 has one spelling per value", (t) => {
  for (const text of ["MY", "mz", "m", "my======", "m1", "mzx"]) t.equal(fromBase32(text), null, text);
});

test("a 32-byte key is 52 characters and comes back", (t) => {
  for (let seed = 0; seed < 100; seed++) {
    const key = seededRandom(seed).bytes(32);
    const text = toBase32(key);
    t.equal(text.length, 52);
    t.same(fromBase32(text), key);
  }
});

test("hexadecimal comes back, and nonsense is refused", (t) => {
  t.equal(toHex(fromHex("00 ff 1A")), "00ff1a");
  t.throws(() => fromHex("0"), RangeError);
  t.throws(() => fromHex("zz"), RangeError);
});
