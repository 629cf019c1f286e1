// Runs of datagrams in one call: which batches have them, what the kernel is given, and what happens where it refuses.
import { parseSocketAddress, type SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { BunUdpSocket } from "../src/udp/bun-udp.ts";
import { UdpCounts } from "../src/udp/counts.ts";
import { SegmentMemory, SegmentSender } from "../src/udp/segments.ts";
import type { Outgoing } from "../src/udp/udp.ts";
import { numbered, numberOf, range } from "./support/udp.ts";

const [near, far] = [parseSocketAddress("127.0.0.1:2000"), parseSocketAddress("192.0.2.9:53")];

const datagrams = (sizes: readonly number[], to: SocketAddress = near): Outgoing[] =>
  sizes.map((size, i) => ({ data: numbered(i, size), to }));

interface Call {
  readonly to: string;
  readonly segmentBytes: number;
  readonly payload: Uint8Array;
}

/** Reads what the kernel would read. `base` is where the memory would be. */
function system(family: 4 | 6, answer: (bytes: number) => number = (bytes) => bytes) {
  const base = 0x7f00_0000_1000;
  const calls: Call[] = [];
  const segments = new SegmentMemory(() => base);
  const memory = segments.bytes;
  const sender = new SegmentSender({
    memory: segments,
    sendmsg: (header) => {
      const view = new DataView(memory.buffer);
      const pointer = (at: number) => Number(view.getBigUint64(at, true)) - base;
      const size = (at: number) => Number(view.getBigUint64(at, true));
      const at = header - base;
      const [name, vector, control] = [pointer(at), pointer(at + 16), pointer(at + 32)];
      const head = [size(at + 24), size(at + 40), size(control), view.getInt32(control + 8, true)];
      const kind = view.getInt32(control + 12, true);
      if (`${head},${kind}` !== "1,24,18,17,103") throw new Error(`not a UDP_SEGMENT message: ${head},${kind}`);
      const ip = family === 4 ? memory.subarray(name + 4, name + 8) : memory.subarray(name + 8, name + 24);
      const start = pointer(vector);
      const bytes = size(vector + 8);
      calls.push({
        to: `${view.getUint16(name, true)} ${view.getUint32(at + 8, true)} ${ip.join(".")} ${view.getUint16(name + 2)}`,
        segmentBytes: view.getUint16(control + 16, true),
        payload: memory.slice(start, start + bytes),
      });
      return answer(bytes);
    },
  });
  return { sender, calls };
}

test("a run is four or more datagrams as long as the first, to one place; only its last may be shorter", (t) => {
  const { sender } = system(4);
  const table: [string, Outgoing[], number][] = [
    ["nothing", [], 0],
    ["three", datagrams([100, 100, 100]), 0],
    ["four", datagrams([100, 100, 100, 100]), 4],
    ["the last is shorter", datagrams([100, 100, 100, 60]), 4],
    ["one in the middle is shorter", datagrams([100, 100, 100, 60, 100]), 4],
    ["one is longer", datagrams([100, 100, 100, 100, 101]), 4],
    ["too early", datagrams([100, 100, 60, 100, 100]), 0],
    ["an empty one", datagrams([100, 100, 100, 100]).concat({ data: new Uint8Array(), to: near }), 4],
    ["another place", [...datagrams([9, 9, 9, 9]), ...datagrams([9], far)], 4],
    ["more than the kernel takes", datagrams(range(100).map(() => 100)), 64],
    ["more bytes than a packet has", datagrams(range(64).map(() => 1472)), 44],
  ];
  for (const [name, batch, expected] of table) t.equal(sender.run(batch, 0), expected, name);
  t.equal(sender.run(datagrams([50, 100, 100, 100, 100]), 1), 4, "from an index on");
});

test("the kernel gets destination, segment length and the bytes of all, IPv4 and IPv6", (t) => {
  const v4 = system(4);
  const batch = datagrams([40, 40, 40, 10]);
  t.ok(v4.sender.send(batch, 0, 4));
  t.equal(v4.calls[0]?.to, "2 16 127.0.0.1 2000");
  t.equal(v4.calls[0]?.segmentBytes, 40);
  t.same(
    [...(v4.calls[0]?.payload ?? [])],
    batch.flatMap(({ data }) => [...data]),
  );
  t.ok(v4.sender.send(datagrams([7, 7, 7, 7], far), 0, 4), "the next goes elsewhere");
  t.equal(v4.calls[1]?.to, "2 16 192.0.2.9 53");
  const v6 = system(6);
  v6.sender.send(datagrams([5, 5, 5, 5], parseSocketAddress("[2001:db8::7]:443")), 0, 4);
  t.equal(v6.calls[0]?.to, "10 28 32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.7 443");
});

/** A socket whose plain sends all succeed while there is room, and what left it, in order. */
function socketWith(answer: (bytes: number) => number) {
  const { sender, calls } = system(4, answer);
  const state = { room: Number.POSITIVE_INFINITY, plain: 0, left: [] as number[] };
  const native = {
    close: () => {},
    sendMany: (packets: readonly unknown[]) => {
      const taken = Math.min(state.room, packets.length / 3);
      for (let i = 0; i < taken; i++) state.left.push(numberOf({ data: packets[3 * i] as Uint8Array }));
      state.plain += taken;
      state.room -= taken;
      return taken;
    },
  };
  const counts = new UdpCounts();
  const handlers = { onBatch: () => {}, onDrain: () => {} };
  const parts = { address: near, handlers, counts, gatherer: { close: () => {} }, native };
  return { socket: new BunUdpSocket(parts, { segments: sender }), state, calls, counts };
}

test("what stands between runs goes out in its place, and all is counted", (t) => {
  const { socket, state, calls, counts } = socketWith((bytes) => bytes);
  const batch = [
    ...datagrams([9]),
    ...datagrams([50, 50, 50, 50, 50]),
    ...datagrams([8, 7, 6]),
    ...datagrams([4], far),
  ];
  t.equal(socket.send(batch), 10);
  t.equal(calls.length, 1);
  t.equal(calls[0]?.payload.length, 258, "with the one behind them that is shorter");
  t.equal(state.plain, 4);
  t.equal(counts.sent, 10);
});

test("a run that is refused goes out one by one; where it always is, runs are given up", (t) => {
  const { socket, state, calls, counts } = socketWith(() => -1);
  for (let i = 0; i < 20; i++) t.equal(socket.send(datagrams([50, 50, 50, 50])), 4);
  t.equal(calls.length, 8, "asked eight times, then no more");
  t.equal(state.plain, 80);
  t.equal(counts.sent, 80);
});

test("a kernel that is full is no refusal: what was not taken waits, and runs are tried again", (t) => {
  const { socket, state, calls } = socketWith(() => -1);
  for (let i = 0; i < 20; i++) {
    state.room = 2;
    t.equal(socket.send(datagrams([50, 50, 50, 50])), 2);
    state.room = Number.POSITIVE_INFINITY;
    socket.onNativeDrain();
  }
  t.equal(calls.length, 20);
});
