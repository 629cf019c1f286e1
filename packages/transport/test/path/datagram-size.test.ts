// Proving how large datagrams may be, on virtual time, over a way that swallows what is too long.
import { test } from "@adit/harness";
import { BASE_DATAGRAM_BYTES, DatagramSize, DatagramSizes, type SizeWay } from "../../src/path/datagram-size.ts";

const ETHERNET: SizeWay = { family: 4, relayed: false, rttMs: 20 };

/** A way that carries datagrams of up to `carries` bytes, and loses those whose number `loses` says yes to. */
class Way {
  now = 0;
  carries: number;
  loses: (number: number) => boolean = () => false;
  sending = false;
  readonly probes: number[] = [];
  readonly size: DatagramSize;
  readonly #rttMs: number;
  readonly #answers: { readonly at: number; readonly bytes: number }[] = [];

  constructor(carries: number, way: SizeWay = ETHERNET) {
    this.carries = carries;
    this.#rttMs = way.rttMs;
    this.size = new DatagramSize(0, way);
  }

  run(ms: number): void {
    for (const end = this.now + ms; this.now < end; this.now++) {
      for (const { at, bytes } of this.#answers) if (at === this.now) this.size.handleAnswer(at, bytes);
      if (this.sending) this.size.handleSent(this.size.bytes);
      for (let probe = this.size.pollProbe(this.now); probe !== null; probe = this.size.pollProbe(this.now)) {
        this.probes.push(probe);
        if (probe > this.carries || this.loses(this.probes.length)) continue;
        this.#answers.push({ at: this.now + this.#rttMs, bytes: probe });
      }
    }
  }
}

test("the base size is used until a larger one is answered; on Ethernet that is one round trip later", (t) => {
  const way = new Way(1472);
  way.run(20);
  t.equal(way.size.bytes, 1200);
  way.run(2);
  t.equal(way.size.bytes, 1472);
  t.same(way.probes, [1472]);
});

test("what is tried fits the headers of IPv6 and of the relay's ChannelData", (t) => {
  const table: [SizeWay, number][] = [
    [{ family: 4, relayed: false, rttMs: 1 }, 1472],
    [{ family: 4, relayed: true, rttMs: 1 }, 1468],
    [{ family: 6, relayed: false, rttMs: 1 }, 1452],
    [{ family: 6, relayed: true, rttMs: 1 }, 1448],
  ];
  for (const [kind, first] of table) {
    const way = new Way(9000, kind);
    way.run(5);
    t.equal(way.size.bytes, first);
    t.equal(first % 4, 0, "a check can be padded to it");
  }
});

test("a way that carries less gets the largest size that it carries, after three tries of each larger one", (t) => {
  const way = new Way(1392 + 10);
  way.run(2000);
  t.same(way.probes, [1472, 1472, 1472, 1452, 1452, 1452, 1392]);
  t.equal(way.size.bytes, 1392);
});

test("a way that carries no more than the base is left alone for ten minutes, then asked again", (t) => {
  const way = new Way(1200);
  way.run(500_000);
  t.equal(way.size.bytes, 1200);
  t.equal(way.probes.length, 15);
  way.carries = 1472;
  way.run(110_000);
  t.equal(way.size.bytes, 1472);
});

test("an idle way costs nothing once its size is proved; while large datagrams leave it is proved twice a second", (t) => {
  const way = new Way(1472);
  way.run(100_000);
  t.equal(way.probes.length, 1);
  t.equal(way.size.pollTimeout(), null);
  way.sending = true;
  way.run(10_000);
  t.ok(way.probes.length >= 18 && way.probes.length <= 22, `${way.probes.length} probes`);
});

test("a way that begins to swallow what is large falls back to the base within 1.2 s, and is asked again later", (t) => {
  const way = new Way(1472);
  way.sending = true;
  way.run(5_000);
  t.equal(way.size.bytes, 1472);
  way.carries = 1300;
  const cutAt = way.now;
  while (way.size.bytes > BASE_DATAGRAM_BYTES && way.now < cutAt + 5_000) way.run(1);
  t.ok(way.now - cutAt <= 1_200, `after ${way.now - cutAt} ms`);
  way.run(14_000);
  t.equal(way.size.bytes, 1200, "not before it has rested");
  way.run(10_000);
  t.equal(way.size.bytes, 1252, "what it carries now");
});

test("a way that swallows what is large again and again is asked after 15 s, 30 s, and so on up to ten minutes", (t) => {
  const way = new Way(1472);
  way.sending = true;
  const until = (isLarge: boolean): void => {
    while (way.size.bytes > BASE_DATAGRAM_BYTES !== isLarge) way.run(1);
  };
  const restedS: number[] = [];
  for (let fall = 0; fall < 8; fall++) {
    way.carries = 1472;
    until(true);
    way.carries = 1200;
    until(false);
    const fellAt = way.now;
    way.carries = 1472;
    until(true);
    restedS.push(Math.round((way.now - fellAt) / 1_000));
  }
  t.same(restedS, [15, 30, 60, 120, 240, 480, 600, 600]);
});

test("single losses change nothing", (t) => {
  const way = new Way(1472);
  way.sending = true;
  way.run(1_000);
  way.loses = (number) => number % 4 !== 0; // three in a row
  way.run(60_000);
  t.equal(way.size.bytes, 1472);
  t.ok(way.probes.every((bytes) => bytes === 1472));
});

test("an answer to what was not asked, or was given up, proves nothing", (t) => {
  const size = new DatagramSize(0, ETHERNET);
  size.handleAnswer(0, 1472);
  t.equal(size.bytes, 1200, "nothing was asked");
  for (let now = 0; now < 10_000; now += 10) size.pollProbe(now);
  size.handleAnswer(10_000, 1472);
  t.equal(size.bytes, 1200, "it was given up");
});

test("of a session's pairs only the active one is asked; what is known of the others stays, of the last eight", (t) => {
  const sizes = new DatagramSizes();
  const use = (now: number, pair: string) => sizes.setActive(now, pair, () => ETHERNET);
  use(0, "a");
  t.same(sizes.pollProbe(0), { pair: "a", bytes: 1472 });
  sizes.handleAnswer(20, "a", 1472);
  use(30, "b");
  t.same(sizes.pollProbe(30), { pair: "b", bytes: 1472 });
  t.equal(sizes.bytes("a"), 1472);
  t.equal(sizes.bytes("b"), 1200);
  use(40, "a");
  t.equal(sizes.pollProbe(40), null, "known");
  sizes.setActive(50, null, () => null);
  t.equal(sizes.pollTimeout(), null, "no pair is active");
  for (let i = 0; i < 8; i++) use(100 + i, `c${i}`);
  t.equal(sizes.bytes("a"), 1200, "forgotten");
});
