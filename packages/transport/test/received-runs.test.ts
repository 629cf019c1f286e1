// What the kernel writes of runs of datagrams, read: the kernel is played here, as Linux lays it out on 64 bits.
import { type IpFamily, parseSocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { MAX_RUNS, RunMemory } from "../src/udp/received-runs.ts";
import { range } from "./support/udp.ts";

const BASE = 0x7f00_ffff_f000; // so that some parts stand beyond a multiple of 2^32
const PEER = { 4: "192.0.2.1:7", 6: "[2001:db8::1]:7" } as const;

interface Message {
  readonly data: readonly number[];
  readonly from?: string;
  readonly zone?: number;
  /** struct cmsghdr and what follows, as 32-bit numbers after the length of 64; none when absent. */
  readonly control?: readonly number[];
}

/** SOL_UDP, UDP_GRO */
const runs = (segment: number) => [17, 104, segment];

function memoryOf(family: IpFamily = 4) {
  const memory = new RunMemory(() => BASE);
  const { bytes } = memory;
  const view = new DataView(bytes.buffer);
  const pointer = (at: number) => Number(view.getBigUint64(at, true)) - BASE;
  /** What recvmmsg(2) does. */
  const receive = (...messages: readonly Message[]) => {
    for (const [i, { data, from = PEER[family], zone = 0, control }] of messages.entries()) {
      const header = i * 64;
      const [name, vector, controlAt] = [pointer(header), pointer(header + 16), pointer(header + 32)];
      if (view.getUint32(header + 8, true) < 28) throw new Error("no room for an IPv6 address");
      if (view.getUint32(header + 40, true) < 24) throw new Error("no room for the length of a run's datagrams");
      if (view.getUint32(vector + 8, true) < 65_535) throw new Error("no room for the longest run");
      if (view.getUint32(header + 24, true) !== 1) throw new Error("one piece of memory for each");
      const source = parseSocketAddress(from);
      view.setUint16(name, source.family === 4 ? 2 : 10, true);
      view.setUint16(name + 2, source.port);
      bytes.set(source.bytes, name + (source.family === 4 ? 4 : 8));
      if (source.family === 6) view.setUint32(name + 24, zone, true);
      view.setUint32(header + 8, source.family === 4 ? 16 : 28, true);
      view.setUint32(header + 40, control ? 24 : 0, true);
      for (const [j, word] of (control ?? []).entries()) view.setUint32(controlAt + 8 + 4 * j, word, true);
      bytes.set(data, pointer(vector));
      view.setUint32(header + 56, data.length, true);
    }
    return memory.take(messages.length, parseSocketAddress(PEER[family]));
  };
  const shown = (...messages: readonly Message[]) =>
    receive(...messages).map(({ from, data }) => `${from.key} ${data.join()}`);
  return { memory, receive, shown };
}

test("runs are taken apart, the last of each may be shorter, and what is no run is one datagram", (t) => {
  const { shown } = memoryOf();
  const from = PEER[4];
  for (let round = 0; round < 2; round++) {
    t.same(
      shown(
        { data: [1, 2, 3, 4, 5, 6], control: runs(2) },
        { data: [1, 2, 3, 4, 5, 6, 7], control: runs(3) },
        { data: [1, 2, 3] },
        { data: [] },
      ),
      [
        ...["1,2", "3,4", "5,6"].map((data) => `${from} ${data}`),
        ...["1,2,3", "4,5,6", "7"].map((data) => `${from} ${data}`),
        `${from} 1,2,3`,
        `${from} `,
      ],
    );
    t.same(shown({ data: [9, 8], control: runs(7) }, { data: [5], control: runs(1) }), [`${from} 9,8`, `${from} 5`]);
    t.same(shown({ data: [], control: runs(4) }), [`${from} `]);
  }
});

test("a control message of another kind, or without a length, says nothing about runs", (t) => {
  const { shown } = memoryOf();
  for (const control of [[0, 104, 1], [17, 103, 1], runs(0), runs(-1)])
    t.same(shown({ data: [1, 2], control }), [`${PEER[4]} 1,2`], control.join());
});

test("what came from others before the socket was connected keeps its source; one with a zone is left out", (t) => {
  t.same(memoryOf().shown({ data: [1] }, { data: [2, 3], from: "192.0.2.1:8", control: runs(1) }, { data: [4] }), [
    "192.0.2.1:7 1",
    "192.0.2.1:8 2",
    "192.0.2.1:8 3",
    "192.0.2.1:7 4",
  ]);
  t.same(memoryOf().shown({ data: [1], from: "192.0.2.2:7" }), ["192.0.2.2:7 1"]);
  t.same(
    memoryOf(6).shown(
      { data: [1] },
      { data: [2], from: "[2001:db8::2]:7" },
      { data: [3], from: "[fe80::1]:7", zone: 2 },
      { data: [4], from: "[2001:db8::1]:7" },
    ),
    ["[2001:db8::1]:7 1", "[2001:db8::2]:7 2", "[2001:db8::1]:7 4"],
  );
});

test("datagrams of a transfer cost no new objects, views or memory", (t) => {
  const { memory, receive } = memoryOf();
  const full = range(MAX_RUNS).map(() => ({ data: range(440), control: runs(10) }));
  const first = [...receive(...full)];
  const views = first.map(({ data }) => data);
  t.equal(first.length, MAX_RUNS * 44);
  receive({ data: [1, 2], control: runs(1) });
  const again = receive(...full);
  t.same(again.length, first.length);
  t.ok(again.every((one, i) => one === first[i]));
  const third = receive(...full);
  t.ok(third.every(({ data }, i) => data === again[i]?.data || i < 44));
  t.ok(views.every((view) => view.buffer === memory.bytes.buffer));
});
