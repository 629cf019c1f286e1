import { type Clock, type Deadline, type Millis, parseSocketAddress, type SocketId, type Transmit } from "@adit/core";
import { type T, test } from "@adit/harness";
import { VirtualClock } from "@adit/sim";
import {
  Driver,
  type DriverComponent,
  MAX_QUEUED_PER_SOCKET,
  MAX_TRANSMITS_PER_TURN,
  SEND_BATCH,
  type Timers,
} from "../src/driver.ts";
import { PacketBuffers } from "../src/peer/packet-buffers.ts";
import { udpRuntimes } from "../src/udp/bind.ts";
import type { Incoming, Outgoing, UdpHandlers, UdpSocket } from "../src/udp/udp.ts";
import { numbered, numberOf, range, until } from "./support/udp.ts";

const address = parseSocketAddress("127.0.0.1:1");
const to = parseSocketAddress("127.0.0.1:2");

/** Virtual time that counts what was armed. */
class FakeTimers implements Timers {
  readonly clock = new VirtualClock();
  armed = 0;
  cancelled = 0;

  after(ms: Millis, fn: () => void): () => void {
    this.armed++;
    const scheduled = this.clock.schedule(this.clock.now() + Math.max(1, Math.floor(ms)), fn);
    return () => {
      this.cancelled++;
      scheduled.cancel();
    };
  }

  soon(fn: () => void): () => void {
    const scheduled = this.clock.schedule(this.clock.now(), fn);
    return () => scheduled.cancel();
  }
}

/** A socket with `room` for so many datagrams; records what it took and in which batches. */
class FakeSocket implements UdpSocket {
  readonly address = address;
  readonly sent: Outgoing[] = [];
  readonly batches: number[] = [];
  room = Number.POSITIVE_INFINITY;
  closed = false;
  readonly handlers: UdpHandlers;

  constructor(handlers: UdpHandlers) {
    this.handlers = handlers;
  }

  send(batch: readonly Outgoing[], from = 0): number {
    const taken = batch.slice(from, from + this.room);
    this.room -= taken.length;
    this.sent.push(...taken.map(({ data, to }) => ({ data: data.slice(), to })));
    this.batches.push(taken.length);
    return taken.length;
  }

  drain(room: number): void {
    this.room = room;
    this.handlers.onDrain();
  }

  receive(...numbers: number[]): void {
    this.handlers.onBatch(incoming(numbers));
  }

  receivePart(...numbers: number[]): void {
    this.handlers.onPart?.(incoming(numbers));
  }

  stats() {
    return { received: 0, sent: this.sent.length, sendErrors: {}, receiveErrors: {} };
  }

  close(): void {
    this.closed = true;
  }
}

const incoming = (numbers: readonly number[]): Incoming[] =>
  numbers.map((number) => ({ data: numbered(number), from: to }));

/** A component whose parts are set by the test. */
class Probe implements DriverComponent {
  deadline: Deadline | null = null;
  readonly outgoing: Transmit[] = [];
  readonly timeouts: Millis[] = [];
  polls = 0;
  onTimeout: (now: Millis) => void = () => {
    this.deadline = null;
  };
  onDrain: (now: Millis) => void = () => {};
  onFlushed: () => void = () => {};

  handleTimeout(now: Millis): void {
    this.timeouts.push(now);
    this.onTimeout(now);
  }

  pollTimeout(): Deadline | null {
    this.polls++;
    return this.deadline;
  }

  pollTransmit(): Transmit | null {
    return this.outgoing.shift() ?? null;
  }

  drain(now: Millis): void {
    this.onDrain(now);
  }

  flushed(): void {
    this.onFlushed();
  }

  queue(socket: SocketId, ...numbers: number[]): void {
    for (const number of numbers) this.outgoing.push({ data: numbered(number), socket, to });
  }
}

function setUp(t: T) {
  const timers = new FakeTimers();
  const driver = new Driver({ clock: timers.clock, timers });
  t.teardown(() => driver.close());
  const received: [Millis, SocketId, number[]][] = [];
  const addSocket = (options: { readonly borrows?: boolean } = {}) => {
    let socket: FakeSocket | undefined;
    const id = driver.addSocket(
      (handlers) => {
        socket = new FakeSocket(handlers);
        return socket;
      },
      (now, from, batch) => received.push([now, from, batch.map(numberOf)]),
      options,
    );
    return { id, socket: t.must(socket) };
  };
  const probe = new Probe();
  driver.add(probe);
  timers.clock.advance(0);
  return { timers, clock: timers.clock, driver, received, addSocket, probe };
}

test("a batch is handed down with its time and socket, and the answers leave in one batch per socket", (t) => {
  const { clock, received, addSocket, probe } = setUp(t);
  const [a, b] = [addSocket(), addSocket()];
  probe.onDrain = () => {
    for (const [, id, numbers] of received.splice(0)) {
      probe.queue(id, ...numbers);
      probe.queue(1 - id, ...numbers.map((number) => number + 100));
    }
  };
  clock.advance(7);
  a.socket.receive(1, 2, 3);
  t.same(a.socket.sent.map(numberOf), [1, 2, 3]);
  t.same(b.socket.sent.map(numberOf), [101, 102, 103]);
  t.same([a.socket.batches, b.socket.batches], [[3], [3]]);
  probe.onDrain = () => {};
  b.socket.receive(9);
  t.same(received, [[7, 1, [9]]]);
});

test("in the middle of a burst nobody is told what has come: what is missing is on its way", (t) => {
  const { clock, driver, received, addSocket, probe } = setUp(t);
  const [bulk, other] = [addSocket({ borrows: true }), addSocket()];
  const told: number[] = [];
  probe.onDrain = () => {
    told.push(...received.splice(0).flatMap(([, , numbers]) => numbers));
  };
  probe.deadline = { at: 3, reason: "test" };
  driver.wake();
  clock.advance(1);
  bulk.socket.receivePart(0, 1);
  bulk.socket.receivePart(5, 6);
  other.socket.receive(100);
  other.socket.drain(1);
  driver.wake();
  clock.advance(9);
  t.same([told, probe.timeouts], [[], []], "neither a timer nor another socket tells");
  bulk.socket.receive(2, 3, 4);
  t.same([told, probe.timeouts], [[0, 1, 5, 6, 100, 2, 3, 4], [10]]);

  bulk.socket.receivePart(7);
  driver.removeSocket(bulk.id);
  clock.advance(0);
  t.equal(told.at(-1), 7, "a socket that is gone holds nobody up");
});

test("the timer fires at the earliest deadline, and a deadline that stays is not armed again", (t) => {
  const { timers, clock, driver, addSocket, probe } = setUp(t);
  const { socket } = addSocket();
  const other = new Probe();
  driver.add(other);
  probe.deadline = { at: 50, reason: "later" };
  other.deadline = { at: 20, reason: "sooner" };
  driver.wake();
  clock.advance(5);
  t.equal(timers.armed, 1);
  for (let i = 0; i < 10; i++) socket.receive(i);
  t.equal(timers.armed, 1, "ten batches with the same deadlines arm nothing");
  clock.runUntil(100);
  t.same([other.timeouts, probe.timeouts], [[20], [50]]);
  t.equal(timers.armed, 2);
});

test("a deadline that moves back costs no new timer; one that moves forward does, and none is forgotten", (t) => {
  const { timers, clock, driver, addSocket, probe } = setUp(t);
  const { socket } = addSocket();
  probe.deadline = { at: 10, reason: "loss" };
  driver.wake();
  clock.advance(0);
  for (let i = 0; i < 5; i++) {
    clock.advance(1);
    probe.deadline = { at: clock.now() + 10, reason: "loss" };
    socket.receive(i);
  }
  t.equal(timers.armed, 1);
  clock.runUntil(14.9);
  t.same(probe.timeouts, []);
  clock.runUntil(15);
  t.same(probe.timeouts, [15]);
  t.equal(timers.armed, 2);
  probe.deadline = { at: 100, reason: "idle" };
  driver.wake();
  clock.advance(0);
  probe.deadline = { at: 30, reason: "loss" };
  driver.wake();
  clock.runUntil(30);
  t.same(probe.timeouts, [15, 30]);
  probe.deadline = { at: 40, reason: "gone" };
  driver.wake();
  clock.advance(0);
  probe.deadline = null;
  driver.wake();
  clock.advance(0);
  t.equal(clock.nextAt, null, "no deadline, no timer");
});

test("a fractional deadline is met at the next whole millisecond, in one timer", (t) => {
  const { timers, clock, driver, probe } = setUp(t);
  clock.advance(0.25);
  probe.deadline = { at: 3.5, reason: "fraction" };
  driver.wake();
  clock.advance(10);
  t.equal(probe.timeouts.length, 1);
  t.ok((probe.timeouts[0] ?? 0) >= 3.5 && (probe.timeouts[0] ?? 9) < 5, `${probe.timeouts[0]}`);
  t.equal(timers.armed, 1);
});

test("wake coalesces, comes soon, and inside a turn leads to another round rather than into itself", (t) => {
  const { clock, driver, addSocket, probe } = setUp(t);
  const { id, socket } = addSocket();
  let turns = 0;
  let inside = false;
  probe.onDrain = () => {
    t.notOk(inside, "drain within drain");
    inside = true;
    turns++;
    if (turns === 1) {
      driver.wake();
      driver.wake();
      probe.queue(id, 1);
    }
    inside = false;
  };
  for (let i = 0; i < 100; i++) driver.wake();
  t.equal(turns, 0, "not from inside wake");
  clock.advance(0);
  t.same(socket.sent.map(numberOf), [1]);
  t.ok(turns >= 2 && turns <= 3, `${turns} rounds`);
  t.same(socket.batches, [1]);
});

test("work travels between components within one turn", (t) => {
  const { driver, addSocket, probe } = setUp(t);
  const { id, socket } = addSocket();
  const upper = new Probe();
  driver.add(upper); // behind `probe` in the order, and it makes `probe` send
  let asked = false;
  upper.onDrain = () => {
    if (asked) return;
    asked = true;
    probe.queue(id, 42);
    upper.queue(id, 43);
  };
  socket.receive(0);
  t.same(socket.sent.map(numberOf), [42, 43]);
  t.same(socket.batches, [2]);
});

test("a burst leaves in batches, so that its buffers may be used again after each", (t) => {
  const { addSocket, probe } = setUp(t);
  const { id, socket } = addSocket();
  const buffers = new PacketBuffers(8);
  let next = 0;
  probe.pollTransmit = () => {
    if (next === 3 * SEND_BATCH + 5) return null;
    const packet = numbered(next++);
    buffers.next().set(packet);
    return { data: buffers.commit(packet.length), socket: id, to };
  };
  socket.receive(0);
  t.same(socket.batches, [SEND_BATCH, SEND_BATCH, SEND_BATCH, 5]);
  t.same(socket.sent.map(numberOf), range(3 * SEND_BATCH + 5));
});

test("a turn does a bounded share; the rest follows after what else is ready", (t) => {
  const { clock, addSocket, probe } = setUp(t);
  const { id, socket } = addSocket();
  probe.queue(id, ...range(MAX_TRANSMITS_PER_TURN + 100));
  socket.receive(0);
  t.equal(socket.sent.length, MAX_TRANSMITS_PER_TURN);
  clock.advance(0);
  t.same(socket.sent.map(numberOf), range(MAX_TRANSMITS_PER_TURN + 100));
});

test("a socket that takes no more has a bounded queue; what does not fit is dropped and counted, others go on", (t) => {
  const { clock, driver, addSocket, probe } = setUp(t);
  const [full, free] = [addSocket(), addSocket()];
  full.socket.room = 10;
  for (const number of range(1000)) {
    probe.queue(full.id, number);
    probe.queue(free.id, number);
  }
  driver.wake();
  clock.advance(0);
  t.equal(free.socket.sent.length, 1000);
  t.equal(full.socket.sent.length, 10);
  t.equal(driver.room(full.id), 0);
  t.equal(driver.drops.get("queue-full"), 1000 - 10 - MAX_QUEUED_PER_SOCKET);
  probe.queue(full.id, 7777);
  driver.wake();
  clock.advance(0);
  t.equal(driver.drops.get("queue-full"), 1000 - 10 - MAX_QUEUED_PER_SOCKET + 1);
  t.equal(full.socket.batches.length, 1, "a blocked socket is not asked");
  full.socket.drain(100);
  t.equal(full.socket.sent.length, 110);
  t.equal(driver.room(full.id), 100);
  full.socket.drain(Number.POSITIVE_INFINITY);
  t.same(full.socket.sent.map(numberOf), range(10 + MAX_QUEUED_PER_SOCKET));
  t.equal(driver.room(full.id), MAX_QUEUED_PER_SOCKET);
});

test("after flushed, buffers may be reused: what still waits has bytes of its own", (t) => {
  const { clock, driver, addSocket, probe } = setUp(t);
  const { id, socket } = addSocket();
  const scratch = [numbered(1), numbered(2), numbered(3)];
  let flushes = 0;
  probe.onFlushed = () => {
    flushes++;
    for (const buffer of scratch) buffer.fill(0xff);
  };
  socket.room = 1;
  for (const data of scratch) probe.outgoing.push({ data, socket: id, to });
  driver.wake();
  clock.advance(0);
  t.equal(flushes, 1);
  socket.drain(5);
  t.same(socket.sent.map(numberOf), [1, 2, 3]);
});

test("components and sockets come and go at run time; a transmit for no socket is counted", (t) => {
  const { clock, driver, addSocket, probe } = setUp(t);
  const { id, socket } = addSocket();
  probe.queue(id + 5, 1);
  const late = new Probe();
  late.deadline = { at: 10, reason: "late" };
  driver.add(late);
  clock.advance(0);
  t.equal(driver.drops.get("no-socket"), 1);
  driver.remove(late);
  clock.advance(20);
  t.same(late.timeouts, []);
  socket.room = 0;
  probe.queue(id, 1, 2);
  driver.wake();
  clock.advance(0);
  driver.removeSocket(id);
  t.ok(socket.closed);
  t.equal(driver.drops.get("closed"), 2);
  t.equal(driver.socket(id), null);
  t.equal(driver.sockets.size, 0);
});

test("a component may remove itself or close the driver from inside its turn", (t) => {
  const { clock, driver, addSocket, probe } = setUp(t);
  const { id, socket } = addSocket();
  const once = new Probe();
  once.onDrain = () => driver.remove(once);
  driver.add(once);
  probe.onDrain = (now) => {
    if (now >= 5) driver.close();
  };
  clock.advance(5);
  probe.queue(id, 1);
  socket.receive(1);
  t.same(socket.sent.map(numberOf), [1], "what was ready went out");
  t.ok(socket.closed);
  t.equal(once.polls, 1);
  driver.wake();
  socket.receive(2);
  clock.advance(100);
  t.equal(clock.nextAt, null);
});

test("close sends what is ready, then everything is quiet", (t) => {
  const { clock, driver, addSocket, probe } = setUp(t);
  const { id, socket } = addSocket();
  probe.deadline = { at: 50, reason: "never" };
  driver.wake();
  clock.advance(1);
  probe.queue(id, 1); // a goodbye
  driver.close();
  driver.close();
  t.same(socket.sent.map(numberOf), [1]);
  t.ok(socket.closed);
  t.equal(clock.nextAt, null);
});

test("close sends all goodbyes, however many a turn sends", (t) => {
  const { driver, addSocket, probe } = setUp(t);
  const { id, socket } = addSocket();
  const goodbyes = range(20 * MAX_TRANSMITS_PER_TURN + 1);
  probe.queue(id, ...goodbyes);
  driver.close();
  t.same(socket.sent.map(numberOf), goodbyes);
  t.ok(socket.closed);
});

test("a component whose deadline stays due gets a turn per millisecond, not the whole processor", (t) => {
  const { clock, driver, probe } = setUp(t);
  probe.deadline = { at: 0, reason: "stuck" };
  probe.onTimeout = () => {};
  driver.wake();
  clock.advance(1);
  const afterFirst = probe.timeouts.length;
  clock.advance(100);
  const perMs = (probe.timeouts.length - afterFirst) / 100;
  t.ok(perMs <= 20, `${perMs} timeouts per ms`);
  probe.onTimeout = () => {
    probe.deadline = null;
  };
  clock.advance(5);
  t.equal(clock.nextAt, null, "it recovers");
});

test("an error in a component surfaces, and the driver goes on", (t) => {
  const { addSocket, probe, received } = setUp(t);
  const { socket } = addSocket();
  probe.onDrain = () => {
    throw new Error("a bug above");
  };
  t.throws(() => socket.receive(1), /a bug above/);
  probe.onDrain = () => {};
  socket.receive(2);
  t.same(
    received.map(([, , numbers]) => numbers),
    [[1], [2]],
  );
});

/** Echoes, with a count. */
class Echo implements DriverComponent {
  readonly outgoing: Transmit[] = [];
  readonly got: Incoming[] = [];
  deadline: Deadline | null = null;
  firedAt: Millis | null = null;
  /** Batches that came after the deadline and before the timer. */
  batchesSinceDue = 0;

  readonly receive = (now: Millis, socket: SocketId, batch: readonly Incoming[]): void => {
    this.got.push(...batch);
    if (this.deadline && now >= this.deadline.at) this.batchesSinceDue++;
    for (const { data, from } of batch) {
      const number = numberOf({ data });
      if (number > 0) this.outgoing.push({ data: numbered(number - 1), socket, to: from });
    }
  };

  handleTimeout(now: Millis): void {
    this.firedAt = now;
    this.deadline = null;
  }

  pollTimeout(): Deadline | null {
    return this.deadline;
  }

  pollTransmit(): Transmit | null {
    return this.outgoing.shift() ?? null;
  }
}

for (const runtime of udpRuntimes) {
  test(`${runtime}: over real sockets, datagrams go back and forth and the timer fires`, async (t) => {
    const clock: Clock = { now: () => performance.now() };
    const [one, two] = [new Echo(), new Echo()];
    const [left, right] = [new Driver({ clock }), new Driver({ clock })];
    t.teardown(() => left.close());
    t.teardown(() => right.close());
    const loopback = parseSocketAddress("127.0.0.1:0");
    const id = await left.bind({ address: loopback, receive: one.receive, runtime });
    const otherId = await right.bind({ address: loopback, receive: two.receive, runtime });
    left.add(one);
    right.add(two);
    const other = t.must(right.socket(otherId));
    for (let i = 0; i < 64; i++) one.outgoing.push({ data: numbered(100), socket: id, to: other.address });
    const startedAt = clock.now();
    one.deadline = { at: startedAt + 5, reason: "test" };
    left.wake();
    await until(() => one.got.length === 64 * 50 && two.got.length === 64 * 51, "64 balls bounced 100 times");
    await until(() => one.firedAt !== null, "the timer fired");
    t.ok((one.firedAt ?? 0) >= startedAt + 5, "not early");
    // How late it is by the clock says how busy the machine is; datagrams do not get in before it again and again.
    t.ok(one.batchesSinceDue <= 1, `${one.batchesSinceDue} batches were handed down after it was due`);
    await t.rejects(left.bind({ address: other.address, receive: () => {}, runtime }), { code: "address-in-use" });
  });
}
