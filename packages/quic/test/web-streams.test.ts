import { utf8 } from "@adit/core";
import { test } from "@adit/harness";
import type { QuicStream } from "../src/index.ts";
import { Pair, pattern, sleep } from "./pair.ts";

/** Both ends of a stream, with a driver that runs until the test ends. */
function driven(t: { teardown(fn: () => unknown): void }) {
  const pair = new Pair().handshake();
  const timer = setInterval(() => pair.exchange(), 1);
  t.teardown(() => clearInterval(timer));
  const stream = pair.client.openStream();
  stream.write(utf8("!"));
  let end: QuicStream | null = null;
  pair.onServerStream = (peer) => {
    peer.read(new Uint8Array(1));
    end = peer;
  };
  pair.exchange();
  const peer = end as QuicStream | null;
  if (!peer) throw new Error("the stream did not arrive");
  return { pair, stream, peer };
}

async function collect(readable: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (const reader = readable.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(chunks);
    chunks.push(value);
  }
}

test("two megabytes go through web streams, and back through a pipe", async (t) => {
  const { stream, peer } = driven(t);
  const data = pattern(2_000_000);
  const echo = peer.readable.pipeTo(peer.writable);
  const back = collect(stream.readable);
  const writer = stream.writable.getWriter();
  for (let at = 0; at < data.length; at += 50_000) await writer.write(data.subarray(at, at + 50_000));
  await writer.close();
  t.ok(Buffer.from(await back).equals(data));
  await echo;
});

test("a web stream is made once", (t) => {
  const { stream } = driven(t);
  t.equal(stream.readable, stream.readable);
  t.equal(stream.writable, stream.writable);
});

test("a reader that does not read holds back the writer's promise", async (t) => {
  const { pair, stream, peer } = driven(t);
  const readable = peer.readable; // it exists, but nobody reads
  const writer = stream.writable.getWriter();
  let written = 0;
  const writing = (async () => {
    for (let i = 0; i < 20; i++) {
      await writer.write(new Uint8Array(10_000));
      written += 10_000;
    }
    await writer.close();
  })();
  await sleep(30);
  pair.exchange();
  t.ok(written < 60_000, `${written} bytes were taken, the window is 32 KiB`);
  t.equal(peer.receivedBytes, 1, "nothing was taken from the connection");
  t.equal((await collect(readable)).length, 200_000);
  await writing;
});

test("cancelling the readable stops the peer with the reason's code", async (t) => {
  const { stream, peer } = driven(t);
  const reader = peer.readable.getReader();
  const pending = reader.read();
  await reader.cancel({ applicationCode: 31 });
  t.equal((await pending).done, true);
  const writer = stream.writable.getWriter();
  await t.rejects(writer.closed, { code: "stream-stopped", applicationCode: 31 });
  await t.rejects(writer.write(utf8("x")), { code: "stream-stopped" });
});

test("aborting the writable resets the stream with the reason's code", async (t) => {
  const { stream, peer } = driven(t);
  const reader = peer.readable.getReader();
  const pending = reader.read();
  await stream.writable.abort({ applicationCode: 32 });
  await t.rejects(pending, { code: "stream-reset", applicationCode: 32 });
  const other = driven(t);
  await other.stream.writable.abort("no code");
  await t.rejects(other.peer.readable.getReader().read(), { code: "stream-reset", applicationCode: 0 });
});

test("an abort ends a write that is held back", async (t) => {
  const { stream, peer } = driven(t);
  const writer = stream.writable.getWriter();
  const writing = writer.write(new Uint8Array(500_000));
  await sleep(20);
  const aborting = writer.abort({ applicationCode: 33 });
  await t.rejects(writing);
  await aborting;
  await t.rejects(collect(peer.readable), { code: "stream-reset", applicationCode: 33 });
});

test("web streams fail when the connection ends", async (t) => {
  const { pair, stream, peer } = driven(t);
  const reading = peer.readable.getReader().read();
  const writing = stream.writable.getWriter().write(new Uint8Array(500_000));
  const ended = Promise.all([t.rejects(reading, { code: "closed" }), t.rejects(writing, { code: "closed" })]);
  pair.client.close(1, "enough");
  await ended;
});

test("only bytes can be written", async (t) => {
  const { stream } = driven(t);
  const writer = stream.writable.getWriter();
  await t.rejects(writer.write("text" as unknown as Uint8Array), TypeError);
});
