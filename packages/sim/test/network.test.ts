import { SocketAddress, seededRandom, type Transmit } from "@adit/core";
import { test } from "@adit/harness";
import { type Datagram, type LinkOptions, Network, runMachine, type SimMachine, VirtualClock } from "../src/index.ts";

const bytes = (...values: number[]) => Uint8Array.from(values);

/** Two hosts on the internet, `b` recording (time, first byte) of what arrives. */
function pair(link: Partial<LinkOptions>, seed = 1) {
  const network = new Network({ seed, link: { latencyMs: 10, ...link } });
  const arrived: [number, number][] = [];
  const a = network.addHost("a", "198.51.100.1").bind(() => {});
  const b = network.addHost("b", "198.51.100.2").bind(({ data }) => {
    arrived.push([network.clock.now(), data[0] ?? -1]);
  });
  return { network, a, b, arrived };
}

test("the clock runs calls in the order of time, then of scheduling, and cancelled ones never", (t) => {
  const clock = new VirtualClock();
  const random = seededRandom(5);
  const ran: { at: number; order: number }[] = [];
  const due: number[] = [];
  for (let order = 0; order < 2000; order++) {
    const at = Math.floor(random.float() * 50);
    const scheduled = clock.schedule(at, () => ran.push({ at: clock.now(), order }));
    if (order % 3 === 0) scheduled.cancel();
    else due.push(order);
  }
  clock.runUntil(100);
  t.equal(clock.now(), 100);
  t.equal(ran.length, due.length);
  ran.reduce((before, one) => {
    t.ok(before.at < one.at || (before.at === one.at && before.order < one.order));
    return one;
  });
});

test("a call may schedule another for the same instant; the past means now", (t) => {
  const clock = new VirtualClock();
  const ran: string[] = [];
  clock.schedule(5, () => {
    clock.schedule(1, () => ran.push(`inner ${clock.now()}`));
    ran.push("outer");
  });
  clock.runUntil(5);
  t.same(ran, ["outer", "inner 5"]);
  t.equal(
    clock.runUntilDone(() => false, 10),
    false,
  );
  t.equal(clock.now(), 15);
});

test("a datagram crosses the sender's and the receiver's wire and carries its source", (t) => {
  const network = new Network({ link: { latencyMs: 7 } });
  const got: Datagram[] = [];
  const a = network.addHost("a", "198.51.100.1").bind(() => {}, { port: 1000 });
  const b = network.addHost("b", "2001:db8::2");
  b.addInterface("198.51.100.2");
  b.bind((datagram) => got.push(datagram), { port: 2000 });
  const data = bytes(1, 2, 3);
  a.send(data, SocketAddress.of("198.51.100.2", 2000));
  data.fill(9); // the sender may reuse its buffer
  network.clock.advance(13.9);
  t.equal(got.length, 0);
  network.clock.advance(0.1);
  t.equal(got[0]?.from.key, "198.51.100.1:1000");
  t.same(got[0]?.data, bytes(1, 2, 3));
});

test("what has no way is dropped with its reason", (t) => {
  const { network, a, b } = pair({ maxPayloadBytes: 100 });
  a.send(bytes(1), SocketAddress.of("198.51.100.9", 1));
  a.send(bytes(1), SocketAddress.of("198.51.100.2", 1));
  a.send(bytes(1), SocketAddress.of("2001:db8::1", 1));
  a.send(new Uint8Array(101), b.address);
  network.clock.advance(100);
  t.same(network.drops.toJSON(), { "no-route": 1, "no-listener": 1, "no-interface": 1, "too-big": 1 });
});

test("loss, duplication and reordering happen as often as asked, and the same for the same seed", (t) => {
  const run = (seed: number) => {
    const { network, a, b, arrived } = pair({}, seed);
    a.host.link().up.set({ loss: 0.2, duplicate: 0.1, reorder: 0.1, reorderDelayMs: 5 });
    for (let i = 0; i < 5000; i++) network.clock.schedule(i, () => a.send(bytes(i & 127), b.address));
    network.clock.advance(6000);
    return { arrived, lost: network.drops.get("loss") };
  };
  const { arrived, lost } = run(3);
  t.ok(lost > 900 && lost < 1100, `lost ${lost} of 5000 at 20 %`);
  const doubled = arrived.length - (5000 - lost);
  t.ok(doubled > 320 && doubled < 480, `doubled ${doubled} of ${5000 - lost} at 10 %`);
  t.same(run(3).arrived, arrived);
  t.ok(run(4).lost !== lost || run(4).arrived.length !== arrived.length);
  const late = arrived.filter(([, byte], i) => i > 0 && (((arrived[i - 1] as [number, number])[1] - byte) & 127) < 8);
  t.ok(late.length > 300, `${late.length} came after a later one`);
});

test("jitter spreads arrivals but keeps order", (t) => {
  const { network, a, b, arrived } = pair({ jitterMs: 30 });
  for (let i = 0; i < 100; i++) a.send(bytes(i), b.address);
  network.clock.advance(200);
  t.same(
    arrived.map(([, byte]) => byte),
    Array.from({ length: 100 }, (_, i) => i),
  );
  const times = arrived.map(([at]) => at);
  t.ok(Math.min(...times) >= 20 && Math.max(...times) <= 80 && Math.max(...times) > 40, `${times[0]}..${times[99]}`);
});

test("bandwidth spaces datagrams out, and its queue overflows at the tail", (t) => {
  const { network, a, b, arrived } = pair({});
  // 972 + 28 bytes at 8 Mb/s: 1 ms each. 10,000 bytes of queue: ten wait behind the one being sent.
  a.host.link().up.set({ bandwidthBps: 8_000_000, queueBytes: 10_000 });
  for (let i = 0; i < 20; i++) a.send(new Uint8Array(972).fill(i), b.address);
  network.clock.advance(100);
  t.same(
    arrived,
    Array.from({ length: 11 }, (_, i) => [20 + i + 1, i]),
  );
  t.equal(network.drops.get("queue-full"), 9);
});

test("blocks and partitions act on the wire, one way or both, until removed", (t) => {
  const { network, a, b, arrived } = pair({});
  const back: number[] = [];
  const c = network.addHost("c", "198.51.100.3").bind(({ data }) => back.push(data[0] ?? -1), { port: 7 });
  const oneWay = network.block(a.address, "198.51.100.2");
  a.send(bytes(1), b.address);
  c.send(bytes(2), b.address);
  b.send(bytes(3), c.address);
  network.clock.advance(50);
  oneWay.remove();
  const cut = network.partition(["198.51.100.2"], ["198.51.100.1", "198.51.100.3"]);
  a.send(bytes(4), b.address);
  b.send(bytes(5), c.address);
  network.clock.advance(50);
  cut.remove();
  a.send(bytes(6), b.address);
  network.clock.advance(50);
  t.same(
    arrived.map(([, byte]) => byte),
    [2, 6],
  );
  t.same(back, [3]);
  t.equal(network.drops.get("blocked"), 3);
});

test("a cut wire loses everything, and a host that moves is found at its new address only", (t) => {
  const { network, a, b, arrived } = pair({});
  b.host.link().cut();
  a.send(bytes(1), b.address);
  network.clock.advance(50);
  b.host.link().restore();
  a.send(bytes(2), b.address);
  network.clock.advance(50);
  const old = b.address;
  b.host.moveTo("203.0.113.9");
  a.send(bytes(3), old);
  a.send(bytes(4), b.address);
  network.clock.advance(50);
  t.same(
    arrived.map(([, byte]) => byte),
    [2, 4],
  );
  t.equal(b.address.ip, "203.0.113.9");
  t.same(network.drops.toJSON(), { cut: 1, "no-route": 1 });
});

/** Sends a counter to `peer` each 100 ms and records what it hears. */
class Beacon implements SimMachine {
  readonly heard: string[] = [];
  readonly #peer: SocketAddress;
  readonly #outgoing: Transmit[] = [];
  #at = 0;
  #count = 0;

  constructor(peer: SocketAddress) {
    this.#peer = peer;
  }

  handleDatagram(now: number, socket: number, from: SocketAddress, data: Uint8Array): void {
    this.heard.push(`${now} ${socket} ${from.key} ${data[0]}`);
  }

  handleTimeout(now: number): void {
    if (now < this.#at) return;
    this.#at = now + 100;
    this.#outgoing.push({ data: bytes(this.#count++), socket: 4, to: this.#peer });
  }

  pollTimeout() {
    return { at: this.#at, reason: "beacon" };
  }

  pollTransmit(): Transmit | null {
    return this.#outgoing.shift() ?? null;
  }
}

test("a sans-IO machine plugs in: datagrams, timeouts and transmits on virtual time", (t) => {
  const network = new Network({ link: { latencyMs: 10 } });
  const one = new Beacon(SocketAddress.of("198.51.100.2", 500));
  const two = new Beacon(SocketAddress.of("198.51.100.1", 500));
  const sockets = new Map([[4, { port: 500 }]]);
  const running = [
    runMachine(network.addHost("one", "198.51.100.1"), one, { sockets }),
    runMachine(network.addHost("two", "198.51.100.2"), two, { sockets }),
  ];
  for (const machine of running) machine.wake();
  network.clock.runUntil(250);
  running[1]?.stop();
  network.clock.runUntil(400);
  t.same(
    two.heard,
    [0, 1, 2].map((i) => `${i * 100 + 20} 4 198.51.100.1:500 ${i}`),
  );
  t.same(
    one.heard,
    [0, 1, 2].map((i) => `${i * 100 + 20} 4 198.51.100.2:500 ${i}`),
  );
  t.equal(network.drops.get("no-listener"), 1);
});

test("a machine whose deadline stays due is caught, not spun forever", (t) => {
  const network = new Network();
  const stuck: SimMachine = {
    handleDatagram: () => {},
    handleTimeout: () => {},
    pollTimeout: () => ({ at: 5, reason: "never served" }),
    pollTransmit: () => null,
  };
  runMachine(network.addHost("a", "198.51.100.1"), stuck).wake();
  t.throws(() => network.clock.advance(10), /never served.*busy loop/);
});
