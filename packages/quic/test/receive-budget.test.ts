import { test } from "@adit/harness";
import { FREE_WINDOW_BYTES, ReceiveBudget } from "../src/receive-budget.ts";
import { now, type Packet, Pair, pour } from "./pair.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

test("a stream is read as fast as it comes as long as the budget lasts, and as fast as its window stands after that", (t) => {
  const budget = new ReceiveBudget({ budgetBytes: MIB, maxWindowBytes: 8 * MIB, rttMs: () => 30 });
  const bulk = budget.open();
  let read = 0;
  for (let room = budget.room(0, bulk); room > 0; room = budget.room(0, bulk)) {
    const bytes = Math.min(room, 64 * KIB);
    budget.read(bulk, bytes);
    read += bytes;
  }
  t.equal(read, (FREE_WINDOW_BYTES + MIB) / 4, "a quarter of the window in one spell");
  t.equal(budget.spentBytes, MIB);
  t.equal(budget.heldUntil, 100);
  t.equal(budget.room(99, bulk), 0);
  budget.resume();
  t.equal(budget.room(100, bulk), (FREE_WINDOW_BYTES + MIB) / 4, "the next spell");
  const late = budget.open();
  t.equal(budget.room(100, late), FREE_WINDOW_BYTES / 4, "another one goes on too");
  budget.close(bulk);
  t.equal(budget.spentBytes, 0);
  t.equal(budget.room(100, late), (FREE_WINDOW_BYTES + MIB) / 4, "and has what the first one gives back");
});

test("a stream whose window is as large as it gets is not held back, whatever others have", (t) => {
  const budget = new ReceiveBudget({ budgetBytes: 3 * MIB, maxWindowBytes: 2 * MIB, rttMs: () => 0 });
  const streams = [1, 2, 3].map(() => budget.open());
  for (const stream of streams) {
    for (let room = budget.room(0, stream); room > 0; room = budget.room(0, stream)) {
      budget.read(stream, Math.min(room, MIB));
      if (room === Number.POSITIVE_INFINITY && stream.windowBytes === 2 * MIB) break;
    }
  }
  t.ok(budget.spentBytes <= 3 * MIB);
  t.equal(streams[0]?.windowBytes, 2 * MIB);
  t.equal(budget.room(0, t.must(streams[0])), Number.POSITIVE_INFINITY);
  t.equal(budget.room(0, t.must(streams[2])), 0);
});

/** Readers that read a megabyte and a half of each stream and stop: what is held for them then, bytes. */
async function heldFor(streams: number, receiveBudgetBytes: number): Promise<number> {
  const pair = new Pair({ client: { receiveBudgetBytes, maxStreamWindowBytes: 4 * MIB } }).handshake();
  const flying: { readonly at: number; readonly packet: Packet }[] = [];
  let isCut = false;
  pair.network = (packet) => {
    if (!isCut) flying.push({ at: now() + 10, packet });
    return [];
  };
  pair.beforeTurn = () => {
    let arrived = 0;
    while ((flying[arrived]?.at ?? Number.POSITIVE_INFINITY) <= now()) arrived++;
    for (const { packet } of flying.splice(0, arrived)) pair.deliver(packet);
    return arrived > 0;
  };
  const chunk = new Uint8Array(64 * KIB);
  pair.onServerStream = (stream) => {
    const write = () => {
      while (stream.write(chunk) === chunk.length) {}
    };
    stream.onWritable = write;
    write();
  };
  const buffer = new Uint8Array(64 * KIB);
  let wantedBytes = 1.5 * MIB;
  const readers = Array.from({ length: streams }, () => {
    const stream = pair.client.openStream();
    stream.write(new Uint8Array(1));
    const read = () => {
      while (stream.receivedBytes < wantedBytes && typeof stream.read(buffer) === "number") {}
    };
    stream.onReadable = read;
    return { stream, read };
  });
  await pair.until(() => readers.every(({ stream }) => stream.receivedBytes >= wantedBytes), "all have read", 25_000);
  // The peer sends what it may, until it may no more.
  for (let before = -1; before !== pair.client.stats().receivedBytes; ) {
    before = pair.client.stats().receivedBytes;
    const end = now() + 100;
    await pair.until(() => now() > end, "100 ms");
  }
  isCut = true;
  const readBytes = pair.client.receivedBytes;
  wantedBytes = Number.POSITIVE_INFINITY;
  let idleTurns = 0;
  await pair.until(() => {
    const before = pair.client.receivedBytes;
    for (const { read } of readers) read();
    idleTurns = pair.client.receivedBytes === before ? idleTurns + 1 : 0;
    return idleTurns > 50;
  }, "what is held was read");
  return pair.client.receivedBytes - readBytes;
}

test("many readers that stop hold what the budget allows; all of them got on before", async (t) => {
  const streams = 10;
  const bounded = await heldFor(streams, MIB);
  // What quiche lets through may fall into two spells, and so be twice what was reckoned.
  const allowed = streams * FREE_WINDOW_BYTES + 2 * MIB;
  t.ok(bounded <= allowed, `${bounded} bytes were held, ${allowed} are allowed`);
  const unbounded = await heldFor(streams, 1024 * MIB);
  t.ok(unbounded > allowed, `${unbounded} bytes without a bound: else this would prove nothing`);
});

test("a connection that ends while a stream is held back waits for nothing any more", async (t) => {
  const pair = new Pair({ client: { receiveBudgetBytes: 0 } }).handshake();
  pair.onServerStream = (stream) => void pour(stream, new Uint8Array(20 * MIB));
  const stream = pair.client.openStream();
  stream.write(new Uint8Array(1));
  const buffer = new Uint8Array(8 * KIB);
  stream.onReadable = () => {
    while (typeof stream.read(buffer) === "number") {}
  };
  const waitsForStreams = () => pair.client.pollTimeout(now())?.reason === "quic-streams";
  await pair.until(waitsForStreams, "it is held back");
  pair.client.close(0, "");
  while (pair.client.pollEvent()) {}
  t.notOk(waitsForStreams());
});
