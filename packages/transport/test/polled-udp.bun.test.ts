// Sockets of our own that are read together: what is lent, what is closed, and what ICMP tells. The contract of all sockets is udp.test.ts.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { parseSocketAddress, type SocketId, type Transmit } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Driver } from "../src/driver.ts";
import { bindUdp } from "../src/udp/bind.ts";
import { type Bell, type LinuxCalls, linuxCalls } from "../src/udp/linux-calls.ts";
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

check("what was lent is sent on as it came while another component never comes to an end", async (t) => {
  const driver = new Driver();
  t.teardown(() => driver.close());
  const sink = await open(t, "bun");
  const rest = { handleTimeout: () => {}, pollTimeout: () => null };
  let storm = 0;
  driver.add({
    ...rest,
    pollTransmit: () => (storm-- > 0 ? { data: numbered(0), socket: -1, to: sink.address } : null),
  });
  const queue: Transmit[] = [];
  driver.add({ ...rest, pollTransmit: () => queue.shift() ?? null });
  const out = await driver.bind({ address, receive: () => {} });
  const relay = await driver.bind({
    address,
    gathers: true,
    receive: (_now, _socket, batch) => {
      storm = 100_000;
      queue.push(...batch.map(({ data }) => ({ data, socket: out, to: sink.address })));
    },
  });
  const to = t.must(driver.socket(relay)).address;
  const sender = await open(t, "bun");
  sender.send(...range(300).map((i) => [numbered(i + 1, 100), to] as const));
  await until(() => sink.got.length >= 300, "all were sent on");
  t.same(
    sink.got.map(numberOf).sort((x, y) => x - y),
    range(300).map((i) => i + 1),
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

/** What can be missing, as the system says it. */
const lacks: [what: string, calls: (real: LinuxCalls) => Partial<LinuxCalls>][] = [
  ["epoll", () => ({ epoll: () => -1 })],
  ["descriptors for an eventfd", () => ({ eventfd: () => -1 })],
  ["io_setup, which a sandbox forbids or too many programs have used up", () => ({ bell: () => null })],
  ["requests that wait", (real) => ({ bell: (...at) => deaf(real.bell(...at)) })],
  ["room for one more descriptor in the set", () => ({ watch: () => false })],
];

const deaf = (bell: Bell | null): Bell | null => bell && { ...bell, arm: () => false };

check("where the system lacks something there are the runtime's sockets, and nothing is left behind", async (t) => {
  const { shared } = Readiness;
  t.teardown(() => Object.assign(Readiness, { shared }));
  const handlers = { onBatch: () => {}, onDrain: () => {} };
  const before = descriptors();
  for (const [what, missing] of lacks) {
    Object.assign(Readiness, { shared: (real: LinuxCalls) => shared({ ...real, ...missing(real) }) });
    const socket = await bindUdp({ address, handlers, lends: true });
    t.notOk(socket.lends, what);
    socket.close();
    await t.rejects(bindUdp({ address, handlers, runtime: "linux" }), { code: "bind-failed" });
    await until(() => descriptors() <= before, `${what}: ${descriptors()} descriptors are ${before} again`);
  }
});

check("without memory for another request all sockets are looked at again soon", async (t) => {
  const { shared } = Readiness;
  t.teardown(() => Object.assign(Readiness, { shared }));
  let refusals = 0;
  const forgetful = (bell: Bell | null, armed = 0): Bell | null =>
    bell && { ...bell, arm: () => (++armed > 1 && refusals < 3 ? ++refusals < 0 : bell.arm()) };
  const bell: LinuxCalls["bell"] = (epoll, eventfd) => forgetful(real?.bell(epoll, eventfd) ?? null);
  const real = await linuxCalls();
  Object.assign(Readiness, { shared: (calls: LinuxCalls) => shared({ ...calls, bell }) });
  const [one, sender] = [await open(t, "linux"), await open(t, "bun")];
  for (const round of range(10)) {
    sender.send([numbered(round), one.address]);
    await until(() => one.got.length > round, "it arrived");
  }
  t.equal(refusals, 3);
});

/** As an operator does it. */
function abort(port: number): boolean {
  const filter = ["src", "127.0.0.1", "sport", "=", `${port}`];
  const { status, stdout } = spawnSync("ss", ["--kill", "--udp", "--all", ...filter], { encoding: "utf8" });
  return status === 0 && stdout.includes(`:${port}`);
}

check("an error that no entry of the queue explains is told once, and does not keep the loop busy", async (t) => {
  const told: string[] = [];
  const handlers = { onBatch: () => {}, onDrain: () => {}, onIcmpError: (code: string) => void told.push(code) };
  const socket = await bindUdp({ address, runtime: "linux", handlers });
  t.teardown(() => socket.close());
  if (!abort(socket.address.port)) return; // not root, or a kernel without it
  await until(() => told.length > 0, "it was told");
  const { round } = t.must(Readiness.shared(t.must(await linuxCalls())));
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.same(told, ["ECONNABORTED"]);
  t.same(socket.stats().receiveErrors, { ECONNABORTED: 1 });
  t.ok((Readiness.shared(t.must(await linuxCalls()))?.round ?? 0) - round < 5, "few looks");
});

check("a datagram longer than any is refused as such, whatever failed before", async (t) => {
  const [a, b] = [await open(t, "linux"), await open(t, "linux")];
  t.equal(a.send([numbered(1, 200_000), b.address], [numbered(2), b.address]), 2);
  await until(() => b.got.length === 1, "the other one arrived");
  t.same(a.socket.stats().sendErrors, { EMSGSIZE: 1 });
});
