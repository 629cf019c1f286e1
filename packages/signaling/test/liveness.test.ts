import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { Liveness } from "../src/liveness.ts";
import { Pair } from "./pair.ts";

const liveness = () => new Liveness({ random: seededRandom(1), idleMs: 10_000, timeoutMs: 2_500 });

/** What comes due, and when, while nothing is heard: ids of Pings, at last `dead`. */
function silence(alive: Liveness, from: number): readonly [at: number, what: bigint | string][] {
  const said: [number, bigint | string][] = [];
  let now = from;
  for (let due = alive.handleTimeout(now); due !== "dead"; due = alive.handleTimeout(now)) {
    if (due !== null) said.push([now, due]);
    const next = alive.pollTimeout();
    if (!next || said.length > 100) return said;
    now = next.at;
  }
  return [...said, [now, "dead"]];
}

test("it asks four times before nobody is there", (t) => {
  const alive = liveness();
  t.equal(alive.ask(0), 1n);
  t.same(silence(alive, 0), [
    [625, 2n],
    [1250, 3n],
    [1875, 4n],
    [2500, "dead"],
  ]);
});

test("the answer to any of them counts, and says how long that one took", (t) => {
  const alive = liveness();
  alive.ask(0);
  alive.handleTimeout(625);
  t.equal(alive.pong(700, 2n), 75);
  t.equal(alive.pong(710, 1n), null);
  t.equal(alive.rttMs, 75);
  t.equal(alive.handleTimeout(2_500), null);
});

test("the patience is four retransmission timeouts, where that is more than was asked for", (t) => {
  const alive = liveness();
  alive.measured(450);
  // RFC 6298 §2.2: RTTVAR = R/2, so that RTO = 3 R.
  alive.ask(0, 1_000);
  t.same(silence(alive, 0).at(-1), [5_400, "dead"]);

  const steady = liveness();
  for (let i = 0; i < 40; i++) steady.measured(450);
  steady.ask(0, 1_000);
  const [at] = silence(steady, 0).at(-1) ?? [0];
  t.ok(at >= 1_804 && at < 1_805, `${at}`);

  const quick = liveness();
  quick.measured(40);
  quick.ask(0, 1_000);
  t.same(silence(quick, 0).at(-1), [1_000, "dead"]);
});

test("no round trip makes it wait longer than 6 s, unless it was asked for", (t) => {
  const alive = liveness();
  alive.measured(9_000);
  alive.ask(0, 1_000);
  t.same(silence(alive, 0).at(-1), [6_000, "dead"]);
  const patient = liveness();
  patient.measured(9_000);
  patient.ask(0, 10_000);
  t.same(silence(patient, 0).at(-1), [10_000, "dead"]);
});

test("whoever is heard is alive, and is asked until a Pong comes", (t) => {
  const alive = liveness();
  alive.ask(0, 1_000);
  let pings = 1;
  for (let now = 0; now <= 10_000; now += 50) {
    const due = alive.handleTimeout(now);
    t.ok(due !== "dead", `at ${now}`);
    if (typeof due === "bigint") pings++;
    alive.received(now);
  }
  t.equal(pings, 41, "four a second");
  t.equal(alive.pong(10_000, 41n), 0);
  t.equal(alive.handleTimeout(12_000), null);
});

test("asked again while it waits, it says nothing, unless that is to be known sooner", (t) => {
  const alive = liveness();
  t.equal(alive.ask(0, 2_500), 1n);
  t.equal(alive.ask(100, 2_500), null);
  t.equal(alive.ask(200, 1_000), 2n);
  t.equal(alive.ask(300, 1_000), null);
});

/** What else uses the line, which a burst meets too: a packet in so long, ms. */
const OTHERS_MS = 100;

/** 8 % of the packets of each direction, in bursts of four on average: Gilbert's model. */
function losesInBursts(seed: number): Pair["loses"] {
  const random = seededRandom(seed);
  const ways = { toServer: { bad: false, at: 0 }, toClient: { bad: false, at: 0 } };
  return (now, way) => {
    const line = ways[way];
    for (; line.at <= now; line.at += OTHERS_MS) line.bad = next(line.bad);
    line.bad = next(line.bad);
    return line.bad;
  };

  function next(bad: boolean): boolean {
    return bad ? random.float() >= 1 / 4 : random.float() < 0.08 / 0.92 / 4;
  }
}

test("450 ms and 8 % loss in bursts: probed each second for 20 minutes, signaling stays up", (t) => {
  const lost: number[] = [];
  for (let seed = 1; seed <= 20; seed++) {
    const pair = new Pair({ role: "agent" }, seed);
    pair.delayMs = 225;
    pair.run(3_000);
    pair.loses = losesInBursts(seed);
    for (let now = 4_000; now < 64_000; now += 1_000) {
      pair.run(now);
      pair.client.probe(now);
    }
    if (pair.eventTypes().includes("down")) lost.push(seed);
  }
  t.same(lost, [], "the seeds of the minutes in which it was given up");
});

test("and when the intermediate is gone there, that is known within six seconds", (t) => {
  const pair = new Pair({ role: "agent" });
  pair.delayMs = 225;
  pair.run(3_000);
  pair.silent = true;
  pair.client.probe(pair.now);
  pair.run(9_000);
  t.equal(pair.lastClientEvent("down")?.reason, "the intermediate does not answer");
});
