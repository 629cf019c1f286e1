import { PassThrough } from "node:stream";
import { setImmediate as soon } from "node:timers/promises";
import { test } from "@adit/harness";
import { type ByteStream, forwardBytes } from "@adit/program";
import { FirstBytes, MAX_FIRST_BYTES } from "../src/first-bytes.ts";

/** A stream that takes `room` bytes in all until it is given more. */
function takes(room: number) {
  const taken: number[] = [];
  const state = { room, taken, finished: false };
  const stream: ByteStream = {
    read: () => "end",
    write: (data) => {
      const length = Math.min(state.room, data.length);
      taken.push(...data.subarray(0, length));
      state.room -= length;
      return length;
    },
    finish: () => {
      state.finished = true;
    },
    reset: () => {},
    stopSending: () => {},
    onReadable: null,
    onWritable: null,
    onClosed: null,
  };
  return { stream, state };
}

const bytes = (length: number): number[] => Array.from({ length }, (_, i) => i & 255);

for (const room of [0, 10, 100_000]) {
  test(`a client that says ${MAX_FIRST_BYTES + 5000} bytes and ends at once is heard to the end, ${room} bytes of room at first`, async (t) => {
    const source = new PassThrough();
    const { stream, state } = takes(room);
    const first = new FirstBytes(source);
    source.end(Buffer.from(bytes(MAX_FIRST_BYTES + 5000)));
    first.follow(stream);
    for (let i = 0; i < 5; i++) await soon(); // the connector takes its time to answer
    const head = first.release();
    const sentBefore = first.sentBytes;
    t.ok(sentBefore <= MAX_FIRST_BYTES);
    const result = forwardBytes(
      { readable: source, writable: new PassThrough().resume(), head, abort: () => {} },
      stream,
    );
    state.room = Number.POSITIVE_INFINITY;
    stream.onWritable?.();
    const { sentBytes, broken } = await result;
    t.equal(broken, null);
    t.equal(sentBefore + sentBytes, MAX_FIRST_BYTES + 5000);
    t.same(state.taken, bytes(MAX_FIRST_BYTES + 5000));
    t.ok(state.finished);
  });
}
