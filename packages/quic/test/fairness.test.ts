// Streams that share a connection whose path is narrow: nobody waits for somebody else's bulk.
import { test } from "@adit/harness";
import { now, type Packet, Pair, pour, Sink } from "./pair.ts";

const DELAY_MS = 5;
/** Packets on their way in one direction; more are dropped, so that the sender's congestion window stays small. */
const IN_FLIGHT = 20;
const BULK_STREAMS = 6;
const PINGS = 60;

/** A pair with a delay, in real time: the native library's clock is. */
function narrowPair(): Pair {
  const pair = new Pair();
  pair.handshake();
  const flying: { readonly at: number; readonly packet: Packet }[] = [];
  pair.network = (packet) => {
    if (flying.filter((other) => other.packet.up === packet.up).length < IN_FLIGHT) {
      flying.push({ at: now() + DELAY_MS, packet });
    }
    return [];
  };
  pair.beforeTurn = () => {
    let arrived = 0;
    while ((flying[arrived]?.at ?? Number.POSITIVE_INFINITY) <= now()) arrived++;
    for (const { packet } of flying.splice(0, arrived)) pair.deliver(packet);
    return arrived > 0;
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
  const pair = narrowPair();
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
