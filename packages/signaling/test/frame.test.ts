import { concat, randomInt, seededRandom, toHex } from "@adit/core";
import { test } from "@adit/harness";
import { FrameReader, MAX_FRAME_BYTES } from "../src/index.ts";
import { forSeeds } from "./random-message.ts";

function frame(payload: Uint8Array): Uint8Array {
  const header = new Uint8Array(4);
  new DataView(header.buffer).setUint32(0, payload.length);
  return concat(header, payload);
}

test("frames come out whole however the stream is chopped up (500 seeds)", (t) => {
  forSeeds(500, (seed) => {
    const random = seededRandom(seed);
    const payloads = Array.from({ length: 1 + randomInt(random, 6) }, () =>
      random.bytes(1 + randomInt(random, randomInt(random, 8) === 0 ? 5000 : 40)),
    );
    const stream = concat(...payloads.map(frame));
    const reader = new FrameReader();
    const out: string[] = [];
    for (let offset = 0; offset < stream.length; ) {
      const end = Math.min(stream.length, offset + 1 + randomInt(random, 1 + randomInt(random, 200)));
      // The caller's buffer is reused after the call, so a frame must not look into it.
      const piece = stream.slice(offset, end);
      const got = [...reader.frames(piece)];
      piece.fill(0xee);
      for (const payload of got) {
        t.equal(payload.buffer.byteLength, payload.length);
        out.push(toHex(payload));
      }
      offset = end;
    }
    t.same(out, payloads.map(toHex));
    t.equal(reader.bufferedBytes, 0);
  });
});

test("a frame of exactly 64 KiB passes, one byte more is an error as soon as the length is there", (t) => {
  const payload = new Uint8Array(MAX_FRAME_BYTES).fill(7);
  const [whole] = [...new FrameReader().frames(frame(payload))];
  t.equal(whole?.length, MAX_FRAME_BYTES);

  const reader = new FrameReader();
  t.throws(() => reader.take(Uint8Array.of(0, 1, 0, 1)), { code: "frame-too-large" });
});

test("a length of 4 GiB is an error, and the reader stays broken", (t) => {
  const reader = new FrameReader();
  t.throws(() => [...reader.frames(Uint8Array.of(0xff, 0xff, 0xff, 0xff))], {
    code: "frame-too-large",
    message: "a frame of 4294967295 bytes was announced, the limit is 65536",
  });
  t.throws(() => [...reader.frames(frame(Uint8Array.of(1)))], { code: "frame-too-large" });
});

test("an empty frame is an error", (t) => {
  t.throws(() => new FrameReader().take(new Uint8Array(4)), { code: "bad-message" });
});

test("the good frames before a bad one are delivered", (t) => {
  const reader = new FrameReader();
  const got: number[] = [];
  t.throws(
    () => {
      const data = concat(frame(Uint8Array.of(1)), frame(Uint8Array.of(2, 2)), Uint8Array.of(9, 9, 9, 9));
      for (const payload of reader.frames(data)) got.push(payload.length);
    },
    { code: "frame-too-large" },
  );
  t.same(got, [1, 2]);
});

test("take stops at the end of a frame, so that raw bytes behind it stay with the caller", (t) => {
  const reader = new FrameReader();
  const data = concat(frame(Uint8Array.of(1, 2, 3)), Uint8Array.of(0xff, 0xff, 0xff, 0xff, 5));
  const first = reader.take(data.subarray(0, 5));
  t.same(first, { used: 5, payload: null });
  const second = reader.take(data, 5);
  t.equal(second.used, 2);
  t.same(second.payload, Uint8Array.of(1, 2, 3));
  t.same(data.subarray(7), Uint8Array.of(0xff, 0xff, 0xff, 0xff, 5));
});

test("an announced length costs no memory until its bytes arrive, and none after", (t) => {
  const reader = new FrameReader();
  reader.take(Uint8Array.of(0, 1, 0, 0, 1));
  t.ok(reader.allocatedBytes <= 1024, `${reader.allocatedBytes}`);
  reader.take(new Uint8Array(3000));
  t.ok(reader.allocatedBytes <= 8192, `${reader.allocatedBytes}`);
  t.equal(reader.bufferedBytes, 3005);
  t.equal(reader.take(new Uint8Array(MAX_FRAME_BYTES)).payload?.length, MAX_FRAME_BYTES);
  t.ok(reader.allocatedBytes <= 1024, `${reader.allocatedBytes}`);
});

test("a smaller limit can be set", (t) => {
  t.throws(() => new FrameReader({ maxFrameBytes: 100 }).take(Uint8Array.of(0, 0, 0, 101)), {
    code: "frame-too-large",
  });
});
