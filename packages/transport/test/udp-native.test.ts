// The two implementations over kernels of our own: orders of events that a real one shows once a week.
import { parseSocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { BunUdpSocket } from "../src/udp/bun-udp.ts";
import { UdpCounts } from "../src/udp/counts.ts";
import { NodeUdpSocket } from "../src/udp/node-udp.ts";
import { numbered, numberOf, range } from "./support/udp.ts";

const address = parseSocketAddress("127.0.0.1:1000");
const to = parseSocketAddress("127.0.0.1:2000");
const coded = (code: string) => Object.assign(new Error(code), { code });

function parts() {
  let drains = 0;
  const counts = new UdpCounts();
  const handlers = { onBatch: () => {}, onDrain: () => void drains++ };
  return { counts, drains: () => drains, common: { address, handlers, counts, gatherer: { close: () => {} } } };
}

/** `sendMany` as Bun has it: stops at a full kernel or a refused datagram, throws where the first one is refused. */
function bunKernel(refuse: (number: number, attempt: number) => string | null) {
  const sent: number[] = [];
  const attempts = new Map<number, number>();
  const kernel = {
    room: Number.POSITIVE_INFINITY,
    sent,
    close: () => {},
    sendMany: (packets: readonly unknown[]) => {
      let taken = 0;
      for (let i = 0; i < packets.length; i += 3) {
        if (kernel.room === 0) return taken;
        const number = numberOf({ data: packets[i] as Uint8Array });
        const attempt = (attempts.get(number) ?? 0) + 1;
        const code = refuse(number, attempt);
        if (code !== null && taken > 0) return taken;
        attempts.set(number, attempt);
        if (code !== null) throw coded(code);
        kernel.room--;
        sent.push(number);
        taken++;
      }
      return taken;
    },
  };
  return kernel;
}

test("bun: a full kernel blocks, drain unblocks once, and nothing is lost or doubled", (t) => {
  const native = bunKernel(() => null);
  const { common, drains, counts } = parts();
  const socket = new BunUdpSocket({ ...common, native });
  const batch = range(10).map((i) => ({ data: numbered(i), to }));
  socket.onNativeDrain();
  t.equal(drains(), 0, "Bun's drain after a batch that was not blocked is not handed on");
  native.room = 4;
  t.equal(socket.send(batch), 4);
  t.equal(socket.send(batch, 4), 0);
  native.room = 100;
  socket.onNativeDrain();
  socket.onNativeDrain();
  t.equal(drains(), 1);
  t.equal(socket.send(batch, 4), 6);
  t.same(native.sent, range(10));
  t.equal(counts.sent, 10);
});

test("bun: an ICMP error that hits a good datagram does not lose it", (t) => {
  const native = bunKernel((number, attempt) => (number % 4 === 2 && attempt === 1 ? "ECONNREFUSED" : null));
  const { common, counts } = parts();
  const socket = new BunUdpSocket({ ...common, native });
  t.equal(socket.send(range(12).map((i) => ({ data: numbered(i), to }))), 12);
  t.same(native.sent, range(12));
  t.equal(counts.sendErrors.total(), 0);
});

test("bun: a datagram refused for good is given up after the second try, each of them counted once", (t) => {
  const native = bunKernel((number) =>
    number === 0 || number === 5 || number === 6 || number === 11 ? "EPERM" : null,
  );
  const { common, counts } = parts();
  const socket = new BunUdpSocket({ ...common, native });
  t.equal(socket.send(range(12).map((i) => ({ data: numbered(i), to }))), 12);
  t.same(
    native.sent,
    range(12).filter((i) => ![0, 5, 6, 11].includes(i)),
  );
  t.same(counts.sendErrors.toJSON(), { EPERM: 4 });
});

test("bun: what is refused before the kernel is counted once, however often the batch is offered", (t) => {
  const bad = parseSocketAddress("127.0.0.1:0");
  // With the kernel full after `room` good ones, every place of the bad ones among them is met.
  for (let room = 0; room <= 6; room++) {
    const native = bunKernel(() => null);
    const { common, counts } = parts();
    const socket = new BunUdpSocket({ ...common, native });
    const batch = range(9).map((i) => ({ data: numbered(i), to: i % 3 === 0 ? bad : to }));
    native.room = room;
    const first = socket.send(batch);
    native.room = 100;
    t.equal(first + socket.send(batch, first), 9, `room ${room}`);
    t.same(native.sent, [1, 2, 4, 5, 7, 8], `room ${room}`);
    t.same(counts.sendErrors.toJSON(), { EINVAL: 3 }, `room ${room}`);
  }
});

/** A dgram socket whose kernel is full: it keeps what it is given until `release`. */
function nodeKernel() {
  const kept: { number: number; done: (error: Error | null) => void }[] = [];
  return {
    kept,
    close: () => {},
    getSendQueueCount: () => kept.length,
    send: (data: Uint8Array, _port: number, _ip: string, done: (error: Error | null) => void) => {
      kept.push({ number: numberOf({ data }), done });
    },
    release: (code: string | null = null) => kept.splice(0).forEach(({ done }) => void done(code ? coded(code) : null)),
  };
}

test("node: the runtime keeps a bounded number, and drain comes when it keeps none", (t) => {
  const native = nodeKernel();
  const { common, drains } = parts();
  const socket = new NodeUdpSocket({ ...common, native });
  const batch = range(1000).map((i) => ({ data: numbered(i), to }));
  const dealt = socket.send(batch);
  t.ok(dealt > 0 && dealt <= 80, `${dealt} taken`);
  t.equal(native.kept.length, dealt);
  t.equal(socket.send(batch, dealt), 0);
  t.equal(drains(), 0);
  native.release();
  t.equal(drains(), 1);
  t.ok(socket.send(batch, dealt) > 0);
  t.equal(native.kept[0]?.number, dealt);
});

test("node: what the runtime keeps are bytes of its own", (t) => {
  const kept: Uint8Array[] = [];
  const native = { ...nodeKernel(), send: (data: Uint8Array) => void kept.push(data) };
  const { common } = parts();
  const socket = new NodeUdpSocket({ ...common, native });
  const scratch = numbered(7);
  socket.send([{ data: scratch, to }]);
  scratch.fill(0xff);
  t.equal(numberOf({ data: kept[0] ?? t.fail("nothing sent") }), 7);
});

test("node: an ICMP error that hits a good datagram has it sent once more, not forever; other errors are final", (t) => {
  const native = nodeKernel();
  const { common, counts } = parts();
  const socket = new NodeUdpSocket({ ...common, native });
  socket.send([{ data: numbered(1), to }]);
  native.release("ECONNREFUSED");
  t.same(
    native.kept.map(({ number }) => number),
    [1],
  );
  native.release("ECONNREFUSED");
  t.equal(native.kept.length, 0);
  socket.send([{ data: numbered(2), to }]);
  native.release("EPERM");
  t.equal(native.kept.length, 0);
  t.same(counts.sendErrors.toJSON(), { ECONNREFUSED: 1, EPERM: 1 });
  socket.send([{ data: numbered(3), to }]);
  socket.close();
  native.release("ECONNREFUSED");
  t.equal(native.kept.length, 0, "nothing is sent after close");
});
