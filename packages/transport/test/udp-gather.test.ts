import { test } from "@adit/harness";
import { UdpCounts } from "../src/udp/counts.ts";
import { Gatherer } from "../src/udp/gather.ts";
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
