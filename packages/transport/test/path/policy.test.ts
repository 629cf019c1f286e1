import { test } from "@adit/harness";
import { relayed, settled, World } from "./world.ts";

test("a session starts on the relay and moves when a direct pair answers, after QUIC validated it", (t) => {
  const { world } = settled();
  t.same(world.changes(), ["connecting -> relay", "relay -> direct"]);
  t.equal(world.agent.path, "direct");
  t.equal(world.agent.activePair, "direct");
  t.equal(world.agent.migrations, 1);
  const validated = world.log.findIndex((entry) => entry.action === "validate");
  const migrated = world.log.findIndex((entry) => entry.action === "migrate");
  t.ok(validated >= 0 && validated < migrated, "validated before it migrated");
  t.same(world.changes("connector"), ["connecting -> relay", "relay -> direct"]);
});

test("a session stays on the relay until its first bytes have come, or for 500 ms", (t) => {
  const { world } = relayed();
  const direct = world.wire("direct", "direct", 10);
  world.valid(direct);
  world.runUntil(490);
  t.equal(world.agent.path, "relay");
  world.runUntil(530);
  t.equal(world.agent.path, "direct");

  const answered = new World();
  const first = answered.wire("relay", "relay", 20);
  answered.establish(first);
  answered.valid(answered.wire("direct", "direct", 10));
  answered.runUntil(30);
  answered.agent.handleActivity(30, false);
  answered.runUntil(60);
  t.equal(answered.agent.path, "relay", "asking is not yet being answered");
  answered.agent.handleActivity(60, true);
  answered.runUntil(80);
  t.equal(answered.agent.path, "direct");
});

test("one slow answer does not keep an idle session on the relay: the direct pair is asked again at once", (t) => {
  for (const isFirst of [false, true]) {
    const world = new World();
    const [relay, direct] = [world.wire("relay", "relay", 20), world.wire("direct", "direct", 10)];
    if (isFirst) world.agent.handleAnswer(0, direct.pair, 300);
    world.establish(relay);
    world.valid(relay);
    if (!isFirst) world.agent.handleAnswer(0, direct.pair, 300);
    world.runUntil(1_000);
    t.equal(world.agent.path, "direct");
  }
});

test("a direct pair that is slower than the relay is asked three times more, and then as all others are", (t) => {
  const { world } = relayed();
  const direct = world.wire("direct", "direct", 300);
  world.valid(direct);
  world.runUntil(4_000);
  t.equal(world.agent.path, "relay");
  t.equal(world.count("agent", "check direct"), 3);
});

test("a session that starts on a direct pair prepares the relay as its standby", (t) => {
  const world = new World();
  const relay = world.wire("relay", "relay", 20);
  const direct = world.wire("direct", "direct", 10);
  world.establish(direct);
  world.valid(relay);
  world.runUntil(1_000);
  t.equal(world.agent.path, "direct");
  t.notEqual(world.slots.slotOf("relay"), null);
  t.equal(world.count("agent", "migrate"), 0);
});

test("a session on a relay prepares another relay as its standby, moves there, and both sides say so", (t) => {
  const world = new World();
  const [first, second] = [world.wire("first", "relay", 20, 2n), world.wire("second", "relay", 24, 1n)];
  world.establish(first);
  world.valid(first);
  world.valid(second);
  world.runUntil(2_000);
  t.equal(world.count("agent", "validate"), 1);
  t.ok(world.slots.slotOf("second") !== null, "the standby has a slot, and so is validated before it is needed");
  t.equal(world.agent.activePair, "first");
  world.download(4_000);
  world.schedule(3_000, () => {
    first.up = first.down = false;
  });
  world.runUntil(4_000);
  t.equal(world.agent.activePair, "second");
  t.same(world.changes("agent"), ["connecting -> relay", "relay -> relay"]);
  t.same(world.changes("connector"), ["connecting -> relay", "relay -> relay"]);
  t.equal(world.agent.migrations, 1);
  t.equal(world.connector.migrations, 1);
});

test("a path that QUIC cannot validate is not used, and is tried again with growing backoff", (t) => {
  const { world } = relayed();
  const direct = world.wire("direct", "direct", 10);
  direct.up = false;
  world.valid(direct);
  world.runUntil(20_000);
  t.equal(world.agent.path, "relay");
  direct.up = true;
  world.runUntil(60_000);
  t.equal(world.agent.path, "direct");
});

for (const side of ["download", "upload"] as const) {
  for (const blocked of [["up", "down"], ["up"], ["down"]] as const) {
    test(`direct dies under ${side}, ${blocked.join(" and ")} blocked: back on the relay, then direct again when mended`, (t) => {
      const { world, direct } = settled();
      world[side](60_000);
      world.runUntil(4_000);
      for (const direction of blocked) direct[direction] = false;
      world.runUntil(12_000);
      t.equal(world.agent.path, "relay");
      const at =
        world.log.filter((entry) => entry.action === "direct -> relay" && entry.who === "agent")[0]?.at ?? Infinity;
      t.ok(at - 4_000 <= 400, `noticed after ${at - 4_000} ms`);
      t.match(world.agent.reason, /direct path went silent/);
      direct.up = true;
      direct.down = true;
      world.runUntil(60_000);
      t.equal(world.agent.path, "direct");
      t.equal(world.changes().length, 4);
    });
  }
}

test("the agent that hears packets believes a report only after its own checks went unanswered", (t) => {
  const { world } = settled();
  world.download(10_000);
  world.runUntil(4_000);
  for (let i = 0; i < 10; i++) world.agent.handlePeerReport(world.now);
  world.runUntil(10_000);
  t.equal(world.agent.path, "direct");
  t.equal(world.agent.migrations, 1);
});

test("a report about a path that really is dead one way moves the session within its 300 ms", (t) => {
  const { world, direct } = settled();
  world.upload(3_000);
  world.runUntil(4_000);
  direct.up = false;
  // Only the connector has something to say, and the agent hears it all the time.
  world.connector.handleActivity(world.now);
  world.download(8_000);
  world.runUntil(8_000);
  t.equal(world.agent.path, "relay");
});

test("an idle session costs no checks beyond consent, and keeps QUIC alive every 15 s", (t) => {
  const { world } = settled();
  world.runUntil(10_000);
  const before = world.log.length;
  world.runUntil(130_000);
  const said = world.log.slice(before);
  t.equal(said.filter((entry) => entry.action.startsWith("check")).length, 0);
  const pings = said.filter((entry) => entry.action === "ping" && entry.who === "agent").length;
  t.equal(pings, 8);
});

test("the planned switch measures its gap by the agent's clock", (t) => {
  const world = new World();
  const relay = world.wire("relay", "relay", 40);
  const direct = world.wire("direct", "direct", 10);
  world.establish(relay);
  world.valid(relay);
  world.download(5_000);
  world.runUntil(1_000);
  world.valid(direct);
  world.runUntil(5_000);
  t.equal(world.agent.path, "direct");
  const delivered = world.delivered.filter((at) => at > 1_000);
  let largest = 0;
  for (let i = 1; i < delivered.length; i++) largest = Math.max(largest, (delivered[i] ?? 0) - (delivered[i - 1] ?? 0));
  t.ok(largest <= 40 + 20, `the download paused for ${largest} ms`);
});

test("both paths dead: pairs are checked first, then ICE restarts with backoff, then the session is suspended and ends", (t) => {
  const { world, relay, direct } = settled();
  world.download(700_000, 50);
  world.runUntil(4_000);
  for (const wire of [relay, direct]) wire.up = wire.down = false;
  world.runUntil(4_900);
  t.equal(world.count("agent", "restart"), 0, "the pairs that exist come first");
  world.runUntil(20_000);
  const restarts = world.count("agent", "restart");
  t.ok(restarts >= 2 && restarts <= 8, `${restarts} restarts`);
  t.equal(world.agent.path, "direct");
  world.runUntil(40_000);
  t.equal(world.agent.path, "suspended");
  t.equal(world.connector.path, "suspended");
  world.runUntil(700_000);
  t.equal(world.count("agent", "end"), 1);
  t.equal(world.count("connector", "end"), 1);
});

test("the pairs of an ICE restart that was answered late get a second before the next restart", (t) => {
  const { world, relay, direct } = settled();
  world.download(20_000);
  relay.up = relay.down = direct.up = direct.down = false;
  const restarts = () =>
    world.log.filter(({ who, action }) => who === "agent" && action === "restart").map(({ at }) => at);
  while (restarts().length === 0) world.runUntil(world.now + 10);
  const [first = 0] = restarts();
  // Just before the second one would leave: with the first backoff, that is 1 to 2 s after the first.
  world.schedule(first + 990, (now) => world.agent.handleRestarted(now));
  world.runUntil(first + 1_980);
  t.equal(restarts().length, 1);
  world.runUntil(first + 2_100);
  t.equal(restarts().length, 2);
});

test("a suspended session resumes when a pair answers", (t) => {
  const { world, relay, direct } = settled();
  world.download(200_000, 50);
  world.runUntil(4_000);
  for (const wire of [relay, direct]) wire.up = wire.down = false;
  world.runUntil(60_000);
  t.equal(world.agent.path, "suspended");
  relay.up = relay.down = true;
  world.runUntil(65_000);
  t.equal(world.agent.path, "relay");
  t.equal(world.connector.path, "relay");
  const after = world.delivered.filter((at) => at > 60_000).length;
  t.ok(after > 50, `${after} packets after it resumed`);
});

test("told that the peer was restarted, the agent checks, and ends within 2 s only if nothing answers", (t) => {
  const { world, relay, direct } = settled();
  world.agent.handlePeerGone(world.now);
  world.runUntil(12_000);
  t.equal(world.count("agent", "end"), 0, "it answered, so the hint was wrong");
  for (const wire of [relay, direct]) wire.up = wire.down = false;
  world.agent.handlePeerGone(world.now);
  world.runUntil(13_100);
  t.equal(world.count("agent", "end"), 0, "a second of silence may be loss");
  world.runUntil(14_000);
  t.equal(world.count("agent", "end"), 1);
});

test("a peer that slept connects anew: it is asked whether it knows the session, and that it answers is enough", (t) => {
  const { world, relay, direct } = settled();
  for (const wire of [relay, direct]) wire.up = wire.down = false;
  world.agent.handleWake(world.now);
  world.runUntil(60_000);
  t.equal(world.agent.path, "suspended");
  const asked = world.count("agent", "restart");
  world.agent.handlePeerAnew(world.now);
  world.runUntil(60_001);
  t.equal(world.count("agent", "restart"), asked + 1, "asked at once");
  world.schedule(60_500, (now) => world.agent.handleRestarted(now));
  world.runUntil(90_000);
  t.equal(world.count("agent", "end"), 0, "it answered, so it is there; a path may take longer");
  relay.up = relay.down = true;
  world.runUntil(100_000);
  t.equal(world.agent.path, "relay");
});

test("where a round trip takes 900 ms, a peer that connects anew has the time that an answer takes", (t) => {
  const { world, relay, direct } = settled(1, 900, 450);
  for (const wire of [relay, direct]) wire.up = wire.down = false;
  world.agent.handleWake(world.now);
  world.runUntil(60_000);
  world.agent.handlePeerAnew(world.now);
  world.runUntil(62_000);
  t.equal(world.count("agent", "end"), 0, "nothing can have been heard");
  world.runUntil(66_000);
  t.equal(world.count("agent", "end"), 1);
});

test("the agent slept, and connects to its intermediate anew: the connector ends the session unless the agent names it", (t) => {
  for (const names of [false, true]) {
    const { world, relay, direct } = settled();
    for (const wire of [relay, direct]) wire.up = wire.down = false;
    world.connector.handleWake(world.now);
    world.runUntil(60_000);
    t.equal(world.connector.path, "suspended");
    world.connector.handlePeerGone(world.now);
    if (names) world.schedule(60_500, () => world.connector.handlePeerKnows());
    world.runUntil(70_000);
    t.equal(world.count("connector", "end"), names ? 0 : 1);
  }
});

test("no direct pair in 5 s: the hole punch failed, the reason says why, and it is tried again with backoff", (t) => {
  const { world } = relayed();
  world.runUntil(4_990);
  t.equal(world.count("agent", "punch-failed"), 0);
  world.runUntil(5_010);
  t.equal(world.count("agent", "punch-failed"), 1);
  t.match(world.agent.reason, /no direct path: nobody answered/);
  world.runUntil(60_000);
  t.equal(world.count("agent", "retry"), 1, "the pairs that exist first");
  t.ok(world.count("agent", "restart") >= 3, "then new ones");
  t.equal(world.count("agent", "punch-failed"), 1);
});

test("a hiccup of the relay does not take away the sentence that says why the session is not direct", (t) => {
  const { world, relay } = relayed();
  world.download(20_000);
  world.runUntil(6_000);
  relay.up = relay.down = false;
  world.runUntil(7_500);
  t.match(world.agent.reason, /went silent, and no other path answers/);
  relay.up = relay.down = true;
  world.runUntil(9_000);
  t.equal(world.agent.path, "relay");
  t.match(world.agent.reason, /^no direct path: nobody answered/);
});

test("a pair that ICE gives up is left at once for one that stands", (t) => {
  const { world, relay } = settled();
  world.upload(4_000);
  world.runUntil(2_900);
  world.valid(relay);
  world.agent.handlePairLost(world.now, "direct", "consent expired");
  world.runUntil(3_500);
  t.equal(world.agent.path, "relay");
  t.equal(world.agent.reason, "consent expired");
});

test("a direct path slower than the relay by more than 5 ms for 10 s is left, and not for less", (t) => {
  const { world, direct } = settled();
  world.download(120_000);
  direct.rttMs = 24;
  world.runUntil(30_000);
  t.equal(world.agent.path, "direct");
  direct.rttMs = 45;
  world.runUntil(47_000);
  t.equal(world.agent.path, "direct");
  world.runUntil(60_000);
  t.equal(world.agent.path, "relay");
  direct.rttMs = 10;
  world.runUntil(120_000);
  t.equal(world.agent.path, "direct", "and entered again when it is quicker");
});

test("a direct path that loses 30 % of its checks, and the relay none, is left within 3 s, and is used again when it is mended", (t) => {
  const leftAfter: number[] = [];
  for (let seed = 1; seed <= 40; seed++) {
    const { world, direct } = settled(seed);
    world.download(120_000);
    world.runUntil(4_000);
    direct.loss = 1 - Math.sqrt(0.7);
    world.runUntil(40_000);
    const left = world.log.find((entry) => entry.at > 4_000 && entry.action === "direct -> relay");
    leftAfter.push((left?.at ?? Infinity) - 4_000);
    t.equal(world.agent.path, "relay", `seed ${seed}`);
    t.ok(world.agent.migrations <= 2, `seed ${seed}: ${world.agent.migrations - 2} times back and forth`);
    direct.loss = 0;
    world.runUntil(120_000);
    t.equal(world.agent.path, "direct", `seed ${seed}: direct again`);
  }
  leftAfter.sort((a, b) => a - b);
  const p95 = leftAfter[Math.ceil(leftAfter.length * 0.95) - 1] ?? Infinity;
  t.ok(p95 <= 3_000, `left after ${leftAfter.map(Math.round).join(", ")} ms`);
});

/** Share of checks that are lost, and within how long the path is left for a relay that loses none: 5 % is seen the later, the nearer it is. */
const poor: readonly [lost: number, withinMs: number][] = [
  [0.07, 60_000],
  [0.08, 40_000],
  [0.1, 20_000],
];
for (const [lost, withinMs] of poor) {
  test(`a direct path that loses ${Math.round(100 * lost)} % of its checks, and the relay none, is left within ${withinMs / 1000} s`, (t) => {
    for (let seed = 1; seed <= 20; seed++) {
      const { world, direct } = settled(seed);
      world.download(2_000 + withinMs, 20);
      direct.loss = 1 - Math.sqrt(1 - lost);
      world.runUntil(2_000 + withinMs);
      t.ok(world.changes().includes("direct -> relay"), `seed ${seed}`);
    }
  });
}

test("what both paths lose moves hardly any session: chance alone does it less than once in five minutes", (t) => {
  let moves = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const { world, direct, relay } = settled(seed);
    direct.loss = relay.loss = 0.1;
    world.download(30_000);
    world.runUntil(30_000);
    moves += world.agent.migrations - 1;
  }
  t.ok(moves <= 2, `${moves} moves in 20 sessions of 28 s`);
});

test("what is lost in one stall moves no session", (t) => {
  const { world, direct } = settled();
  world.download(30_000);
  for (const at of [5_000, 15_000, 25_000]) {
    world.schedule(at, () => {
      direct.loss = 1;
    });
    world.schedule(at + 140, () => {
      direct.loss = 0;
    });
  }
  world.runUntil(30_000);
  t.equal(world.agent.migrations, 1);
});

test("1 % loss each way moves no session in half an hour of bytes", (t) => {
  for (let seed = 1; seed <= 4; seed++) {
    const { world, direct } = settled(seed);
    direct.loss = 0.01;
    world.download(450_000, 20);
    world.runUntil(450_000);
    t.equal(world.agent.path, "direct", `seed ${seed}`);
    t.equal(world.agent.migrations, 1, `seed ${seed}`);
  }
});

test("a path that keeps dying waits longer each time", (t) => {
  const { world, direct } = settled();
  world.download(120_000);
  for (let cut = 4_000; cut < 110_000; cut += 200) {
    const on = world.agent.path === "direct";
    direct.up = direct.down = !on;
    world.runUntil(cut);
  }
  t.ok(world.agent.migrations <= 16, `${world.agent.migrations} migrations`);
});

test("a path that keeps dying waits longer each time, also where ICE restarts give it up and find it again", (t) => {
  const { world, direct } = settled();
  world.download(120_000);
  for (let cut = 4_000; cut < 110_000; cut += 200) {
    const on = world.agent.path === "direct";
    direct.up = direct.down = !on;
    world.runUntil(cut);
    if (!on && world.agent.path === "relay")
      world.agent.handlePairLost(world.now, direct.pair.id, "its generation is over");
  }
  t.ok(world.agent.migrations <= 16, `${world.agent.migrations} migrations`);
});

test("after an outage of 5 s the session is direct again within 1.5 s, although ICE had given the pair up", (t) => {
  const { world, direct } = settled();
  world.download(30_000);
  direct.up = direct.down = false;
  world.runUntil(4_000);
  t.equal(world.agent.path, "relay");
  world.agent.handlePairLost(world.now, direct.pair.id, "its generation is over");
  world.runUntil(7_000);
  direct.up = direct.down = true;
  world.runUntil(8_500);
  t.equal(world.agent.path, "direct");
});

test("500 new direct pairs in a row use four slots and never take the relay's", (t) => {
  const { world } = settled();
  const relaySlot = world.slots.slotOf("relay");
  let last = world.wires.get("direct");
  for (let i = 0; i < 500; i++) {
    const next = world.wire(`direct-${i}`, "direct", 10, 100n + BigInt(i));
    world.upload(world.now + 1_000);
    if (last) last.up = last.down = false;
    world.valid(next);
    world.runUntil(world.now + 3_000);
    t.equal(world.agent.path, "direct", `change ${i}`);
    t.equal(world.slots.slotOf("relay"), relaySlot);
    last = next;
  }
});

test("a connector whose active pair was lost and came back is at peace with it", (t) => {
  const { world, direct } = settled();
  world.download(20_000);
  world.runUntil(3_000);
  world.connector.handlePairLost(world.now, "direct");
  world.runUntil(20_000);
  t.equal(world.count("connector", "report"), 0);
  t.equal(world.connector.path, "direct");
  t.equal(direct.up, true);
});

test("an idle connector whose pair expired complains, and suspends the session when nobody answers", (t) => {
  const { world, relay, direct } = settled();
  world.runUntil(10_000);
  for (const wire of [relay, direct]) wire.up = wire.down = false;
  world.connector.handlePairLost(world.now, "direct");
  world.runUntil(45_000);
  t.equal(world.connector.path, "suspended");
});

test("a direct path gives way to a direct one that is quicker beyond doubt, and not to one that is a little quicker", (t) => {
  const { world } = settled(1, 50, 30);
  const near = world.wire("near", "direct", 27, 200n);
  world.download(20_000);
  world.valid(near);
  world.runUntil(5_000);
  t.equal(world.agent.activePair, "direct");
  near.rttMs = 2;
  world.runUntil(20_000);
  t.equal(world.agent.activePair, "near");
});

test("20 % loss each way: told wrongly that the peer is gone, no session ends, and few change their path", (t) => {
  let moves = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const { world, direct, relay } = settled(seed, 80, 40);
    direct.loss = 0.2;
    relay.loss = 0.36;
    world.download(60_000, 20);
    world.runUntil(5_000);
    world.agent.handlePeerGone(world.now);
    world.connector.handlePeerGone(world.now);
    world.runUntil(60_000);
    t.equal(world.count("agent", "end") + world.count("connector", "end"), 0, `seed ${seed}`);
    moves += world.agent.migrations - 1;
  }
  t.ok(moves <= 30, `${moves} moves in half an hour`);
});

test("awake again, each path is checked at once, on both sides, and a dead one is left without any traffic", (t) => {
  const { world, direct } = settled();
  world.runUntil(60_000);
  direct.up = direct.down = false;
  world.agent.handleWake(world.now);
  world.connector.handleWake(world.now);
  world.runUntil(60_001);
  for (const who of ["agent", "connector"] as const) {
    for (const path of ["direct", "relay"])
      t.ok(world.log.some((e) => e.at >= 60_000 && e.who === who && e.action === `check ${path}`));
  }
  world.runUntil(60_400);
  t.equal(world.agent.path, "relay");
  t.equal(world.connector.path, "relay");
});

test("awake with all pairs expired, an ICE restart leaves at once, and again when signaling is back", (t) => {
  const { world, relay, direct } = settled();
  world.runUntil(60_000);
  for (const wire of [relay, direct]) wire.up = wire.down = false;
  world.agent.handleWake(world.now);
  world.agent.handlePairLost(world.now, "direct", "the peer's consent to the path expired");
  world.agent.handlePairLost(world.now, "relay", "the peer's consent to the path expired");
  world.runUntil(60_001);
  t.ok(world.count("agent", "restart") >= 1);
  world.runUntil(60_300);
  const before = world.count("agent", "restart");
  world.agent.handleReachable(world.now);
  world.runUntil(60_301);
  t.equal(world.count("agent", "restart"), before + 1);
});

test("other addresses while a path still carries the session: when none is found to stand, an ICE restart leaves at once", (t) => {
  const { world, relay, direct } = settled();
  world.download(70_000, 50);
  world.runUntil(60_000);
  for (const wire of [relay, direct]) wire.up = wire.down = false;
  world.runUntil(60_050);
  t.equal(world.agent.path, "direct");
  world.agent.handleWake(world.now);
  world.runUntil(60_500);
  t.ok(world.count("agent", "restart") >= 1, "and not only when the pairs that exist had their second");
});

test("a suspended session looks round at once when the machine wakes", (t) => {
  const { world, relay, direct } = settled();
  world.download(60_000, 50);
  world.runUntil(4_000);
  for (const wire of [relay, direct]) wire.up = wire.down = false;
  world.runUntil(120_000);
  t.equal(world.agent.path, "suspended");
  relay.up = relay.down = true;
  world.agent.handleWake(world.now);
  world.runUntil(120_100);
  t.equal(world.agent.path, "relay");
});
