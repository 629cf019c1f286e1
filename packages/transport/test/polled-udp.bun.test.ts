// Sockets of our own that are read together: what is lent, what is closed, and what ICMP tells. The contract of all sockets is udp.test.ts.
import { readdirSync } from "node:fs";
import { parseSocketAddress, type SocketId, type Transmit } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Driver } from "../src/driver.ts";
import { bindUdp } from "../src/udp/bind.ts";
import { Readiness } from "../src/udp/readiness.ts";
import type { Incoming, UdpHandlers } from "../src/udp/udp.ts";
import { numbered, numberOf, open, range, until } from "./support/udp.ts";

const skip = process.platform === "linux" ? false : "sockets of our own are Linux's";
const address = parseSocketAddress("127.0.0.1:0");
const check = (name: string, fn: (t: T) => Promise<void>) => test(name, fn, { skip });
const descriptors = () => readdirSync("/proc/self/fd").length;

check("what several sockets have at one time is lent until the end of one round, and no longer", async (t) => {
  const log: string[] = [];
  const lent: Incoming[] = [];
  const onRoundEnd = () => void log.push(`end: ${lent.map(numberOf).join()}`);
  const handlers: UdpHandlers = {
    onBatch: (batch) => {
      lent.push(...batch);
      log.push(`batch: ${batch.map(numberOf).join()}`);
    },
    onDrain: () => {},
    onRoundEnd,
  };
  const [a, b] = [await bindUdp({ address, handlers, lends: true }), await bindUdp({ address, handlers, lends: true })];
  t.teardown(() => [a, b].map((socket) => socket.close()));
  t.ok(a.lends && b.lends);
  const sender = await open(t, "bun");
  sender.send([numbered(1), a.address], [numbered(2), b.address]);
  await until(() => lent.length === 2, "both arrived");
  t.same(log, ["batch: 1", "batch: 2", "end: 1,2"]);
  sender.send([numbered(3), b.address]);
  await until(() => lent.length === 3, "the third arrived");
  t.equal(numberOf(lent[0] ?? t.fail("none")), 3, "the place of the first was used again");
});

check("a driver sends on what was lent as it came, also when more waits than one turn sends", async (t) => {
  const driver = new Driver();
  t.teardown(() => driver.close());
  const sink = await open(t, "bun");
  const queue: Transmit[] = [];
  driver.add({ handleTimeout: () => {}, pollTimeout: () => null, pollTransmit: () => queue.shift() ?? null });
  const out = await driver.bind({ address, receive: () => {} });
  const relays: SocketId[] = [];
  for (let i = 0; i < 3; i++) {
    const receive = (_now: number, _socket: SocketId, batch: readonly Incoming[]): void => {
      // As a relay that had much to do just now: 700 datagrams that are in front.
      if (relays.length === 3)
        queue.push(...range(700).map(() => ({ data: numbered(0), socket: out, to: sink.address })));
      relays.length = 0;
      queue.push(...batch.map(({ data }) => ({ data, socket: out, to: sink.address })));
    };
    relays.push(await driver.bind({ address, receive, gathers: true }));
  }
  const targets = relays.map((id) => driver.socket(id)?.address ?? t.fail("no socket"));
  const sender = await open(t, "bun");
  sender.send(...range(300).map((i) => [numbered(i + 1, 100), targets[i % 3] ?? t.fail("three")] as const));
  const came = () => sink.got.map(numberOf).filter((number) => number > 0);
  await until(() => came().length === 300, "all were sent on");
  t.same(
    came().sort((x, y) => x - y),
    range(300).map((i) => i + 1),
  );
  t.ok(
    sink.got
      .filter((one) => numberOf(one) > 0)
      .every(({ data }) => data.length === 100 && data[99] === (numberOf({ data }) & 255)),
  );
});

check("closing the last one closes everything, and another can be opened after it", async (t) => {
  const before = descriptors();
  for (let round = 0; round < 3; round++) {
    const sockets = await Promise.all(range(20).map(() => open(t, "linux")));
    t.ok(descriptors() >= before + 20);
    const [first, second] = [sockets[0] ?? t.fail("none"), sockets[1] ?? t.fail("none")];
    first.send([numbered(round), second.address]);
    await until(() => second.got.length === 1, "it arrived");
    for (const { socket } of sockets) socket.close();
    await until(() => descriptors() <= before, `${descriptors()} descriptors are ${before} again`);
  }
});

check("an address that cannot be bound leaves nothing behind", async (t) => {
  const taken = await open(t, "bun");
  const before = descriptors();
  await t.rejects(open(t, "linux", taken.address.key), { code: "address-in-use" });
  t.equal(descriptors(), before);
});

check("an ICMP error is told, and the socket goes on", async (t) => {
  const told: string[] = [];
  const got: Incoming[] = [];
  const socket = await bindUdp({
    address,
    runtime: "linux",
    handlers: {
      onBatch: (batch) => void got.push(...batch),
      onDrain: () => {},
      onIcmpError: (code) => void told.push(code),
    },
  });
  t.teardown(() => socket.close());
  const gone = await open(t, "linux");
  gone.socket.close();
  socket.send([{ data: numbered(1), to: gone.address }]);
  await until(() => told.length > 0, "the error was told");
  t.same(told, ["ECONNREFUSED"]);
  t.same(socket.stats().receiveErrors, { ECONNREFUSED: 1 });
  const sender = await open(t, "bun");
  sender.send([numbered(2), socket.address]);
  await until(() => got.length === 1, "it still receives");
});

check("a handler that throws does not stop the reading of others", async (t) => {
  const thrown: unknown[] = [];
  const { queueMicrotask } = globalThis; // by which it is thrown where it is seen
  globalThis.queueMicrotask = (task) => {
    try {
      task();
    } catch (error) {
      thrown.push(error);
    }
  };
  t.teardown(() => Object.assign(globalThis, { queueMicrotask }));
  const throws = (): void => {
    throw new Error("a bug");
  };
  const handlers = { onBatch: throws, onDrain: () => {}, onRoundEnd: throws };
  const bad = await bindUdp({ address, lends: true, handlers });
  t.teardown(() => bad.close());
  const [good, sender] = [await open(t, "linux"), await open(t, "bun")];
  sender.send([numbered(1), bad.address], [numbered(2), good.address]);
  await until(() => good.got.length === 1 && thrown.length === 2, "the other one was read");
  sender.send([numbered(3), good.address]);
  await until(() => good.got.length === 2, "again");
});

check("where there is no asynchronous I/O there are the runtime's sockets", async (t) => {
  const { shared } = Readiness;
  t.teardown(() => Object.assign(Readiness, { shared }));
  Object.assign(Readiness, { shared: () => null });
  const handlers = { onBatch: () => {}, onDrain: () => {} };
  const socket = await bindUdp({ address, handlers, lends: true });
  t.notOk(socket.lends);
  socket.close();
  await t.rejects(bindUdp({ address, handlers, runtime: "linux" }), { code: "bind-failed" });
});
