import { seededRandom, toHex } from "@adit/core";
import { test } from "@adit/harness";
import { decodeDatagram, encodeDatagram } from "../src/index.ts";
import { forSeeds } from "./random-message.ts";

// RFC 9000 §16 and its examples in appendix A.1: 37, 15293 and 494878333 in 1, 2 and 4 bytes.
const heads: readonly (readonly [number, string])[] = [
  [37, "25"],
  [63, "3f"],
  [64, "4040"],
  [15_293, "7bbd"],
  [16_383, "7fff"],
  [16_384, "80004000"],
  [494_878_333, "9d7f3e7d"],
  [2 ** 30 - 1, "bfffffff"],
  [2 ** 30, "c000000040000000"],
];

for (const [quarter, hex] of heads) {
  test(`flow ${quarter} is written as ${hex} and read back`, (t) => {
    const data = encodeDatagram(quarter * 4, Uint8Array.of(1, 2));
    t.equal(toHex(data), `${hex}0102`);
    t.same(decodeDatagram(data), { streamId: quarter * 4, payload: Uint8Array.of(1, 2) });
  });
}

test("an empty payload is a datagram too", (t) => {
  t.same(decodeDatagram(encodeDatagram(4, new Uint8Array())), { streamId: 4, payload: new Uint8Array() });
});

test("a short head and an ID beyond 53 bits are malformed", (t) => {
  t.equal(decodeDatagram(new Uint8Array()), null);
  t.equal(decodeDatagram(Uint8Array.of(0x40)), null);
  t.equal(decodeDatagram(Uint8Array.of(0xc0, 0, 0, 0, 0, 0, 0)), null);
  t.equal(decodeDatagram(new Uint8Array(8).fill(0xff)), null);
});

test("only client-initiated bidirectional streams have flows", (t) => {
  for (const id of [1, 2, 3, -4, 0.5, Number.NaN, 2 ** 60])
    t.throws(() => encodeDatagram(id, new Uint8Array()), RangeError);
});

test("random datagrams never throw, and what is read is written the same or shorter (10,000 seeds)", (t) => {
  forSeeds(10_000, (seed) => {
    const random = seededRandom(seed);
    const data = random.bytes(Math.floor(random.float() * 20));
    const read = decodeDatagram(data);
    if (!read) return;
    const again = encodeDatagram(read.streamId, read.payload);
    t.ok(again.length <= data.length);
    t.same(decodeDatagram(again), read);
  });
});
