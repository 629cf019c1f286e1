// Batches by system calls of our own: what the kernel is given, what happens where it takes less, and that it is what the runtime sends.
import { type IpFamily, parseSocketAddress, SocketAddress, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { BunUdpSocket } from "../src/udp/bun-udp.ts";
import { UdpCounts } from "../src/udp/counts.ts";
import { MessageMemory, MessageSender } from "../src/udp/messages.ts";
import type { Outgoing } from "../src/udp/udp.ts";
import { numbered, numberOf, range } from "./support/udp.ts";

const [near, far] = [parseSocketAddress("127.0.0.1:2000"), parseSocketAddress("192.0.2.9:53")];

const datagrams = (sizes: readonly number[], to: SocketAddress = near): Outgoing[] =>
  sizes.map((size, i) => ({ data: numbered(i, size), to }));

interface Message {
  readonly to: string;
  /** 0 without UDP_SEGMENT. */
  readonly segmentBytes: number;
  readonly payload: Uint8Array;
}

/** Reads what the kernel would read, as Linux lays it out on 64 bits. `answer`: how many of these messages it takes. */
function kernel(family: IpFamily, answer: (messages: readonly Message[]) => number = (messages) => messages.length) {
  const base = 0x7f00_ffff_f000; // so that some parts stand beyond a multiple of 2^32
  const calls: (readonly Message[])[] = [];
  const memory = new MessageMemory(() => base);
  const view = new DataView(memory.bytes.buffer);
  const pointer = (at: number) => Number(view.getBigUint64(at, true)) - base;
  const size = (at: number) => Number(view.getBigUint64(at, true));
  const read = (header: number): Message => {
    const [name, vector, control] = [pointer(header), pointer(header + 16), pointer(header + 32)];
    if (size(header + 24) !== 1) throw new Error("not one vector");
    const controlBytes = size(header + 40);
    const kind = [size(control), view.getInt32(control + 8, true), view.getInt32(control + 12, true)].join();
    if (controlBytes !== 0 && `${controlBytes},${kind}` !== "24,18,17,103") throw new Error(`not UDP_SEGMENT: ${kind}`);
    const [length, familyOf] = [view.getUint32(header + 8, true), view.getUint16(name, true)];
    if (`${length},${familyOf}` !== (family === 4 ? "16,2" : "28,10"))
      throw new Error(`${length} bytes of ${familyOf}`);
    const ip = memory.bytes.slice(name + (family === 4 ? 4 : 8), name + (family === 4 ? 8 : 24));
    const start = pointer(vector);
    return {
      to: SocketAddress.fromBytes(ip, view.getUint16(name + 2)).key,
      segmentBytes: controlBytes === 0 ? 0 : view.getUint16(control + 16, true),
      payload: memory.bytes.slice(start, start + size(vector + 8)),
    };
  };
  const submit = (descriptor: number, count: number): number => {
    if (descriptor !== 7) throw new Error(`sent by ${descriptor}`);
    const messages = range(count).map((i) => read(memory.headers - base + i * 64));
    calls.push(messages);
    return answer(messages);
  };
  return { sender: new MessageSender({ memory, submit }, 7, family), calls };
}

/** The datagrams that leave the machine. */
const leaving = ({ to, segmentBytes, payload }: Message): { to: string; data: number[] }[] => {
  if (segmentBytes === 0) return [{ to, data: [...payload] }];
  const count = Math.ceil(payload.length / segmentBytes);
  return range(count).map((i) => ({ to, data: [...payload.subarray(i * segmentBytes, (i + 1) * segmentBytes)] }));
};

test("a run is three or more datagrams as long as the first, to one place; only its last may be shorter", (t) => {
  const { sender } = kernel(4);
  const table: [string, Outgoing[], number][] = [
    ["one", datagrams([100]), 1],
    ["two", datagrams([100, 100]), 1],
    ["three", datagrams([100, 100, 100]), 3],
    ["the last is shorter", datagrams([100, 100, 100, 60]), 4],
    ["one in the middle is shorter", datagrams([100, 100, 100, 60, 100]), 4],
    ["one is longer", datagrams([100, 100, 100, 100, 101]), 4],
    ["too early", datagrams([100, 60, 100, 100]), 1],
    ["an empty one", datagrams([100, 100, 100, 100]).concat({ data: new Uint8Array(), to: near }), 4],
    ["another place", [...datagrams([9, 9, 9, 9]), ...datagrams([9], far)], 4],
    ["more than the kernel takes", datagrams(range(100).map(() => 100)), 64],
    ["more bytes than a packet has", datagrams(range(64).map(() => 1472)), 44],
  ];
  for (const [name, batch, expected] of table) t.equal(sender.countAt(batch, 0, batch.length), expected, name);
  t.equal(sender.countAt(datagrams([50, 100, 100, 100, 100]), 1, 5), 4, "from an index on");
  t.equal(sender.countAt(datagrams([100, 100, 100, 100, 100]), 0, 3), 3, "up to an index");
});

test("the kernel gets destinations, segment lengths and bytes, IPv4 and IPv6, in one call", (t) => {
  const v4 = kernel(4);
  t.equal(v4.sender.send([...datagrams([40, 40, 40, 10]), ...datagrams([7], far)], 0, 5), 5);
  t.equal(v4.calls.length, 1);
  t.same(
    v4.calls[0]?.map(({ to, segmentBytes, payload }) => [to, segmentBytes, payload.length]),
    [
      ["127.0.0.1:2000", 40, 130],
      ["192.0.2.9:53", 0, 7],
    ],
  );
  const v6 = kernel(6);
  const places = ["[2001:db8::7]:443", "[fe80::1]:1", "[2001:db8::7]:443"].map(parseSocketAddress);
  v6.sender.send(
    places.map((to) => ({ data: numbered(1, 5), to })),
    0,
    3,
  );
  t.same(
    v6.calls[0]?.map(({ to }) => to),
    places.map(({ key }) => key),
  );
});

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`any batch leaves as it would one by one, whole and in order (seed ${seed})`, (t) => {
    const random = seededRandom(seed);
    const below = (limit: number) => Math.floor(random.float() * limit);
    const places = [near, far, parseSocketAddress("198.51.100.3:65535")];
    const { sender, calls } = kernel(
      4,
      (messages) => messages.length - (below(4) === 0 ? below(messages.length + 1) : 0),
    );
    let place = near;
    const batch = range(300).map((i): Outgoing => {
      if (below(4) === 0) place = places[below(places.length)] as SocketAddress;
      const size = [0, 40, 40, 40, 1200, 9000, 65_507][below(7)] ?? 0;
      return { data: size === 0 ? new Uint8Array() : numbered(i, size), to: place };
    });
    const left: { to: string; data: number[] }[] = [];
    for (let at = 0; at < batch.length; ) {
      const from = calls.length;
      const taken = sender.send(batch, at, batch.length);
      // What a call took: the first of its messages; of the last call perhaps not all.
      const sent = calls
        .slice(from)
        .flatMap((messages) => messages.flatMap(leaving))
        .slice(0, taken);
      left.push(...sent);
      at += taken;
    }
    t.same(
      left,
      batch.map(({ data, to }) => ({ to: to.key, data: [...data] })),
    );
  });
}

test("a batch stops before a place that this socket cannot send to", (t) => {
  const { sender, calls } = kernel(4);
  for (const place of ["[2001:db8::1]:9", "127.0.0.1:0"]) {
    const batch = [...datagrams([5, 6]), ...datagrams([5], parseSocketAddress(place)), ...datagrams([5])];
    t.equal(sender.send(batch, 0, 4), 2);
    t.equal(sender.send(batch, 2, 4), 0);
  }
  t.equal(calls.length, 2);
});

/** A socket whose plain sends all succeed while there is room, and what left it that way, in order. */
function socketWith(answer: (messages: readonly Message[]) => number) {
  const { sender, calls } = kernel(4, answer);
  const state = { room: Number.POSITIVE_INFINITY, plain: [] as number[] };
  const native = {
    close: () => {},
    sendMany: (packets: readonly unknown[]) => {
      const taken = Math.min(state.room, packets.length / 3);
      for (let i = 0; i < taken; i++) state.plain.push(numberOf({ data: packets[3 * i] as Uint8Array }));
      state.room -= taken;
      return taken;
    },
  };
  const counts = new UdpCounts();
  const handlers = { onBatch: () => {}, onDrain: () => {} };
  const parts = { address: near, handlers, counts, gatherer: { close: () => {} }, native };
  return { socket: new BunUdpSocket(parts, { messages: sender }), state, calls, counts };
}

test("what the kernel does not take goes by the runtime's call, and what follows by ours again", (t) => {
  const { socket, state, calls, counts } = socketWith((messages) => Math.min(2, messages.length));
  const nowhere = { data: numbered(9), to: parseSocketAddress("127.0.0.1:0") };
  const batch = [...range(5).map((i) => ({ data: numbered(i, 10 + i), to: far })), nowhere];
  t.equal(socket.send(batch), 6);
  t.same(state.plain, [2], "the third; ours took two, and two");
  t.same(
    calls.map((messages) => messages.length),
    [5, 2],
  );
  t.equal(counts.sent, 5);
  t.same(counts.sendErrors.toJSON(), { EINVAL: 1 });
});

test("a run that is refused goes out one by one; where it always is, runs are given up", (t) => {
  const { socket, state, calls, counts } = socketWith((messages) => (messages[0]?.segmentBytes ? -1 : messages.length));
  for (let i = 0; i < 20; i++) t.equal(socket.send(datagrams([50, 50, 50, 50])), 4);
  t.equal(calls.filter((messages) => messages[0]?.segmentBytes).length, 8, "asked eight times, then no more");
  t.equal(state.plain.length, 32);
  t.equal(counts.sent, 80);
});

test("where the system has no such calls, they are given up", (t) => {
  const { socket, state, calls, counts } = socketWith(() => -1);
  for (let i = 0; i < 100; i++) t.equal(socket.send(datagrams([50, 51])), 2);
  t.equal(calls.length, 64);
  t.equal(state.plain.length, 200);
  t.equal(counts.sent, 200);
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
