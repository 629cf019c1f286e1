import { SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import { UdpCounts } from "../src/udp/counts.ts";
import { Gatherer, MAX_PART } from "../src/udp/gather.ts";
import { type Incoming, MAX_RECEIVE_BATCH } from "../src/udp/udp.ts";
import { numbered, numberOf, range } from "./support/udp.ts";

const immediate = () => new Promise<void>((resolve) => setImmediate(resolve));

function setUp(family: 4 | 6 = 4) {
  const counts = new UdpCounts();
  const batches: (readonly Incoming[])[] = [];
  const gatherer = new Gatherer(family, counts, (batch) => batches.push(batch));
  const push = (...numbers: number[]) => numbers.map((number) => gatherer.push(numbered(number), "192.0.2.1", 7));
  return { counts, batches, gatherer, push };
}

test("datagrams of one poll are one batch, and a full batch does not wait for the end of the poll", async (t) => {
  const { batches, push } = setUp();
  push(...range(3));
  t.equal(batches.length, 0);
  await Promise.resolve();
  push(3);
  await immediate();
  push(...range(MAX_RECEIVE_BATCH + 5));
  t.equal(batches.length, 2, "under a flood the runtime may not come back to its loop");
  await immediate();
  t.same(
    batches.map((batch) => batch.map(numberOf)),
    [range(4), range(MAX_RECEIVE_BATCH), range(5).map((i) => MAX_RECEIVE_BATCH + i)],
  );
});

test("a batch that was handed up is the receiver's", async (t) => {
  const { batches, push } = setUp();
  push(1);
  await immediate();
  push(2);
  await immediate();
  t.same(
    batches.map((batch) => batch.map(numberOf)),
    [[1], [2]],
  );
});

test("nothing is handed up after close, neither what waits nor what still comes", async (t) => {
  const { batches, gatherer, push, counts } = setUp();
  push(1);
  gatherer.close();
  push(...range(MAX_RECEIVE_BATCH));
  await immediate();
  t.equal(batches.length, 0);
  t.equal(counts.received, 1);
});

test("sources that cannot be answered are counted and dropped; addresses are told apart", async (t) => {
  const { batches, gatherer, counts } = setUp(6);
  const sources: [string, number][] = [
    ["2001:db8::1", 7],
    ["fe80::1%eth0", 7],
    ["::ffff:192.0.2.1", 7],
    ["2001:db8::1", 7],
    ["2001:db8::1", 8],
    ["2001:db8::2", 8],
  ];
  for (const [ip, port] of sources) gatherer.push(numbered(0), ip, port);
  await immediate();
  t.same(
    batches[0]?.map(({ from }) => from.key),
    ["[2001:db8::1]:7", "[2001:db8::1]:7", "[2001:db8::1]:8", "[2001:db8::2]:8"],
  );
  t.same(counts.receiveErrors.toJSON(), { zone: 1, family: 1 });
  t.equal(counts.received, 4);
});

/** A gatherer with a socket behind it that still holds these; and what is handed up, in order. `most`: how many are taken at once. */
function burst(t: T, held: readonly number[], most = MAX_PART) {
  const left = [...held];
  const events: string[] = [];
  const lent: Incoming[] = [];
  const say = (what: string, batch: readonly Incoming[]) => events.push(`${what} ${batch.map(numberOf).join(" ")}`);
  const gatherer = new Gatherer(4, new UdpCounts(), (batch) => say("batch", batch));
  t.teardown(() => gatherer.close());
  const push = (...numbers: number[]) => {
    for (const number of numbers) gatherer.push(numbered(number), "192.0.2.1", 7);
  };
  const receive = () => {
    lent.length = 0;
    for (const number of left.splice(0, most))
      lent.push({ data: numbered(number), from: SocketAddress.of("192.0.2.1", 7) });
    return lent;
  };
  gatherer.takeBursts({ receive, onPart: (part) => say("part", part) });
  return { gatherer, events, push, left, receive };
}

test("what follows eight datagrams of one poll is taken at once, and a batch ends the burst", async (t) => {
  const { events, push } = burst(t, [8, 9, 10, 11]);
  push(...range(7));
  t.same(events, [], "seven may be all there are");
  push(7);
  t.same(events, ["part 0 1 2 3 4 5 6 7", "part 8 9 10 11"]);
  push(12);
  await immediate();
  t.same(events.slice(2), ["batch 12"]);
});

test("a burst of which nothing is left for the batch ends with an empty one; the next poll is no burst", async (t) => {
  const { events, push } = burst(t, [8]);
  push(...range(8));
  await immediate();
  t.same(events, ["part 0 1 2 3 4 5 6 7", "part 8", "batch "]);
  push(9);
  await immediate();
  t.same(events.slice(3), ["batch 9"]);
});

test("what the runtime had read before a part was taken comes before the next one is, and so never 128 datagrams late", (t) => {
  const { events, push } = burst(
    t,
    range(300).map((i) => 100 + i),
  );
  push(...range(8));
  t.same(events.length, 2);
  push(8, 9, 10, 11, 12, 13, 14);
  t.equal(events.length, 2, "seven of them");
  push(15);
  t.equal(events[2], "part 8 9 10 11 12 13 14 15");
  const [, first = "", , second = ""] = events.map((event) => event.split(" ").slice(1));
  t.same([first.length, second.length], [MAX_PART, MAX_PART]);
  t.ok(MAX_PART + 7 < 128);
});

test("under a flood a burst ends when as much came as a batch has, and not before what the runtime had read came too", async (t) => {
  const { events, push } = burst(t, range(10_000));
  for (let i = 0; i < 4; i++) push(...range(8));
  t.ok(events.every((event) => event.startsWith("part")) && events.length === 8, `${events.length} parts`);
  for (let i = 0; i < 4; i++) push(...range(8));
  const parts = events.findIndex((event) => event.startsWith("batch"));
  t.equal(events[parts], "batch 0 1 2 3 4 5 6 7");
  const before = events.slice(0, parts).reduce((sum, event) => sum + event.split(" ").length - 1, 0);
  t.ok(before >= MAX_RECEIVE_BATCH && before < MAX_RECEIVE_BATCH + MAX_PART + 8, `${before} before it`);
});

test("a socket that is closed by who gets a part of a burst is not read again", async (t) => {
  const { gatherer, push, left, receive } = burst(t, range(20));
  gatherer.takeBursts({ receive, onPart: () => gatherer.close() });
  push(...range(8));
  await immediate();
  t.equal(left.length, 20);
});
