import { randomInt, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { FrameReader, frame, MAX_FRAME_BYTES } from "../src/driver/frames.ts";

const read = (reader: FrameReader, chunks: readonly Uint8Array[]): string[] => {
  const packets: string[] = [];
  for (const chunk of chunks) reader.push(chunk, (packet) => packets.push(Buffer.from(packet).toString("hex")));
  return packets;
};

test("a packet stands behind its length in 16 bits, network byte order (RFC 4571 §2)", (t) => {
  t.same([...frame(Uint8Array.of(7, 8, 9))], [0, 3, 7, 8, 9]);
  t.same([...frame(new Uint8Array(0x102)).subarray(0, 2)], [1, 2]);
  t.same(read(new FrameReader(), [Uint8Array.of(0, 1, 5, 0, 0, 0, 2, 6, 7)]), ["05", "0607"], "empty ones are none");
});

test("500 seeds: packets come out whole and in order, however the stream is cut", (t) => {
  for (let seed = 1; seed <= 500; seed++) {
    const random = seededRandom(seed);
    const packets = Array.from({ length: 1 + randomInt(random, 12) }, () =>
      random.bytes(1 + randomInt(random, seed % 10 === 0 ? 5_000 : 40)),
    );
    const stream = Buffer.concat(packets.map((packet) => frame(packet)));
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < stream.length; ) {
      const length = 1 + randomInt(random, seed % 3 === 0 ? 3 : 200);
      chunks.push(stream.subarray(at, at + length));
      at += length;
    }
    const expected = packets.map((packet) => Buffer.from(packet).toString("hex"));
    t.same(read(new FrameReader(), chunks), expected, `seed ${seed}`);
  }
});

test("what is longer than is wanted ends the reading for good", (t) => {
  const reader = new FrameReader(100);
  t.same(read(reader, [frame(new Uint8Array(101)), frame(Uint8Array.of(1))]), []);
  t.ok(reader.fault);
  const longest = new FrameReader();
  t.equal(read(longest, [frame(new Uint8Array(MAX_FRAME_BYTES))]).length, 1);
  t.notOk(longest.fault);
});
