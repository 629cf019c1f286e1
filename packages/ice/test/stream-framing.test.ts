import { randomInt, seededRandom } from "@adit/core";
import { FUZZ, fuzzInputs, fuzzSeed, test } from "@adit/harness";
import { STUN_METHOD, StunBuilder, wrapChannelData } from "../src/index.ts";
import { frameForStream, StreamDeframer } from "../src/turn/stream-framing.ts";

const binding = (software: string): Uint8Array =>
  new StunBuilder("request", STUN_METHOD.BINDING, new Uint8Array(12)).string(0x8022, software).build();

function read(deframer: StreamDeframer, ...chunks: Uint8Array[]): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (const chunk of chunks) deframer.push(chunk, (message) => out.push(message.slice()));
  return out;
}

test("messages come out as they went in, however the stream is cut (RFC 8656 §12.5)", (t) => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed);
    const messages = Array.from({ length: 1 + randomInt(random, 8) }, (_, i) =>
      randomInt(random, 2) === 0
        ? binding("x".repeat(randomInt(random, 40)))
        : wrapChannelData(0x4000 + i, random.bytes(randomInt(random, 50))),
    );
    const stream = frameForStream(messages);
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < stream.length; ) {
      const size = 1 + randomInt(random, randomInt(random, 2) === 0 ? 5 : 90);
      chunks.push(stream.slice(at, at + size));
      at += size;
    }
    const deframer = new StreamDeframer();
    t.same(read(deframer, ...chunks), messages, `seed ${seed}`);
    t.equal(deframer.pending, false);
    t.equal(deframer.fault, null);
  }
});

test("ChannelData takes a multiple of four bytes in a stream, which its length does not count", (t) => {
  const message = wrapChannelData(0x4001, Uint8Array.of(1));
  t.equal(message.length, 5);
  t.same(frameForStream([message]), Uint8Array.of(0x40, 1, 0, 1, 1, 0, 0, 0));
  const deframer = new StreamDeframer();
  t.same(read(deframer, frameForStream([message]).subarray(0, 5)), [], "the padding belongs to it");
  t.same(read(deframer, new Uint8Array(3)), [message]);
});

test("what is neither is a fault, found at the first byte that shows it, and for good", (t) => {
  const cases: [string, Uint8Array][] = [
    ["TLS", Uint8Array.of(0x80)],
    ["HTTP", Uint8Array.of(0x47, 0x45, 0xff, 0xff, 0, 0, 0, 0)],
    ["another cookie", Uint8Array.of(0, 1, 0, 0, 1, 2, 3, 4)],
    ["a length that is no multiple of 4", Uint8Array.of(0, 1, 0, 3)],
  ];
  for (const [name, bytes] of cases) {
    const deframer = new StreamDeframer(1000);
    t.same(read(deframer, bytes), [], name);
    t.ok(deframer.fault, name);
    t.same(read(deframer, frameForStream([binding("a")])), [], `${name}: nothing is read behind it`);
    t.equal(deframer.pending, false);
  }
});

test("a message longer than the bound is refused by its header, before it comes", (t) => {
  const deframer = new StreamDeframer(64);
  t.same(read(deframer, Uint8Array.of(0x40, 0, 0, 60)), []);
  t.equal(deframer.fault, null);
  const other = new StreamDeframer(64);
  t.same(read(other, Uint8Array.of(0x40, 0, 0, 61)), []);
  t.equal(other.fault, "too-long");
});

test(
  "chunks of noise end in a fault or in messages, never in an exception",
  (t) => {
    const random = seededRandom(fuzzSeed(5780));
    const inputs = fuzzInputs(100_000);
    let messages = 0;
    let faults = 0;
    let deframer = new StreamDeframer(200);
    for (let i = 0; i < inputs; i++) {
      const chunk = random.bytes(randomInt(random, 24));
      if (chunk.length > 0 && randomInt(random, 4) > 0) chunk[0] = 0x40;
      if (chunk.length > 3) chunk.set([0, randomInt(random, 30)], 2);
      deframer.push(chunk, () => messages++);
      if (deframer.fault === null) continue;
      faults++;
      deframer = new StreamDeframer(200);
    }
    t.ok(messages > inputs / 100 && faults > inputs / 100, `${messages} messages, ${faults} faults`);
  },
  FUZZ,
);
