import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { HandshakeRepeats } from "../src/handshake-repeats.ts";
import { type QuicConnection, QuicEndpoint } from "../src/index.ts";
import type { NativeConnection } from "../src/native.ts";
import { clientSlot, config, serverSlot } from "./pair.ts";

/** Below the handshake's own timeout. */
const END = 10_500;

/**
 * A handshake on virtual time, in which only repetitions pass: the native library's own timers run on the real clock, where hardly any time
 * goes by. `loses` says which of a side's datagrams, counted from 0, do not arrive.
 */
class Handshake {
  readonly client: QuicConnection;
  server: QuicConnection | null = null;
  readonly sent: { readonly up: boolean; readonly at: number; readonly data: string }[] = [];
  now = 1000;
  readonly #clientEndpoint = new QuicEndpoint({ random: seededRandom(1) });
  readonly #serverEndpoint: QuicEndpoint;
  readonly #loses: (up: boolean, index: number) => boolean;
  readonly #out = new Uint8Array(1500);

  constructor(
    loses: (up: boolean, index: number) => boolean,
    { rttMs = 40 as number | null, repeatsHandshake = true } = {},
  ) {
    this.#loses = loses;
    const server = config("server", { repeatsHandshake });
    this.#serverEndpoint = new QuicEndpoint({ random: seededRandom(2), server });
    const path = { local: clientSlot(0), remote: serverSlot(0) };
    this.client = this.#clientEndpoint.connect(this.now, { config: config("client"), ...path, rttMs });
  }

  get isOver(): boolean {
    return this.client.state === "established" && this.server?.state === "established";
  }

  count(up: boolean): number {
    return this.sent.filter((one) => one.up === up).length;
  }

  /** Until it is over, or nothing will come of it. */
  run(): this {
    for (;;) {
      while (this.#exchange());
      const deadlines = [this.client, this.server].map((one) => one?.pollTimeout(this.now)?.at ?? END);
      const next = Math.min(...deadlines);
      if (this.isOver || next >= END) return this;
      this.now = next;
      for (const one of [this.client, this.server]) one?.handleTimeout(this.now);
    }
  }

  #exchange(): boolean {
    let moved = false;
    for (const one of [this.client, this.server]) {
      if (!one) continue;
      while (one.pollEvent()) {}
      for (let packet = one.send(this.#out); packet; packet = one.send(this.#out)) {
        moved = true;
        const up = one === this.client;
        const data = this.#out.slice(0, packet.length);
        const index = this.count(up);
        this.sent.push({ up, at: this.now, data: Buffer.from(data).toString("hex") });
        if (!this.#loses(up, index)) this.#deliver(up, data);
      }
    }
    return moved;
  }

  #deliver(up: boolean, data: Uint8Array): void {
    const [local, remote] = up ? [serverSlot(0), clientSlot(0)] : [clientSlot(0), serverSlot(0)];
    const route = (up ? this.#serverEndpoint : this.#clientEndpoint).route(data);
    if (route.kind === "initial")
      this.server = this.#serverEndpoint.accept(this.now, route.header, local, remote) as QuicConnection;
    const connection = route.kind === "connection" ? route.connection : this.server;
    connection?.recv(this.now, data, local, remote);
  }
}

test("a first packet that was lost is sent again after 2.5 round trips, byte for byte, with growing intervals", (t) => {
  const lossy = new Handshake((up, index) => up && index < 3).run();
  t.ok(lossy.isOver);
  const first = lossy.sent.filter(({ up }) => up).slice(0, 4);
  t.same(
    first.map(({ at }) => at - 1000),
    [0, 100, 300, 700],
  );
  t.equal(new Set(first.map(({ data }) => data)).size, 1);
});

test("a server's first flight that was lost is sent again as a whole", (t) => {
  const whole = new Handshake(() => false).run();
  t.ok(whole.isOver);
  const perFlight = whole.sent.findIndex(({ up }, i) => up && i > 0) - 1;
  t.ok(perFlight >= 1);
  const lossy = new Handshake((up, index) => !up && index < perFlight).run();
  t.ok(lossy.isOver);
  const down = lossy.sent.filter(({ up }) => !up);
  for (let i = 0; i < perFlight; i++) t.equal(down[perFlight + i]?.data, down[i]?.data);
});

test("a client's last flight that was lost is sent again, though the handshake is over for the client", (t) => {
  const whole = new Handshake(() => false).run();
  const ups = whole.count(true);
  t.ok(ups >= 2);
  const lossy = new Handshake((up, index) => up && index >= 1 && index < ups).run();
  t.ok(lossy.isOver);
  // A round trip is known by now, so QUIC's own timers may be earlier.
  t.ok(lossy.now - 1000 < 500, `after ${lossy.now - 1000} ms`);
});

test("where nothing is lost, nothing is repeated", (t) => {
  const handshake = new Handshake(() => false).run();
  t.ok(handshake.isOver);
  t.equal(handshake.now, 1000, "no time went by");
  t.equal(new Set(handshake.sent.map(({ data }) => data)).size, handshake.sent.length);
});

test("what an unknown path may take is waited for longer, and in vain five times at most", (t) => {
  const silent = new Handshake((up) => up, { rttMs: null }).run();
  t.same(
    silent.sent.map(({ at }) => at - 1000),
    [0, 250, 750, 1750, 3750, 7750],
  );
});

test("something new that comes begins the intervals anew; what is not new does not", (t) => {
  let recv = 0;
  const native = { stats: () => ({ recv }) } as unknown as NativeConnection;
  const repeats = new HandshakeRepeats(native, 40);
  const at = () => repeats.deadline?.at;
  repeats.sent(0, Uint8Array.of(1), { local: clientSlot(0), remote: serverSlot(0) });
  for (const [now, next] of [
    [100, 300],
    [300, 700],
  ] as const) {
    repeats.handleTimeout(now);
    t.equal(at(), next);
  }
  t.equal(repeats.received(340), false);
  t.equal(at(), 700);
  recv = 1;
  t.equal(repeats.received(350), true);
  t.equal(at(), 450);
});

test("a server repeats nothing by itself: who it answers has not proved its address (RFC 9000 §8.1)", (t) => {
  const lost = new Handshake((up) => !up, { repeatsHandshake: false }).run();
  const down = lost.sent.filter(({ up }) => !up);
  t.equal(new Set(down.map(({ data }) => data)).size, down.length);
  t.ok(lost.count(true) > 1, "the client does");
});

test("19 handshakes of 20 are over at both ends within 1.5 s where each fifth packet is lost, in both directions", (t) => {
  const seeds = 200;
  let soon = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const random = seededRandom(seed);
    const handshake = new Handshake(() => random.float() < 0.2).run();
    if (handshake.isOver && handshake.now <= 2500) soon++;
  }
  t.ok(soon >= 0.95 * seeds, `${soon} of ${seeds}`);
});
