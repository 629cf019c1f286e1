import { utf8 } from "@adit/core";
import { test } from "@adit/harness";
import { type QuicStream, STREAM_REFUSED, StreamResetError } from "../src/index.ts";
import { type Packet, Pair, pattern, pour, Sink, tellEnded } from "./pair.ts";

/** A stream that the client opened, and the server's end of it. Nothing else may be waiting to be sent. */
function open(pair: Pair): [QuicStream, QuicStream] {
  let end: QuicStream | null = null;
  const before = pair.onServerStream;
  pair.onServerStream = (stream) => {
    end = stream;
  };
  const stream = pair.client.openStream();
  stream.write(utf8("!"));
  pair.exchange();
  pair.onServerStream = before;
  const peer = end as QuicStream | null;
  if (!peer) throw new Error("the stream did not arrive");
  peer.read(new Uint8Array(1));
  return [stream, peer];
}

const nothingLeft = (pair: Pair) =>
  pair.client.streamCount + pair.peer.streamCount === 0 &&
  pair.client.stats().lingeringStreams + pair.peer.stats().lingeringStreams === 0;

test("bytes go both ways, each direction ends by itself", (t) => {
  const pair = new Pair().handshake();
  const [stream, peer] = open(pair);
  const closed: unknown[] = [];
  stream.onClosed = (error) => closed.push(error);
  const [atClient, atServer] = [new Sink(stream), new Sink(peer)];
  stream.write(utf8("question"));
  stream.finish();
  pair.exchange();
  t.same(atServer.bytes, utf8("question"));
  t.ok(atServer.ended);
  t.throws(() => stream.write(utf8("more")), { code: "stream-finished" });
  t.same(closed, [], "the other direction is open");
  peer.write(utf8("answer"));
  pair.exchange();
  t.same(atClient.bytes, utf8("answer"));
  t.notOk(atClient.ended);
  peer.finish();
  peer.finish();
  pair.exchange();
  t.ok(atClient.ended);
  t.equal(stream.read(new Uint8Array(1)), "end");
  t.same(closed, [null]);
  t.ok(nothingLeft(pair));
});

test("either side opens streams, and an empty one arrives with its FIN", (t) => {
  const pair = new Pair().handshake();
  const sinks: Sink[] = [];
  pair.onClientStream = (stream) => sinks.push(new Sink(stream));
  pair.onServerStream = (stream) => sinks.push(new Sink(stream));
  pair.client.openStream().finish();
  pair.peer.openStream().finish();
  pair.exchange();
  t.same(
    sinks.map(({ ended, length }) => [ended, length]),
    [
      [true, 0],
      [true, 0],
    ],
  );
});

const buffer = new Uint8Array(10_000);
const readAll = (stream: QuicStream) => {
  try {
    while (typeof stream.read(buffer) === "number") {}
  } catch {} // reset, or stopped by ourselves
};
const finish = (stream: QuicStream) => {
  try {
    stream.finish();
  } catch {} // stopped, or reset by ourselves
};

/** How two ends can end a stream. What is written in one step leaves before the next. */
const endings: ((a: QuicStream, b: QuicStream) => void)[][] = [
  [(a) => a.finish(), (_, b) => b.finish()],
  [(a) => a.reset(1), (_, b) => b.finish()],
  [(_, b) => void b.write(buffer), (a) => a.finish(), (a) => a.stopSending(2)],
  [(_, b) => void b.write(buffer), (_, b) => b.finish(), (a, b) => [b.stopSending(3), a.write(buffer)]],
  [(_, b) => void b.write(buffer), (a) => [a.reset(4), a.stopSending(4)]],
  [(a) => a.finish(), (_, b) => [b.stopSending(5), b.reset(5)]],
  [(a) => void a.write(buffer), (_, b) => [b.stopSending(6), b.finish()]],
  [(a, b) => [a.reset(7), b.stopSending(7), b.reset(8), a.stopSending(8)]],
];

test("1,000 streams one after the other leave nothing behind, in every way to end one", async (t) => {
  const limits = { maxOpenStreams: 20, maxPeerStreams: 20 };
  const pair = new Pair({ client: limits, server: limits }).handshake();
  let told = 0;
  for (let i = 0; i < 1000; i++) {
    const [stream, peer] = open(pair);
    for (const side of [stream, peer]) {
      side.onClosed = () => told++;
      side.onReadable = () => readAll(side);
    }
    for (const step of t.must(endings[i % endings.length])) {
      step(stream, peer);
      pair.exchange();
    }
    for (const side of [stream, peer]) {
      finish(side);
      readAll(side);
    }
    pair.exchange();
  }
  t.equal(told, 2000, "each end was told that it is over");
  await pair.until(() => nothingLeft(pair), "nothing left", 2000);
  // MAX_STREAMS is sent when half of the credit is used up.
  t.ok(pair.client.stats().peerStreamsLeft >= (20 * 64) / 2, `${pair.client.stats().peerStreamsLeft} left`);
  t.equal(pair.client.state, "established");
});

test("a thousand downloads that are broken off cost credits, but the connection goes on", async (t) => {
  const pair = new Pair({ server: { maxPeerStreams: 20 } }).handshake();
  for (let i = 0; i < 1000; i++) {
    const [stream, peer] = open(pair);
    peer.write(buffer); // has not left when the reset comes
    stream.reset(4);
    stream.stopSending(4);
    pair.exchange();
    readAll(peer);
    t.throws(() => peer.write(buffer), { code: "stream-stopped" });
  }
  t.equal(pair.client.stats().peerStreamsLeft, 20 * 64 - 1000);
  t.equal(pair.client.streamCount + pair.peer.streamCount, 0);
  await pair.until(() => nothingLeft(pair), "nobody looks after what quiche never forgets", 3000);
});

test("a megabyte each way arrives whole", async (t) => {
  const pair = new Pair().handshake();
  const [stream, peer] = open(pair);
  const [atClient, atServer] = [new Sink(stream), new Sink(peer)];
  const [up, down] = [pattern(1_000_000, 3), pattern(1_100_000, 5)];
  pour(stream, up);
  pour(peer, down);
  await pair.until(() => atClient.ended && atServer.ended, "both ends");
  t.ok(Buffer.from(atServer.bytes).equals(up));
  t.ok(Buffer.from(atClient.bytes).equals(down));
});

test("a writer is held back by a reader that does not read, and goes on when it does", async (t) => {
  const pair = new Pair().handshake();
  const [stream, peer] = open(pair);
  const data = pattern(2_000_000);
  const state = pour(stream, data);
  pair.exchange();
  const held = state.sent;
  t.ok(held >= 30_000 && held < 100_000, `${held} bytes were taken, the window is 32 KiB`);
  pair.exchange();
  t.equal(state.sent, held);
  const sink = new Sink(peer);
  await pair.until(() => sink.ended, "all read");
  t.ok(Buffer.from(sink.bytes).equals(data));
});

test("readers that do not read hold back their own streams only", async (t) => {
  const pair = new Pair().handshake();
  const unread = Array.from({ length: 50 }, () => open(pair));
  const [stream, peer] = open(pair);
  for (const [one] of unread) pour(one, new Uint8Array(200_000));
  const data = pattern(3_000_000);
  const sink = new Sink(peer);
  pour(stream, data);
  await pair.until(() => sink.ended, "the one that is read");
  t.ok(Buffer.from(sink.bytes).equals(data));
});

test("what was unread when streams were reset does not eat up the connection", async (t) => {
  const pair = new Pair().handshake();
  const chunk = new Uint8Array(30_000);
  let unread = 0;
  for (let i = 0; unread < 30_000_000; i++) {
    const [stream, peer] = open(pair);
    const taken = stream.write(chunk);
    t.ok(taken > 10_000, `stream ${i}: ${taken}`);
    unread += taken;
    pair.exchange();
    stream.reset(1);
    stream.stopSending(1);
    pair.exchange();
    t.throws(() => peer.read(chunk), { code: "stream-reset" });
    peer.reset(2);
    pair.exchange();
  }
  await pair.until(() => nothingLeft(pair), "nothing left");
});

test("writers in one connection take turns", async (t) => {
  const pair = new Pair().handshake();
  const sinks: Sink[] = [];
  const streams = Array.from({ length: 4 }, () => open(pair));
  for (const [stream, peer] of streams) {
    sinks.push(new Sink(peer));
    pour(stream, new Uint8Array(3_000_000));
  }
  await pair.until(() => sinks.some(({ length }) => length > 1_000_000), "one is under way");
  const lengths = sinks.map(({ length }) => length);
  t.ok(Math.min(...lengths) > 300_000, `${lengths}`);
});

test("a reset arrives with its code, and the other direction goes on", (t) => {
  const pair = new Pair().handshake();
  const [stream, peer] = open(pair);
  const atClient = new Sink(stream);
  const sink = new Sink(peer);
  const closed: (Error | null)[] = [];
  peer.onClosed = (error) => closed.push(error);
  stream.write(utf8("lost"));
  stream.reset(77);
  pair.exchange();
  t.same([sink.error instanceof Error && sink.error.message], ["the peer reset the stream with code 77"]);
  t.throws(() => peer.read(new Uint8Array(1)), { code: "stream-reset", applicationCode: 77 });
  t.throws(() => stream.finish(), { code: "stream-finished" });
  peer.write(utf8("still here"));
  peer.finish();
  pair.exchange();
  t.same(atClient.bytes, utf8("still here"));
  t.equal((closed[0] as { code?: string } | undefined)?.code, "stream-reset");
});

test("a stop arrives with its code at a writer that is busy, blocked or idle", (t) => {
  const pair = new Pair().handshake();
  for (const writes of [0, 1, 200_000]) {
    const [stream, peer] = open(pair);
    const stopped: number[] = [];
    stream.onStopped = ({ applicationCode }) => stopped.push(applicationCode);
    let writable = 0;
    stream.onWritable = () => writable++;
    const taken = stream.write(new Uint8Array(writes));
    pair.exchange();
    peer.stopSending(99);
    pair.exchange();
    t.same(stopped, [99], `after ${writes} bytes`);
    t.equal(writable, taken < writes ? 1 : 0, "a blocked writer is woken");
    t.throws(() => stream.write(utf8("x")), { code: "stream-stopped", applicationCode: 99 });
    t.throws(() => stream.finish(), { code: "stream-stopped" });
    t.throws(() => peer.read(new Uint8Array(1)), { code: "stream-finished" });
  }
});

test("a stop among 200 idle writers is noticed", async (t) => {
  const pair = new Pair().handshake();
  const pairs = Array.from({ length: 200 }, () => open(pair));
  const stopped: number[] = [];
  pairs.forEach(([stream], i) => {
    stream.onStopped = () => stopped.push(i);
  });
  pairs[123]?.[1].stopSending(1);
  await pair.until(() => stopped.length > 0, "noticed", 2000);
  t.same(stopped, [123]);
});

test("handlers are called once per pump, and a late one is told what came before", (t) => {
  const pair = new Pair().handshake();
  const [stream, peer] = open(pair);
  let calls = 0;
  peer.onReadable = () => calls++;
  for (let i = 0; i < 10; i++) stream.write(new Uint8Array(1000));
  pair.exchange();
  t.equal(calls, 1, "nobody has read since");
  const buffer = new Uint8Array(50_000);
  t.equal(peer.read(buffer), 10_000);
  t.equal(peer.read(buffer), "blocked");
  stream.write(utf8("x"));
  pair.exchange();
  t.equal(calls, 2);
  peer.onReadable = () => {
    calls += 100;
    peer.read(buffer);
  };
  pair.exchange();
  t.equal(calls, 2, "it was told already");
  t.equal(peer.read(buffer), 1);
  t.equal(peer.read(buffer), "blocked");
  peer.onReadable = null;
  stream.write(utf8("y"));
  pair.exchange();
  peer.onReadable = () => {
    calls += 100;
  };
  pair.exchange();
  t.equal(calls, 102, "set after the byte came");
});

test("a handler that throws ends its own stream only", (t) => {
  const pair = new Pair().handshake();
  const [stream, peer] = open(pair);
  const [other, otherPeer] = open(pair);
  const sink = new Sink(otherPeer);
  peer.onReadable = () => {
    throw new Error("a bug");
  };
  stream.write(utf8("x"));
  other.write(utf8("y"));
  pair.exchange();
  t.same(sink.bytes, utf8("y"));
  t.throws(() => stream.write(utf8("x")), { code: "stream-stopped" });
  t.throws(() => stream.read(new Uint8Array(1)), { code: "stream-reset" });
});

test("a reset that gets lost, and that quiche forgets, reaches the reader by the word of it", async (t) => {
  const pair = new Pair().handshake();
  const [stream, peer] = open(pair);
  stream.finish();
  pair.exchange();
  t.equal(peer.read(new Uint8Array(1)), "end");
  const sink = new Sink(stream);
  // The answer arrives, its acknowledgement is late; the reset behind it is lost, and then the stream is forgotten, for all its bytes are acknowledged.
  const late: Packet[] = [];
  pair.network = (packet) => {
    if (packet.up) late.push(packet);
    return packet.up ? [] : [packet];
  };
  peer.write(pattern(500));
  pair.exchange();
  t.equal(sink.length, 500);
  pair.network = (packet) => (packet.up ? [packet] : []);
  peer.reset(7);
  pair.exchange();
  for (const packet of late) pair.deliver(packet);
  pair.exchange();
  pair.network = (packet) => [packet];
  t.equal(sink.error, null);
  pair.beforeTurn = () => {
    tellEnded(pair);
    return false;
  };
  await pair.until(() => sink.error !== null, "the reader knows");
  t.ok(sink.error instanceof StreamResetError && sink.error.applicationCode === 7, String(sink.error));
  t.equal(pair.client.streamCount + pair.peer.streamCount, 0);
  stream.stopSending(1);
});

test("the word of an end does nothing to a stream that is read to its end, nor to one that there is not", (t) => {
  const pair = new Pair().handshake();
  const [stream, peer] = open(pair);
  peer.finish();
  pair.exchange();
  t.equal(stream.read(new Uint8Array(1)), "end");
  for (const id of [stream.id, 400, Number.NaN])
    for (const resetCode of [null, 5]) pair.client.expectEnd({ id, sentBytes: 0, resetCode });
  pair.exchange();
  t.equal(stream.read(new Uint8Array(1)), "end");
  t.equal(stream.write(utf8("x")), 1);
});

test("no more streams are opened than the limit, and one that ends lets the next in", (t) => {
  const pair = new Pair({ client: { maxOpenStreams: 3 } }).handshake();
  const streams = [open(pair), open(pair), open(pair)];
  t.throws(() => pair.client.openStream(), { code: "stream-limit" });
  const [stream, peer] = t.must(streams[1]);
  stream.finish();
  peer.finish();
  pair.exchange();
  t.throws(() => pair.client.openStream(), { code: "stream-limit" });
  t.equal(stream.read(new Uint8Array(1)), "end");
  open(pair);
  t.throws(() => pair.client.openStream(), { code: "stream-limit" });
});

test("streams beyond what is handled at once are refused, and the others go on", (t) => {
  const pair = new Pair({ server: { maxPeerStreams: 4 } }).handshake();
  const accepted: QuicStream[] = [];
  pair.onServerStream = (stream) => accepted.push(stream);
  const streams = Array.from({ length: 6 }, () => pair.client.openStream());
  for (const stream of streams) stream.write(utf8("x"));
  pair.exchange();
  t.same(
    accepted.map(({ id }) => id),
    [0, 4, 8, 12],
  );
  t.throws(() => streams[5]?.read(new Uint8Array(1)), { code: "stream-reset", applicationCode: STREAM_REFUSED });
  t.throws(() => streams[5]?.write(utf8("x")), { code: "stream-stopped", applicationCode: STREAM_REFUSED });
  t.equal(pair.peer.streamCount, 4);
  t.equal(streams[3]?.write(utf8("x")), 1);
});

test("a credit that runs out is a stream limit too", (t) => {
  const pair = new Pair({ server: { maxPeerStreams: 1 } }).handshake();
  for (let i = 0; i < 64; i++) pair.client.openStream();
  t.equal(pair.client.stats().peerStreamsLeft, 0);
  t.throws(() => pair.client.openStream(), { code: "stream-limit" });
});

test("every stream ends with its connection", (t) => {
  const pair = new Pair().handshake();
  const [stream, peer] = open(pair);
  const seen: string[] = [];
  for (const [name, side] of [
    ["client", stream],
    ["server", peer],
  ] as const) {
    side.onReadable = () => {
      try {
        side.read(new Uint8Array(1));
      } catch (error) {
        seen.push(`${name} read ${(error as { code: string }).code}`);
      }
    };
    side.onClosed = (error) => seen.push(`${name} ${(error as { code?: string } | null)?.code}`);
  }
  pair.peer.close(5, "gone");
  pair.exchange();
  t.same([...new Set(seen)].sort(), ["client closed", "client read closed", "server closed", "server read closed"]);
  t.equal(seen.filter((what) => what.endsWith(" closed") && !what.includes("read")).length, 2, "onClosed once each");
  t.throws(() => stream.write(utf8("x")), { code: "closed" });
  t.throws(() => stream.finish(), { code: "closed" });
  stream.reset(1);
  stream.stopSending(1);
  t.equal(pair.client.streamCount + pair.peer.streamCount, 0);
});

test("arguments that make no sense are refused", (t) => {
  const pair = new Pair().handshake();
  const [stream] = open(pair);
  for (const code of [-1, 1.5, Number.NaN, 2 ** 60]) {
    t.throws(() => stream.reset(code), { code: "invalid-argument" });
    t.throws(() => stream.stopSending(code), { code: "invalid-argument" });
  }
  t.throws(() => stream.priority(256, true), { code: "invalid-argument" });
  stream.priority(0, false);
  t.equal(stream.read(new Uint8Array(0)), 0);
  t.equal(stream.write(new Uint8Array(0)), 0);
});

test("an urgent stream goes first", async (t) => {
  const pair = new Pair({ client: {}, server: { initialStreamWindowBytes: 1 << 20 } }).handshake();
  const [bulk, bulkPeer] = open(pair);
  const [urgent, urgentPeer] = open(pair);
  const sinks = [new Sink(bulkPeer), new Sink(urgentPeer)] as const;
  urgent.priority(1, false);
  bulk.write(new Uint8Array(6000));
  urgent.write(new Uint8Array(6000));
  const seen: number[] = [];
  pair.network = (packet) => {
    if (packet.up && seen.length < 4) seen.push(sinks[0].length - sinks[1].length);
    return [packet];
  };
  const out = new Uint8Array(1500);
  for (let i = 0; i < 4; i++) {
    const sent = t.must(pair.client.send(out));
    pair.deliver({ up: true, slot: 0, data: out.slice(0, sent.length) });
  }
  while (pair.peer.pollEvent()) {}
  t.ok(sinks[1].length >= 4500, `all four are the urgent stream's: ${sinks[1].length} bytes`);
  t.equal(sinks[0].length, 0, "bulk waits");
  await pair.until(() => sinks[0].length === 6000, "bulk too");
});

test("datagrams arrive, too large ones are refused, and those that do not fit the queue are dropped", (t) => {
  const pair = new Pair().handshake();
  const max = pair.client.maxDatagramBytes;
  t.ok(max > 1150 && max < 1200, `${max}`);
  t.equal(pair.client.sendDatagram(pattern(max)), "queued");
  t.equal(pair.client.sendDatagram(new Uint8Array(max + 1)), "too-large");
  pair.exchange();
  const datagrams = pair.serverEvents.flatMap((event) => (event.type === "datagram" ? [event.data] : []));
  t.equal(datagrams.length, 1);
  t.ok(Buffer.from(t.must(datagrams[0])).equals(pattern(max)));
  let queued = 0;
  while (pair.client.sendDatagram(utf8("d")) === "queued") queued++;
  t.equal(queued, 256);
  pair.exchange();
  t.equal(pair.serverEvents.filter((event) => event.type === "datagram").length, 257);
});
