// Streams that share a connection whose path is narrow: nobody waits for somebody else's bulk.
import { test } from "@adit/harness";
import { now, type Packet, Pair, pour, Sink } from "./pair.ts";

const DELAY_MS = 5;
/** Packets on their way in one direction; more are dropped, so that the sender's congestion window stays small. */
const IN_FLIGHT = 20;
/** 20 Mb/s, and a queue of some 100 ms. */
const BYTES_PER_MS = 2500;
const WIDE_IN_FLIGHT = 200;
const BULK_STREAMS = 6;
const PINGS = 60;
const REQUESTS = 11;

/** A pair with a delay, in real time: the native library's clock is. `bytesPerMs`: of a bottleneck, in each direction. */
function narrowPair(inFlight: number, bytesPerMs = Number.POSITIVE_INFINITY): Pair {
  const pair = new Pair();
  pair.handshake();
  const ways = [true, false].map((up) => ({ up, freeAt: 0, flying: [] as { at: number; packet: Packet }[] }));
  pair.network = (packet) => {
    const way = ways.find(({ up }) => up === packet.up);
    if (!way || way.flying.length >= inFlight) return [];
    way.freeAt = Math.max(now(), way.freeAt) + packet.data.length / bytesPerMs;
    way.flying.push({ at: way.freeAt + DELAY_MS, packet });
    return [];
  };
  pair.beforeTurn = () => {
    let any = false;
    for (const { flying } of ways) {
      while ((flying[0]?.at ?? Number.POSITIVE_INFINITY) <= now()) {
        any = true;
        pair.deliver((flying.shift() as { packet: Packet }).packet);
      }
    }
    return any;
  };
  return pair;
}

/** Round trips of a hundred bytes, one after the other, on a stream of their own; ms, sorted. */
async function pingPong(pair: Pair): Promise<number[]> {
  const buffer = new Uint8Array(100);
  const times: number[] = [];
  const stream = pair.client.openStream();
  let askedAt = 0;
  const ask = (): void => {
    askedAt = now();
    let left = buffer;
    const write = (): void => {
      left = left.subarray(stream.write(left));
    };
    stream.onWritable = write;
    write();
  };
  let got = 0;
  stream.onReadable = () => {
    for (let length = stream.read(buffer); typeof length === "number"; length = stream.read(buffer)) got += length;
    if (got < 100 * (times.length + 1)) return;
    times.push(now() - askedAt);
    if (times.length < PINGS) ask();
  };
  ask();
  await pair.until(() => times.length === PINGS, `${PINGS} answers`, 20_000);
  stream.finish();
  return times.sort((a, b) => a - b);
}

test("a stream with little to say is not stuck behind bulk in both directions", async (t) => {
  const pair = narrowPair(IN_FLIGHT);
  const echo = new Uint8Array(1000);
  const sinks: Sink[] = [];
  let isBulk = false;
  pair.onServerStream = (stream) => {
    if (isBulk) {
      sinks.push(new Sink(stream));
      pour(stream, new Uint8Array(50_000_000));
      return;
    }
    stream.onReadable = () => {
      for (let got = stream.read(echo); typeof got === "number"; got = stream.read(echo)) {
        let left = echo.subarray(0, got);
        const write = (): void => {
          left = left.subarray(stream.write(left));
        };
        stream.onWritable = write;
        write();
      }
    };
  };
  const alone = await pingPong(pair);
  isBulk = true;
  for (let i = 0; i < BULK_STREAMS; i++) {
    const bulk = pair.client.openStream();
    sinks.push(new Sink(bulk));
    pour(bulk, new Uint8Array(50_000_000));
  }
  await pair.until(
    () => sinks.length === 2 * BULK_STREAMS && sinks.every(({ length }) => length > 20_000),
    "bulk flows on all streams, both ways",
  );
  isBulk = false;
  const beside = await pingPong(pair);
  const median = (times: readonly number[]) => times[times.length >> 1] ?? 0;
  const p90 = (times: readonly number[]) => times[Math.floor(times.length * 0.9)] ?? 0;
  t.ok(
    median(beside) <= 3 * median(alone) && p90(beside) <= 6 * p90(alone),
    `${median(beside)} and ${p90(beside)} ms, ${median(alone)} and ${p90(alone)} ms alone`,
  );
});

test("requests on streams of their own are answered while one stream has the path for itself", async (t) => {
  const pair = narrowPair(WIDE_IN_FLIGHT, BYTES_PER_MS);
  let isBulk = true;
  pair.onServerStream = (stream) => {
    if (isBulk) return void pour(stream, new Uint8Array(200_000_000));
    new Sink(stream);
    pour(stream, new Uint8Array(1000));
  };
  const bulk = pair.client.openStream();
  const sink = new Sink(bulk);
  bulk.write(new Uint8Array(1));
  await pair.until(() => sink.length > 1_000_000, "bulk flows");
  isBulk = false;
  const passed: number[] = [];
  for (let i = 0; i < REQUESTS; i++) {
    const before = sink.length;
    const request = pair.client.openStream();
    const answer = new Sink(request);
    pour(request, new Uint8Array(100));
    await pair.until(() => answer.ended, `answer ${i}`, 20_000);
    t.equal(answer.length, 1000);
    passed.push(sink.length - before);
  }
  passed.sort((a, b) => a - b);
  // What was on its way already, and what one round trip brings; a loaded machine delivers several round trips in one turn.
  const windowBytes = WIDE_IN_FLIGHT * 1200;
  const median = passed[REQUESTS >> 1] ?? 0;
  t.ok(median < 2.5 * windowBytes, `${median} bytes of bulk came before an answer, ${passed.at(-1)} at most`);
});
