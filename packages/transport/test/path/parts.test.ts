import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import {
  AMPLIFICATION_LIMIT,
  GATE_LIFETIME_MS,
  Gates,
  gateKey,
  INITIAL_ALLOWANCE_BYTES,
  MAX_GATES_PER_SESSION,
} from "../../src/path/gates.ts";
import { Liveness } from "../../src/path/liveness.ts";
import { shouldUseDirect } from "../../src/path/preference.ts";
import { HandshakeRace } from "../../src/path/race.ts";
import { SLOT_COUNT, SlotTable } from "../../src/path/slots.ts";

const KEY = gateKey(0, SocketAddress.of("192.0.2.7", 7));
const OTHER = gateKey(0, SocketAddress.of("192.0.2.7", 8));

test("a gate is closed to whoever has not authenticated himself", (t) => {
  const gates = new Gates();
  t.equal(gates.receive(0, KEY, 100), false);
  t.equal(gates.send(0, KEY, 1), false);
  gates.handleRequest(0, KEY, 100);
  t.equal(gates.receive(0, KEY, 100), true);
  t.equal(gates.receive(0, OTHER, 100), false, "another port is another gate");
});

test("until our own check was answered at most three times what came goes back", (t) => {
  const gates = new Gates();
  gates.handleRequest(0, KEY, 100);
  gates.receive(0, KEY, 1_200);
  let sent = 0;
  while (gates.send(0, KEY, 1_000)) sent += 1_000;
  t.ok(sent <= 1_300 * AMPLIFICATION_LIMIT && sent > 1_300 * AMPLIFICATION_LIMIT - 1_000, `${sent} bytes went out`);
  gates.handleAnswer(1, KEY);
  for (let i = 0; i < 100; i++) t.ok(gates.send(1, KEY, 1_000));
});

test("the first Initials may leave with the first check: to one address, so many bytes, once", (t) => {
  const gates = new Gates();
  gates.allowInitial(KEY);
  gates.allowInitial(OTHER);
  t.equal(gates.send(0, OTHER, 1_200), false);
  let sent = 0;
  while (gates.send(0, KEY, 1_200)) sent += 1_200;
  t.equal(sent, INITIAL_ALLOWANCE_BYTES);
});

test("a gate closes with consent, both ways, and a new answer opens it again", (t) => {
  const gates = new Gates();
  gates.handleAnswer(0, KEY);
  t.equal(gates.receive(GATE_LIFETIME_MS - 1, KEY, 1), true);
  t.equal(gates.receive(GATE_LIFETIME_MS, KEY, 1), false);
  t.equal(gates.send(GATE_LIFETIME_MS, KEY, 1), false);
  gates.handleAnswer(GATE_LIFETIME_MS, KEY);
  t.equal(gates.send(GATE_LIFETIME_MS, KEY, 1), true);
});

test("gates are bounded: the one refreshed longest ago gives way", (t) => {
  const gates = new Gates();
  for (let port = 1; port <= MAX_GATES_PER_SESSION; port++)
    gates.handleAnswer(port, gateKey(0, SocketAddress.of("192.0.2.1", port)));
  gates.handleAnswer(200, gateKey(0, SocketAddress.of("192.0.2.1", 1)));
  gates.handleAnswer(201, KEY);
  t.equal(gates.size, MAX_GATES_PER_SESSION);
  t.equal(gates.isOpen(202, gateKey(0, SocketAddress.of("192.0.2.1", 1))), true);
  t.equal(gates.isOpen(202, gateKey(0, SocketAddress.of("192.0.2.1", 2))), false);
});

test("a slot is kept by its pair, an empty one goes first, then the one used longest ago that nobody needs", (t) => {
  const slots = new SlotTable();
  const bound = ["a", "b", "c", "d"].map((pair) => slots.bind(pair, []));
  t.same(bound, [0, 1, 2, 3]);
  t.equal(slots.bind("b", []), 1);
  t.equal(slots.bind("e", ["a"]), 2, "a is kept, c was used before b");
  t.equal(slots.slotOf("c"), null);
  t.equal(slots.pairOf(2), "e");
  t.equal(slots.bind("f", ["a", "b", "d", "e"]), null, "all are needed");
  slots.keepOnly("e");
  t.same(
    Array.from({ length: SLOT_COUNT }, (_, slot) => slots.pairOf(slot)),
    [null, null, "e", null],
  );
});

test("a slot is found by its virtual addresses and by no others", (t) => {
  const slots = new SlotTable();
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    t.equal(slots.slotAt(slots.local(slot)), slot);
    t.equal(slots.slotAt(slots.remote(slot)), slot);
  }
  t.equal(slots.slotAt({ host: "192.0.2.1", port: 99 }), null);
  t.equal(slots.slotAt({ host: "127.0.0.1", port: 1 }), null);
});

test("shouldUseDirect: a tie goes to direct, and between entering and leaving lie 5 ms", (t) => {
  const table: [current: "relay" | "direct", direct: number | null, relay: number | null, use: boolean][] = [
    ["relay", null, 20, false],
    ["relay", null, null, false],
    ["relay", 20, null, true],
    ["relay", 10, 20, true],
    ["relay", 20, 20, true],
    ["relay", 25, 20, true],
    ["relay", 25.1, 20, false],
    ["direct", 25.1, 20, true],
    ["direct", 30, 20, true],
    ["direct", 30.1, 20, false],
    ["direct", null, 20, false],
  ];
  for (const [current, direct, relay, use] of table) {
    t.equal(shouldUseDirect(current, direct, relay), use, `${current}: direct ${direct}, relay ${relay}`);
  }
});

/** Runs the clock to `untilMs`; returns when it asked for a check, and when it declared death. */
function run(liveness: Liveness, fromMs: number, untilMs: number): { checks: number[]; deadAt: number | null } {
  const checks: number[] = [];
  for (let now = fromMs; now <= untilMs; now++) {
    const verdict = liveness.handleTimeout(now);
    if (verdict === "check") checks.push(now);
    if (verdict === "dead") return { checks, deadAt: now };
  }
  return { checks, deadAt: null };
}

test("silence under activity: a check after 100 ms, dead after 300 more at a short round trip", (t) => {
  const liveness = new Liveness(0, 10);
  liveness.handleActivity(1_000);
  t.same(run(liveness, 1_000, 3_000), { checks: [1_100, 1_150, 1_200, 1_250, 1_300, 1_350], deadAt: 1_400 });
});

test("at a long round trip patience is three of them", (t) => {
  const liveness = new Liveness(0, 200);
  liveness.handleActivity(0);
  t.equal(run(liveness, 0, 3_000).deadAt, 700);
});

test("a packet ends silence, an answer too, and without activity nothing is asked", (t) => {
  const liveness = new Liveness(0, 10);
  t.same(run(liveness, 0, 10_000), { checks: [], deadAt: null });
  liveness.handleActivity(10_000);
  run(liveness, 10_000, 10_350);
  liveness.handleHeard(10_350);
  t.equal(liveness.state, "hearing");
  run(liveness, 10_351, 10_600);
  liveness.handleAnswer(10_600, 10);
  t.equal(liveness.state, "hearing");
});

test("proof that was demanded is not given by packets, only by an answer", (t) => {
  const liveness = new Liveness(0, 10);
  liveness.handleActivity(0);
  liveness.demandProof(50);
  liveness.handleHeard(100);
  t.equal(liveness.state, "verifying");
  t.equal(run(liveness, 100, 2_000).deadAt, 350);
  const other = new Liveness(0, 10);
  other.demandProof(0);
  other.handleAnswer(100, 10);
  t.equal(other.state, "hearing");
});

test("packets without answers mean death too, after more patience", (t) => {
  const liveness = new Liveness(0, 10);
  let deadAt: number | null = null;
  for (let now = 0; now < 5_000 && deadAt === null; now++) {
    liveness.handleActivity(now);
    liveness.handleHeard(now);
    if (liveness.handleTimeout(now) === "dead") deadAt = now;
  }
  t.ok(deadAt !== null && deadAt >= 1_900 && deadAt <= 2_000, `dead at ${deadAt}`);
});

test("a process that did not run for seconds does not take its own sleep for the peer's silence", (t) => {
  const liveness = new Liveness(0, 10);
  liveness.handleActivity(0);
  t.equal(liveness.handleTimeout(4_000), "check");
  t.equal(liveness.handleTimeout(4_010), null);
  liveness.handleHeard(4_020);
  t.equal(liveness.state, "hearing");
});

test("the handshake starts on the relay at once, and races over a direct pair only when the relay stays silent for 300 ms", (t) => {
  const race = new HandshakeRace();
  race.handleRelayPair(0, "relay");
  t.equal(race.pollStart(), "relay");
  race.handleValidPair(20, "direct", "direct");
  race.handleTimeout(299);
  t.equal(race.pollStart(), null);
  race.handleTimeout(300);
  t.equal(race.pollStart(), "direct");
  race.handleValidPair(400, "other", "direct");
  t.equal(race.pollStart(), null, "never a third");

  const heard = new HandshakeRace();
  heard.handleRelayPair(0, "relay");
  heard.pollStart();
  heard.handleValidPair(20, "direct", "direct");
  heard.handleHeard(250, "relay");
  heard.handleTimeout(549);
  t.equal(heard.pollStart(), null, "it answers");
  heard.handleTimeout(550);
  t.equal(heard.pollStart(), "direct", "and then no more");
});

test("without a relay the first valid pair starts, and a relay that comes later does not", (t) => {
  const race = new HandshakeRace();
  race.handleValidPair(50, "direct", "direct");
  t.equal(race.pollStart(), "direct");
  race.handleRelayPair(60, "relay");
  t.equal(race.pollStart(), null);
});
