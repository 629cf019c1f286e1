import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import {
  GATE_LIFETIME_MS,
  Gates,
  gateKey,
  INITIAL_ALLOWANCE_BYTES,
  MAX_GATES_PER_SESSION,
} from "../../src/path/gates.ts";
import { Liveness } from "../../src/path/liveness.ts";
import { shouldUseDirect } from "../../src/path/preference.ts";
import { HandshakeRace } from "../../src/path/race.ts";
import { RoundTrip } from "../../src/path/rtt.ts";
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
  t.equal(sent, 3_000, "of 3,900 that are three times 1,300");
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

test("shouldUseDirect: a tie goes to direct, and so does what is slower by 5 ms", (t) => {
  const table: [direct: number | null, relay: number | null, use: boolean][] = [
    [null, 20, false],
    [null, null, false],
    [20, null, true],
    [10, 20, true],
    [20, 20, true],
    [25, 20, true],
    [25.1, 20, false],
  ];
  for (const [direct, relay, use] of table) t.equal(shouldUseDirect(direct, relay), use, `${direct}, relay ${relay}`);
});

/** Runs the clock to `untilMs`; returns when it asked for a check, when it said that nothing came, and when it declared death. */
function run(liveness: Liveness, fromMs: number, untilMs: number) {
  const seen: { measured: number[]; checks: number[]; overdueAt: number | null; deadAt: number | null } = {
    measured: [],
    checks: [],
    overdueAt: null,
    deadAt: null,
  };
  for (let now = fromMs; now <= untilMs && seen.deadAt === null; now++) {
    const verdict = liveness.handleTimeout(now);
    if (verdict === "measure") seen.measured.push(now);
    if (verdict === "check" || verdict === "overdue") seen.checks.push(now);
    if (verdict === "overdue") seen.overdueAt = now;
    if (verdict === "dead") seen.deadAt = now;
  }
  return seen;
}

/** Active from `now` on, with its first measurement answered. */
function active(now: number, rttMs: number): Liveness {
  const liveness = new Liveness(0, rttMs);
  liveness.handleActivity(now);
  liveness.handleTimeout(now);
  liveness.handleAnswer(now, rttMs);
  return liveness;
}

test("silence under activity: checks after 100 ms, dead after 300 more at a short round trip", (t) => {
  const seen = run(active(1_000, 10), 1_000, 3_000);
  t.equal(seen.checks[0], 1_100);
  t.ok(seen.checks.length >= 6, `${seen.checks.length} checks: losses must not look like death`);
  t.equal(seen.overdueAt, 1_175, "with the first check after the answer should have come");
  t.equal(seen.deadAt, 1_400);
});

test("where another path answers meanwhile, 120 ms are enough; what was asked before the silence does not count", (t) => {
  const liveness = active(1_000, 10);
  run(liveness, 1_000, 1_130);
  liveness.handleAlternative(1_090);
  t.equal(run(liveness, 1_131, 1_270).deadAt, null);
  const other = active(1_000, 10);
  run(other, 1_000, 1_130);
  other.handleAlternative(1_100);
  t.equal(run(other, 1_131, 3_000).deadAt, 1_220);
});

test("at a long round trip patience is three of them, and one and a half where another path answers", (t) => {
  t.equal(run(active(0, 200), 0, 3_000).deadAt, 700);
  const liveness = active(0, 200);
  run(liveness, 0, 300);
  liveness.handleAlternative(100);
  t.equal(run(liveness, 301, 3_000).deadAt, 400);
  const relayed = active(0, 84);
  run(relayed, 0, 200);
  relayed.handleAlternative(100);
  t.equal(run(relayed, 201, 3_000).deadAt, 264, "a round trip and 80 ms");
});

test("the first bytes after a time of quiet ask at once whether the path stands", (t) => {
  const liveness = new Liveness(0, 10);
  t.same(run(liveness, 0, 10_000), { measured: [], checks: [], overdueAt: null, deadAt: null });
  liveness.handleActivity(10_000);
  const seen = run(liveness, 10_000, 10_110);
  t.same(seen.measured, [10_000]);
  t.equal(seen.checks[0], 10_060, "overdue");
});

test("a packet ends silence, and only an answer what was asked", (t) => {
  const liveness = active(10_000, 10);
  run(liveness, 10_000, 10_350);
  t.equal(liveness.state, "silent");
  liveness.handleHeard(10_350);
  t.equal(liveness.state, "verifying");
  run(liveness, 10_351, 10_400);
  liveness.handleAnswer(10_400, 10);
  t.equal(liveness.state, "hearing");
});

test("a packet that comes before the answer could be here gives the answer its time", (t) => {
  const liveness = new Liveness(0, 200);
  liveness.handleActivity(0);
  t.equal(liveness.handleTimeout(0), "measure");
  liveness.handleAnswer(60, 200);
  run(liveness, 61, 190);
  t.equal(liveness.state, "silent");
  liveness.handleHeard(191);
  t.equal(liveness.state, "hearing");
  for (let now = 192; now < 700 && liveness.state === "hearing"; now++) {
    liveness.handleHeard(now);
    liveness.handleTimeout(now);
  }
  t.equal(liveness.state, "verifying", "and no more than that");
});

test("proof that was demanded is not given by packets, only by an answer", (t) => {
  const liveness = active(0, 10);
  liveness.demandProof(50);
  liveness.handleHeard(100);
  t.equal(liveness.state, "verifying");
  t.equal(run(liveness, 100, 2_000).deadAt, 350);
  const other = new Liveness(0, 10);
  other.demandProof(0);
  other.handleAnswer(100, 10);
  t.equal(other.state, "hearing");
});

test("what went unanswered before the peer complained counts", (t) => {
  const liveness = active(0, 10);
  run(liveness, 0, 200);
  liveness.demandProof(200);
  t.equal(run(liveness, 201, 2_000).deadAt, 400);
});

test("the round trip of an answer to a repeated request is an upper bound, and gone with the first one that is known", (t) => {
  const rtt = new RoundTrip();
  rtt.add(0, 450, true);
  t.equal(rtt.smoothedMs, 450, "better than nothing");
  rtt.add(100, 500, true);
  t.equal(rtt.smoothedMs, 450);
  rtt.add(200, 8);
  t.equal(rtt.smoothedMs, 8);
  t.equal(rtt.minMs, 8);
  rtt.add(300, 300, true);
  t.equal(rtt.smoothedMs, 8, "what is known is not spoilt");
  rtt.add(400, 16);
  t.equal(rtt.smoothedMs, 9);
});

test("packets without answers mean death too, after more patience", (t) => {
  const liveness = new Liveness(0, 10);
  let deadAt: number | null = null;
  for (let now = 0; now < 5_000 && deadAt === null; now++) {
    liveness.handleActivity(now);
    liveness.handleHeard(now);
    if (liveness.handleTimeout(now) === "dead") deadAt = now;
  }
  t.equal(deadAt, 900);
});

test("a process that did not run for seconds does not take its own sleep for the peer's silence", (t) => {
  const liveness = active(0, 10);
  t.equal(run(liveness, 4_000, 4_010).deadAt, null);
  liveness.handleHeard(4_020);
  t.equal(liveness.state, "hearing");
});

test("nor does it take it for silence that was suspected before: all of the patience is left but what had passed", (t) => {
  const liveness = active(0, 10);
  run(liveness, 0, 150);
  t.equal(liveness.state, "silent");
  t.equal(run(liveness, 4_000, 4_000).deadAt, null);
  t.equal(run(liveness, 4_001, 9_000).deadAt, 4_225, "of 300 ms the 75 had passed that ended with the next check");
});

test("the handshake starts on the relay at once, and races over a direct pair only when the relay stays silent for 300 ms", (t) => {
  const race = new HandshakeRace(0);
  race.handleRelayPair(0, "relay");
  t.equal(race.pollStart(), "relay");
  race.handleValidPair(20, "direct", "direct");
  race.handleTimeout(299);
  t.equal(race.pollStart(), null);
  race.handleTimeout(300);
  t.equal(race.pollStart(), "direct");
  race.handleValidPair(400, "other", "direct");
  t.equal(race.pollStart(), null, "never a third");
  t.match(race.handleEstablished("direct"), /the relay was silent/);
});

/** The relay's handshake has begun at 0, a direct pair is valid at 20. */
function begun(relayRttMs: number): HandshakeRace {
  const race = new HandshakeRace(relayRttMs);
  race.handleRelayPair(0, "relay");
  race.pollStart();
  race.handleValidPair(20, "direct", "direct");
  return race;
}

test("the race waits as long as an answer over the relay takes at least, from when the first packet left, and from each sign on", (t) => {
  const away = begun(200);
  away.handleTimeout(499);
  t.equal(away.pollStart(), null);
  away.handleTimeout(500);
  t.equal(away.pollStart(), "direct");

  const far = begun(900);
  far.handleTimeout(599);
  t.equal(far.pollStart(), null);
  far.handleTimeout(600);
  t.equal(far.pollStart(), "direct", "a satellite's relay is not waited for longer");

  const late = begun(0);
  late.handleSign(100, "relay");
  late.handleTimeout(399);
  t.equal(late.pollStart(), null);

  const heard = begun(0);
  heard.handleSign(250, "relay");
  heard.handleTimeout(549);
  t.equal(heard.pollStart(), null, "it answers");
  heard.handleTimeout(550);
  t.equal(heard.pollStart(), "direct", "and then no more");
});

test("a process that did not run does not take that for the relay's silence", (t) => {
  const race = begun(0);
  race.handleTimeout(700);
  t.equal(race.pollStart(), null, "what came meanwhile is read first");
  race.handleTimeout(750);
  t.equal(race.pollStart(), "direct");
});

test("without a relay the first valid pair starts, and a relay that comes later does not", (t) => {
  const race = new HandshakeRace(0);
  race.handleValidPair(50, "direct", "direct");
  t.equal(race.pollStart(), "direct");
  race.handleRelayPair(60, "relay");
  t.equal(race.pollStart(), null);
  t.match(race.handleEstablished("direct"), /no relay/);
});
