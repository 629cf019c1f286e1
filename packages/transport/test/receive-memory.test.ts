// What the kernel writes of received datagrams, read: the kernel is played here, as Linux lays it out on 64 bits.
import { type IpFamily, parseSocketAddress, type SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { ErrorMemory, MAX_RECEIVED, ReceiveMemory } from "../src/udp/receive-memory.ts";
import { ReceivedMemory } from "../src/udp/received-messages.ts";
import { range } from "./support/udp.ts";

const BASE = 0x7f00_ffff_f000; // so that some parts stand beyond a multiple of 2^32

function memoryOf() {
  const received = new ReceivedMemory(() => BASE, MAX_RECEIVED);
  const { bytes, view } = received;
  const memory = new ReceiveMemory(received);
  const pointer = (at: number) => Number(view.getBigUint64(at, true)) - BASE;
  /** What recvmmsg(2) does with the next headers. */
  const receive = (...datagrams: readonly { from: SocketAddress; data: Uint8Array; zone?: number }[]) => {
    const first = memory.nextHeader - BASE;
    for (const [i, { from, data, zone = 0 }] of datagrams.entries()) {
      const header = first + i * 64;
      const [name, vector] = [pointer(header), pointer(header + 16)];
      if (view.getUint32(header + 8, true) < 28) throw new Error("no room for an IPv6 address");
      if (view.getUint32(vector + 8, true) < 65_535) throw new Error("no room for the longest datagram");
      view.setUint16(name, from.family === 4 ? 2 : 10, true);
      view.setUint16(name + 2, from.port);
      bytes.set(from.bytes, name + (from.family === 4 ? 4 : 8));
      if (from.family === 6) view.setUint32(name + 24, zone, true);
      view.setUint32(header + 8, from.family === 4 ? 16 : 28, true);
      bytes.set(data, pointer(vector));
      view.setUint32(header + 56, data.length, true);
    }
  };
  const take = (count: number, family: IpFamily, left: string[] = []) =>
    memory.take(count, family, (why) => left.push(why)).map(({ from, data }) => `${from.key} ${data.join()}`);
  return { memory, receive, take };
}

const v4 = (key: string, ...data: number[]) => ({ from: parseSocketAddress(key), data: Uint8Array.from(data) });

test("datagrams of both families are read with their source, whatever stood there before", (t) => {
  const { memory, receive, take } = memoryOf();
  for (let round = 0; round < 3; round++) {
    receive(v4("192.0.2.1:1", 1, 2, 3), v4("192.0.2.255:65535"), v4("192.0.2.1:1", 4));
    t.same(take(3, 4), ["192.0.2.1:1 1,2,3", "192.0.2.255:65535 ", "192.0.2.1:1 4"]);
    receive(v4("[2001:db8::1]:7", 5, round), v4("[2001:db8::2]:7", 6), v4("[2001:db8:0:0:1::1]:7", 6));
    t.same(take(3, 6), [`[2001:db8::1]:7 5,${round}`, "[2001:db8::2]:7 6", "[2001:db8::1:0:0:1]:7 6"]);
    t.equal(memory.room, MAX_RECEIVED - 6);
    memory.clear();
  }
});

test("what comes later in a round stands elsewhere, and every place is used again after it", (t) => {
  const { memory, receive } = memoryOf();
  const all = range(MAX_RECEIVED).flatMap((i) => {
    receive(v4("192.0.2.1:1", i, i + 1));
    return memory.take(1, 4, () => {});
  });
  t.equal(memory.room, 0);
  t.same(
    all.map(({ data }) => data[0]),
    range(MAX_RECEIVED),
  );
  memory.clear();
  receive(v4("192.0.2.1:1", 255, 255));
  const [again] = memory.take(1, 4, () => {});
  t.ok(again?.data === all[0]?.data, "no new object for a datagram as long as the one before");
  t.equal(all[0]?.data[0], 255);
});

test("a link-local source with a zone cannot be answered: it is left out, and told", (t) => {
  const { receive, take } = memoryOf();
  const left: string[] = [];
  const plain = v4("[2001:db8::1]:7", 1);
  receive({ ...v4("[fe80::1]:7", 9), zone: 2 }, plain);
  t.same(take(2, 6, left), ["[2001:db8::1]:7 1"]);
  t.same(left, ["zone"]);
});

test("an entry of the error queue tells its number, and an empty one none", (t) => {
  const memory = new ErrorMemory(() => BASE);
  const view = new DataView(memory.bytes.buffer);
  const control = Number(view.getBigUint64(32, true)) - BASE;
  t.ok(view.getUint32(40, true) >= 16 + 16 + 28, "room for the error and the offender's address");
  view.setUint32(40, 48, true);
  view.setUint32(control + 16, 111, true);
  t.equal(memory.errno, 111);
  memory.clear();
  t.ok(view.getUint32(40, true) >= 60, "room again");
  view.setUint32(40, 0, true);
  t.equal(memory.errno, null);
});
