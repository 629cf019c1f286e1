import { nullLogger, type Random, SocketAddress, type SocketId, seededRandom, type Transmit } from "@adit/core";
import { test } from "@adit/harness";
import { decodeStun, STUN_ATTRIBUTE, STUN_METHOD, StunBuilder } from "@adit/ice";
import { NetworkSense } from "../../src/nat/network-sense.ts";
import type { NetworkView } from "../../src/nat/network-view.ts";

const SERVER = SocketAddress.of("192.0.2.1", 3478);
const OBSERVED = SocketAddress.of("198.51.100.7", 40_000);
const SHARED: SocketId = 0;

/** The sense, a clock, sockets that are opened at once, and what it said. */
class Bench {
  now = 0;
  readonly open = new Set<SocketId>();
  readonly views: NetworkView[] = [];
  readonly sense: NetworkSense;
  canOpen = true;
  #next: SocketId = 1;

  constructor(policy: "all" | "relay" = "all", random: Random = seededRandom(1)) {
    this.sense = new NetworkSense({
      policy,
      random,
      log: nullLogger,
      now: () => this.now,
      wake: () => {},
      openSocket: async () => {
        if (!this.canOpen) return null;
        const id = this.#next++;
        this.open.add(id);
        return id;
      },
      closeSocket: (socket) => this.open.delete(socket),
      onView: (view) => this.views.push(view),
    });
  }

  see(observed: SocketAddress | null = OBSERVED): void {
    this.sense.handleSeen(this.now, { observed, server: SERVER, socket: SHARED });
  }

  sent(): Transmit[] {
    const all: Transmit[] = [];
    for (let one = this.sense.pollTransmit(); one; one = this.sense.pollTransmit()) all.push(one);
    return all;
  }

  answer({ data, socket }: Transmit, mapped: SocketAddress, from = SERVER): boolean {
    const request = decodeStun(data);
    if (!request) throw new Error("a STUN message was expected");
    const response = new StunBuilder("success", STUN_METHOD.BINDING, request.transactionId)
      .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, mapped)
      .build();
    return this.sense.handleDatagram(socket, from, response);
  }

  /** Answers the mapping's question, so that the view is known. */
  answerMapping(mapped: SocketAddress): void {
    for (const request of this.sent()) this.answer(request, mapped);
  }

  elapse(ms: number): void {
    const until = this.now + ms;
    for (let at = this.sense.pollTimeout()?.at; at !== undefined && at <= until; at = this.sense.pollTimeout()?.at) {
      this.now = at;
      this.sense.handleTimeout(at);
    }
    this.now = until;
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("one address at both ports: the mapping is independent, and nothing is measured", async (t) => {
  const bench = new Bench();
  bench.see();
  bench.answerMapping(OBSERVED);
  t.same(bench.sense.view, { policy: "all", udp: "open", mapping: "eim", ports: "unknown" });
  bench.sense.predict(() => t.fail("there is nothing to predict"));
  await settled();
  t.equal(bench.open.size, 0);
  t.equal(bench.sent().length, 0);
});

test("another address at the other port: three fresh sockets tell the next ports, and are closed", async (t) => {
  const bench = new Bench();
  const predictions: (readonly SocketAddress[])[] = [];
  bench.see();
  bench.sense.predict((predicted) => predictions.push(predicted)); // before the mapping is known
  bench.answerMapping(OBSERVED.withPort(40_001));
  t.equal(bench.sense.view.mapping, "apdm");
  bench.sense.predict((predicted) => predictions.push(predicted)); // shares the measurement
  await settled();
  const asked = bench.sent();
  t.equal(asked.length, 3);
  t.equal(new Set(asked.map(({ socket }) => socket)).size, 3);
  for (const [index, request] of asked.entries())
    t.equal(bench.answer(request, OBSERVED.withPort(40_002 + index)), true);
  t.equal(bench.open.size, 0);
  t.equal(predictions.length, 2);
  t.equal(predictions[0]?.length, 24);
  t.equal(predictions[0]?.[0]?.key, "198.51.100.7:40005");
  t.equal(bench.sense.view.ports, "sequential");
});

test("random ports: said so, and nobody is called", async (t) => {
  const bench = new Bench();
  bench.see();
  bench.answerMapping(OBSERVED.withPort(50_001));
  bench.sense.predict(() => t.fail("nothing can be predicted"));
  await settled();
  const ports = [1100, 60_000, 33_000];
  bench.sent().forEach((request, index) => void bench.answer(request, OBSERVED.withPort(ports[index] as number)));
  t.equal(bench.sense.view.ports, "random");
  t.equal(bench.open.size, 0);
});

test("a lost answer is asked for again; without any the sockets are closed after 2.5 s", async (t) => {
  const bench = new Bench();
  bench.see();
  bench.answerMapping(OBSERVED.withPort(40_001));
  let called = 0;
  bench.sense.predict(() => called++);
  await settled();
  const [first, second] = bench.sent();
  bench.answer(t.must(first), OBSERVED.withPort(40_002));
  bench.answer(t.must(second), OBSERVED.withPort(40_003));
  bench.elapse(500);
  const again = bench.sent();
  t.equal(again.length, 1, "the third");
  bench.elapse(2000);
  t.equal(bench.open.size, 0);
  t.equal(called, 1, "two are enough");
});

test("silence is a blocked UDP only where signaling does not go over UDP", (t) => {
  const overUdp = new Bench();
  overUdp.see();
  overUdp.elapse(2500);
  t.equal(overUdp.sense.view.udp, "open");
  t.equal(overUdp.sense.view.mapping, "unknown");
  const overTcp = new Bench();
  overTcp.see(null);
  overTcp.elapse(2499);
  t.equal(overTcp.sense.view.udp, "unknown");
  overTcp.elapse(1);
  t.equal(overTcp.sense.view.udp, "blocked");
  overTcp.see(OBSERVED);
  overTcp.answerMapping(OBSERVED);
  t.same(overTcp.views.at(-1), { policy: "all", udp: "open", mapping: "eim", ports: "unknown" });
});

test("answers of strangers, to other sockets, and of another transaction change nothing", (t) => {
  const bench = new Bench();
  bench.see();
  const [request] = bench.sent();
  const stranger = new Bench("all", seededRandom(2));
  stranger.see();
  const [other] = stranger.sent();
  t.equal(bench.answer(t.must(request), OBSERVED, SocketAddress.of("192.0.2.66", 3478)), false);
  t.equal(bench.answer({ ...t.must(request), socket: 5 }, OBSERVED), false);
  t.equal(bench.answer(t.must(other), OBSERVED), false);
  t.equal(bench.sense.handleDatagram(SHARED, SERVER, new Uint8Array(20)), false);
  t.equal(bench.sense.view.mapping, "unknown");
});

test("a relay-only policy measures no ports, sockets that cannot be had end it, and listeners are bounded", async (t) => {
  const relayOnly = new Bench("relay");
  relayOnly.see();
  relayOnly.answerMapping(OBSERVED.withPort(40_001));
  relayOnly.sense.predict(() => t.fail("our addresses are nobody's business"));
  await settled();
  t.equal(relayOnly.open.size, 0);

  const bench = new Bench();
  bench.canOpen = false;
  bench.see();
  bench.answerMapping(OBSERVED.withPort(40_001));
  bench.sense.predict(() => t.fail("nothing was measured"));
  await settled();
  bench.canOpen = true;
  let called = 0;
  for (let i = 0; i < 100; i++) bench.sense.predict(() => called++);
  await settled();
  bench.sent().forEach((request, index) => void bench.answer(request, OBSERVED.withPort(40_002 + index)));
  t.equal(called, 64);
});

test("closing gives its sockets back", async (t) => {
  const bench = new Bench();
  bench.see();
  bench.answerMapping(OBSERVED.withPort(40_001));
  bench.sense.predict(() => t.fail("it was closed"));
  await settled();
  t.equal(bench.open.size, 3);
  bench.sense.close();
  t.equal(bench.open.size, 0);
  t.equal(bench.sense.pollTimeout(), null);
});
