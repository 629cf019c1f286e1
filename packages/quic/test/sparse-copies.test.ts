import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { type QuicConnection, QuicEndpoint } from "../src/index.ts";
import type { NativeConnection } from "../src/native.ts";
import { SparseCopies } from "../src/sparse-copies.ts";
import { clientSlot, config, pour, Sink, serverSlot } from "./pair.ts";

const PATH = { local: clientSlot(0), remote: serverSlot(0) };
const OUT = new Uint8Array(1500);
const UNKNOWN = { sent: 9, recv: 9, lost: 0 };

function copies(rttMs: number | null, counts = UNKNOWN) {
  const made = new SparseCopies({ stats: () => counts } as unknown as NativeConnection);
  made.rttMs = rttMs;
  const send = (now: number, fill: number, length = 100) => {
    OUT.fill(fill);
    made.handleSent(now, OUT, { length, ...PATH });
  };
  /** What leaves until it is silent: when, and which packet it is a copy of. */
  const left = (): (readonly [at: number, fill: number, length: number])[] => {
    const all: (readonly [number, number, number])[] = [];
    for (let at = made.deadline; at !== null && all.length < 100; at = made.deadline) {
      const packet = made.take(at, OUT);
      if (packet) all.push([at, OUT[packet.length - 1] ?? 0, packet.length]);
    }
    return all;
  };
  return { made, send, left };
}

test("a packet is sent again after a quarter and after three quarters of a round trip, byte for byte", (t) => {
  const { made, send, left } = copies(400);
  send(1000, 7, 120);
  t.equal(made.take(1099, OUT), null);
  t.same(left(), [
    [1100, 7, 120],
    [1300, 7, 120],
  ]);
  t.equal(made.deadline, null);
});

for (const [what, rttMs, length] of [
  ["where the round trip is short", 19, 100],
  ["where nobody knows it", null, 100],
  ["that only acknowledges", 400, 63],
  ["that is one of a transfer", 400, 1200],
] as const) {
  test(`no packet is copied ${what}`, (t) => {
    const { send, left } = copies(rttMs);
    send(0, 1, length);
    t.same(left(), []);
  });
}

test("of many packets in a row the newest four are copied", (t) => {
  const { send, left } = copies(400);
  for (let i = 1; i <= 10; i++) send(i, i);
  t.same(
    left().map(([, fill]) => fill),
    [7, 8, 9, 10, 7, 8, 9, 10],
  );
});

for (const [what, counts, expected] of [
  ["that lost nothing of fifty packets", { sent: 90, recv: 50, lost: 0 }, 0],
  ["that lost one in a hundred", { sent: 200, recv: 200, lost: 2 }, 0],
  ["that loses more", { sent: 200, recv: 200, lost: 3 }, 2],
  ["that nothing is known of", { sent: 90, recv: 49, lost: 0 }, 2],
] as const) {
  test(`${expected} copies of a packet over a network ${what}`, (t) => {
    const { send, left } = copies(400, counts);
    send(0, 1);
    t.equal(left().length, expected);
  });
}

test("over a way that is not long a packet is copied when one was lost, and not before", (t) => {
  const counts = { ...UNKNOWN };
  const { send, left } = copies(40, counts);
  send(0, 1);
  t.same(left(), []);
  counts.lost = 1;
  send(100, 2);
  t.same(left(), [
    [110, 2, 100],
    [130, 2, 100],
  ]);
});

test("when the way turns out to be short, what was kept is forgotten", (t) => {
  const { made, send } = copies(400);
  send(0, 1);
  made.rttMs = 10;
  t.equal(made.deadline, null);
});

/**
 * A question and its answer on virtual time (`loses`: the n-th packet that does more than acknowledge), in which only copies come again: the native library's own timers run on the real clock, where hardly any
 * time goes by. Null: it was not answered within two round trips.
 */
function answeredAfter(rttMs: number | null, loses: (up: boolean, nth: number) => boolean): number | null {
  let now = 0;
  const client = new QuicEndpoint({ random: seededRandom(1) });
  const server = new QuicEndpoint({ random: seededRandom(2), server: config("server") });
  const asks = client.connect(now, { config: config("client"), ...PATH });
  let answers: QuicConnection | null = null;
  let losing = false;
  const counts = { up: 0, down: 0 };

  const deliver = (up: boolean, data: Uint8Array) => {
    if (losing && data.length >= 64 && loses(up, counts[up ? "up" : "down"]++)) return;
    const [local, remote] = up ? [serverSlot(0), clientSlot(0)] : [clientSlot(0), serverSlot(0)];
    const route = (up ? server : client).route(data);
    if (route.kind === "connection") route.connection.recv(now, data, local, remote);
    if (route.kind !== "initial") return;
    answers = server.accept(now, route.header, local, remote);
    answers?.recv(now, data, local, remote);
  };
  const exchange = () => {
    for (let moved = true; moved; ) {
      moved = false;
      for (const one of [asks, answers]) {
        for (let event = one?.pollEvent(); event; event = one?.pollEvent()) {
          if (event.type !== "stream") continue;
          new Sink(event.stream);
          pour(event.stream, new Uint8Array(200));
        }
        for (let sent = one?.send(OUT); sent; sent = one?.send(OUT), moved = true)
          deliver(one === asks, OUT.slice(0, sent.length));
      }
    }
  };
  exchange();
  losing = true;
  for (const one of [asks, answers as QuicConnection | null]) if (one) one.roundTripMs = rttMs;
  const answer = new Sink(asks.openStream());
  pour(answer.stream, new Uint8Array(100));
  for (let steps = 0; steps < 1_000; steps++) {
    exchange();
    if (answer.ended) return now;
    const deadlines = [asks, answers as QuicConnection | null].map((one) => one?.pollTimeout(now)?.at ?? now + 10);
    now = Math.max(now + 1, Math.min(...deadlines));
    if (now > 800) return null;
    for (const one of [asks, answers as QuicConnection | null]) one?.handleTimeout(now);
  }
  return null;
}

const nothing = () => false;
const question = (up: boolean, nth: number) => up && nth === 0;
const questionAndCopy = (up: boolean, nth: number) => up && nth < 2;
const answer = (up: boolean, nth: number) => !up && nth === 0;
for (const [what, loses, withinMs] of [
  ["a question and its answer arrive", nothing, 0],
  ["a question that is lost comes a quarter of a round trip later", question, 100],
  ["and where its copy is lost too, with the second", questionAndCopy, 300],
  ["an answer that is lost comes a quarter of a round trip later", answer, 100],
] as const) {
  // Sooner, where the machine was so slow that the native library's own timer came first.
  test(what, (t) => {
    const ms = answeredAfter(400, loses);
    t.ok(ms !== null && ms <= withinMs, `${ms} ms`);
  });
}
