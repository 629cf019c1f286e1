import { test } from "@adit/harness";
import { CONSENT_TIMEOUT_MS } from "../src/consent.ts";
import { address, agreed, makePair, remoteHost, Side, signal } from "./kit.ts";

test("two agents on the open internet connect within a few round trips and nominate one pair", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 1_000));
  // 20 ms of signaling, a check and its answer, the nomination and its answer, 20 ms round trip each, and the settling time.
  t.ok(network.clock.now() < 150, `${network.clock.now()} ms`);
  t.equal(a.agent.nominated?.remote.address.key, "198.51.100.2:49152");
  t.equal(b.agent.nominated?.remote.address.key, "198.51.100.1:49152");
  t.equal(a.is("completed").length, 1);
  t.equal(b.is("completed").length, 1);
  t.equal(a.agent.nominated?.rttMs, 20);
});

test("with 50 ms one way, data may flow as soon as it can at best, and both have one nominated pair within two round trips of that", (t) => {
  const { network, a, b } = makePair({ link: { latencyMs: 25 } }); // two wires a way
  signal(a, b, 50);
  const best = 50 + 100; // signaling, and the round trip of a check
  t.ok(network.clock.runUntilDone(() => a.valid.length > 0 && b.valid.length > 0, 1_000));
  t.equal(network.clock.now(), best);
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 1_000));
  t.ok(network.clock.now() <= best + 2 * 100, `${network.clock.now()} ms`);
});

test("300 seeds of loss, reordering and duplication: both sides agree on a valid pair", (t) => {
  let slowest = 0;
  for (let seed = 1; seed <= 300; seed++) {
    const { network, a, b } = makePair({
      seed,
      // Each way crosses two wires: 28 % are lost.
      link: { loss: 0.15, duplicate: 0.1, reorder: 0.2, latencyMs: 10, jitterMs: 15 },
    });
    signal(a, b, 50);
    t.ok(
      network.clock.runUntilDone(() => agreed(a, b), 30_000),
      `seed ${seed}: not connected after 30 s`,
    );
    slowest = Math.max(slowest, network.clock.now());
    network.clock.advance(2_000);
    t.equal(a.agent.nominated?.remote.address.ip, "198.51.100.2", `seed ${seed}`);
    t.equal(b.agent.nominated?.remote.address.ip, "198.51.100.1", `seed ${seed}`);
    t.equal(a.has("failed") || b.has("failed"), false, `seed ${seed}`);
  }
  t.ok(slowest < 20_000, `slowest ${slowest} ms`);
});

test("behind NATs with endpoint-independent mapping and strict filtering, reflexive candidates meet", (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const { network, a, b } = natPair(seed, "EIM", "APDF");
    signal(a, b);
    t.ok(
      network.clock.runUntilDone(() => agreed(a, b), 10_000),
      `seed ${seed}`,
    );
    const pair = t.must(a.agent.nominated, `seed ${seed}`);
    t.equal(pair.remote.type, "srflx");
    t.equal(pair.local.type, "srflx");
    t.ok(pair.direct);
  }
});

test("a NAT that maps each destination anew is met by a peer-reflexive candidate", (t) => {
  const { network, a, b } = natPair(7, "APDM", "APDF", "EIM", "EIF");
  signal(a, b);
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 10_000));
  t.equal(b.agent.nominated?.remote.type, "prflx");
  t.equal(a.agent.nominated?.local.type, "prflx", "the answer showed a mapping that gathering had not");
});

/** Each side behind a NAT of its own; the reflexive candidate comes from a look at the NAT, where a STUN server would tell. */
function natPair(
  seed: number,
  mapping: "EIM" | "APDM",
  filtering: "EIF" | "APDF",
  mappingB: "EIM" | "APDM" = mapping,
  filteringB: "EIF" | "APDF" = filtering,
) {
  const made = makePair({ seed });
  const { network } = made;
  const side = (name: string, n: number, role: "controlling" | "controlled") => {
    const behavior = n === 1 ? { mapping, filtering } : { mapping: mappingB, filtering: filteringB };
    const nat = network.addNat(`nat-${name}`, `203.0.113.${n}`, behavior);
    const host = network.addHost(`inside-${name}`, `10.0.${n}.2`, { realm: nat.inside });
    const it = new Side(host, role, { seed: seed * 2 + n });
    const socket = t_must(it.running.sockets.get(0));
    const stunServer = address("198.51.100.1", 9);
    socket.send(new Uint8Array(1), stunServer);
    network.clock.advance(100);
    const mapped = t_must(nat.mappingsOf(socket.address)[0]);
    it.agent.addLocalCandidate(it.now, { type: "host", address: socket.address, socket: 0 });
    it.agent.addLocalCandidate(it.now, { type: "srflx", address: mapped, socket: 0, server: stunServer });
    it.agent.endOfLocalCandidates(it.now);
    return it;
  };
  return { network, a: side("a", 1, "controlling"), b: side("b", 2, "controlled") };
}

function t_must<V>(value: V | null | undefined): V {
  if (value === null || value === undefined) throw new Error("expected a value");
  return value;
}

test("both controlling: the greater tie-breaker keeps control, in either direction", (t) => {
  for (const [mine, theirs] of [
    [1n, 2n],
    [2n, 1n],
  ] as const) {
    const { network, a, b } = makePair({}, { tieBreaker: mine }, { role: "controlling", tieBreaker: theirs });
    signal(a, b);
    t.ok(network.clock.runUntilDone(() => agreed(a, b), 5_000));
    t.equal(a.agent.role, mine > theirs ? "controlling" : "controlled");
    t.equal(b.agent.role, mine > theirs ? "controlled" : "controlling");
    t.equal((mine > theirs ? b : a).is("role-changed").length, 1);
  }
});

test("both controlled: one takes control", (t) => {
  for (const [mine, theirs] of [
    [1n, 2n],
    [2n, 1n],
  ] as const) {
    const { network, a, b } = makePair({}, { role: "controlled", tieBreaker: mine }, { tieBreaker: theirs });
    signal(a, b);
    t.ok(network.clock.runUntilDone(() => agreed(a, b), 5_000));
    t.equal(a.agent.role, mine > theirs ? "controlling" : "controlled");
  }
});

test("role conflicts settle under loss and reordering, too", (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const role = seed % 2 === 0 ? "controlling" : "controlled";
    const link = { loss: 0.2, duplicate: 0.2, reorder: 0.3, jitterMs: 20 };
    const { network, a, b } = makePair({ seed, link }, { role }, { role });
    signal(a, b, seed % 3 === 0 ? 5 : 60);
    t.ok(
      network.clock.runUntilDone(() => agreed(a, b), 30_000),
      `seed ${seed}`,
    );
    network.clock.advance(5_000);
    t.notEqual(a.agent.role, b.agent.role, `seed ${seed}`);
  }
});

test("nobody answers: after RFC 8489's 39.5 s it fails, says why, and the second check was sent seven times", (t) => {
  const { network, a, b } = makePair();
  b.running.stop();
  signal(a, b);
  network.clock.advance(39_000);
  t.equal(a.has("failed"), false);
  network.clock.advance(2_000);
  t.equal(a.is("failed").length, 1);
  t.match(t.must(a.is("failed")[0]).reason, /none of 1 candidate pairs works \(timeout: 1\)/);
  t.equal(a.agent.pairs()[0]?.requestsSent, 8);
  t.equal(a.agent.pairs()[0]?.failure, "timeout");
  t.equal(a.agent.pollTimeout(), null, "nothing is left to do");
});

test("no failure before both sides have ended their candidates", (t) => {
  const { network, a, b } = makePair();
  b.running.stop();
  a.agent.setRemoteParameters(0, b.agent.local);
  a.agent.addRemoteCandidate(0, remoteHost(address("198.51.100.2", 49_152)));
  a.running.wake();
  network.clock.advance(120_000);
  t.equal(a.is("pair-failed").length, 1);
  t.equal(a.has("failed"), false);
  a.agent.endOfRemoteCandidates(a.now);
  a.running.wake();
  t.equal(a.has("failed"), true);
});

test("no pair at all is a failure, with its own words, once patience is over (RFC 8863)", (t) => {
  const { network, a, b } = makePair();
  a.agent.setRemoteParameters(0, b.agent.local);
  a.agent.endOfRemoteCandidates(0);
  a.running.wake();
  network.clock.advance(39_000);
  t.equal(a.has("failed"), false);
  network.clock.advance(1_000);
  t.match(t.must(a.is("failed")[0]).reason, /no candidate pair could be formed \(1 local and 0 remote/);
});

test("retry checks failed pairs again, and a peer that came back is found", (t) => {
  const { network, a, b } = makePair();
  const cut = network.blockBoth("198.51.100.1", "198.51.100.2");
  signal(a, b);
  network.clock.advance(60_000);
  t.ok(a.has("failed") && b.has("failed"));
  cut.remove();
  a.agent.retry(a.now);
  a.running.wake();
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 2_000));
});

test("after a restart the peer's end of candidates is awaited anew", (t) => {
  const { network, a, b } = makePair();
  b.running.stop();
  signal(a, b);
  network.clock.advance(60_000);
  t.equal(a.is("failed").length, 1);
  a.agent.restart(a.now);
  a.agent.setRemoteParameters(a.now, b.agent.local);
  a.agent.addRemoteCandidate(a.now, remoteHost(address("198.51.100.2", 49_152)));
  a.running.wake();
  network.clock.advance(120_000);
  t.equal(a.is("pair-failed").length, 2);
  t.equal(a.is("failed").length, 1);
});

test("a success thaws all pairs of its foundation: none waits for another (§7.2.5.3.3)", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  a.agent.setRemoteParameters(0, b.agent.local);
  const best = t.must(b.agent.localCandidates[0]);
  for (let i = 1; i <= 3; i++) {
    const dead = remoteHost(address("198.51.100.77", i), best.priority - i, best.foundation);
    a.agent.addRemoteCandidate(0, dead);
  }
  a.running.wake();
  network.clock.advance(1_000);
  t.equal(a.valid.length, 1);
  t.ok(a.agent.pairs().every(({ requestsSent }) => requestsSent > 0));
});

test("retries of an address that never answers are bounded, however often they are asked for", (t) => {
  const { network, a, b } = makePair();
  b.running.stop();
  signal(a, b);
  for (let i = 0; i < 40; i++) {
    network.clock.advance(45_000);
    a.agent.retry(a.now);
    a.running.wake();
  }
  const pair = t.must(a.agent.pairs()[0]);
  t.ok(pair.requestsSent <= 42, `${pair.requestsSent} requests`);
  t.equal(pair.requestsSent, 42);
  t.equal(a.is("failed").length, 6, "each time it is said anew");
});

test("checks that come before the peer's parameters are answered, and acted upon when these arrive", (t) => {
  const { network, a, b } = makePair();
  // Only b hears of a at first.
  b.agent.setRemoteParameters(0, a.agent.local);
  for (const candidate of a.agent.localCandidates) b.agent.addRemoteCandidate(0, candidate);
  b.running.wake();
  network.clock.advance(100);
  t.equal(b.valid.length, 1, "a answered");
  t.equal(a.valid.length, 0);
  t.equal(a.agent.pairs().length, 0);
  // No candidate of b is ever signalled: its check was enough.
  a.agent.setRemoteParameters(a.now, b.agent.local);
  a.running.wake();
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 1_000));
  t.equal(a.agent.nominated?.remote.type, "prflx");
});

test("a peer-reflexive candidate that is signalled later becomes what it was signalled as", (t) => {
  const { network, a, b } = makePair();
  b.agent.setRemoteParameters(0, a.agent.local);
  a.agent.setRemoteParameters(0, b.agent.local);
  for (const candidate of a.agent.localCandidates) b.agent.addRemoteCandidate(0, candidate);
  b.running.wake();
  network.clock.advance(200);
  t.equal(a.agent.pairs()[0]?.remote.type, "prflx");
  const before = t.must(a.agent.pairs()[0]).priority;
  for (const candidate of b.agent.localCandidates) t.ok(a.agent.addRemoteCandidate(a.now, candidate));
  t.equal(a.agent.pairs().length, 1);
  t.equal(a.agent.pairs()[0]?.remote.type, "host");
  t.ok(t.must(a.agent.pairs()[0]).priority > before);
  t.ok(a.agent.pairs()[0]?.valid);
});

test("probe sends one check now, which is answered once or not at all", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  network.clock.runUntilDone(() => agreed(a, b), 1_000);
  const pair = t.must(a.agent.nominated);
  const answersBefore = a.is("check-answered").length;
  t.ok(a.agent.probe(a.now, pair.id));
  a.running.wake();
  network.clock.advance(50);
  t.equal(a.is("check-answered").length, answersBefore + 1);
  t.equal(a.is("check-answered").at(-1)?.rttMs, 20);
  const cut = network.blockBoth("198.51.100.1", "198.51.100.2");
  const sent = t.must(a.agent.pair(pair.id)).requestsSent;
  for (let i = 0; i < 100; i++) t.ok(a.agent.probe(a.now, pair.id));
  a.running.wake();
  network.clock.advance(4_000);
  const now = t.must(a.agent.pair(pair.id));
  t.ok(now.requestsSent - sent <= 101, "not repeated (one consent check may have fallen in between)");
  t.ok(now.valid, "silence for a while is not the end of consent");
  cut.remove();
  t.ok(a.agent.probe(a.now, pair.id), "probing goes on, the oldest probes are forgotten");
  t.equal(a.agent.probe(a.now, "0|192.0.2.1:1"), false);
});

test("a probe can be padded to a length; its answer says that datagrams of that length arrive, and nothing of liveness", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  network.clock.runUntilDone(() => agreed(a, b), 1_000);
  const pair = t.must(a.agent.nominated);
  const answersBefore = a.is("check-answered").length;
  for (const bytes of [1200, 1472]) {
    t.ok(a.agent.probe(a.now, pair.id, bytes));
    const sent = t.must(a.agent.pollTransmit());
    t.equal(sent.data.length, bytes);
    const receipt = b.agent.handleDatagram(b.now, t.must(b.agent.nominated).socket, pair.local.address, sent.data);
    t.equal(receipt.kind, "request", "a peer that does not know the padding answers too");
    b.running.wake();
    network.clock.advance(50);
    t.equal(a.is("size-answered").at(-1)?.bytes, bytes);
  }
  t.equal(a.is("check-answered").length, answersBefore);
});

test("restart: the old pair stays valid and answers, the new generation takes over, the old one ends", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  network.clock.runUntilDone(() => agreed(a, b), 1_000);
  const id = t.must(a.agent.nominated).id;
  const old = a.agent.local;
  // a restarts; signaling takes 20 s: longer than several consent checks, which all need the old credentials.
  a.agent.restart(a.now);
  t.notEqual(a.agent.local.ufrag, old.ufrag);
  a.running.wake();
  for (let i = 0; i < 8; i++) {
    network.clock.advance(10_000);
    t.ok(a.agent.pair(id)?.valid, `a after ${i * 10} s`);
    t.ok(b.agent.pair(b.valid[0]?.id ?? "")?.valid, `b after ${i * 10} s`);
  }
  t.same(a.agent.localUfrags, [a.agent.local.ufrag, old.ufrag]);
  const validBefore = a.is("pair-valid").length;
  b.agent.restart(b.now);
  signal(a, b);
  t.ok(network.clock.runUntilDone(() => a.is("completed").length === 2 && b.is("completed").length === 2, 2_000));
  t.equal(a.is("pair-valid").length, validBefore + 1, "valid anew, with the new credentials");
  t.equal(a.has("pair-expired"), false);
  network.clock.advance(100_000);
  t.ok(a.agent.pair(id)?.valid && b.valid.length === 1);
  t.same(a.agent.localUfrags, [a.agent.local.ufrag], "the old generation is forgotten");
});

test("restart onto a new path: the old pair carries until the new one is valid, then runs out", (t) => {
  const { network, b } = makePair({}, { seed: 99 });
  const host = network.addHost("laptop", "192.0.2.1");
  host.addInterface("192.0.2.3");
  const a = new Side(host, "controlling", {
    sockets: new Map([
      [0, { ip: "192.0.2.1" }],
      [1, { ip: "192.0.2.3" }],
    ]),
  });
  const first = t.must(a.running.sockets.get(0)).address;
  a.agent.addLocalCandidate(0, { type: "host", address: first, socket: 0 });
  a.agent.endOfLocalCandidates(0);
  signal(a, b);
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 1_000));
  const oldId = t.must(a.agent.nominated).id;
  a.agent.restart(a.now);
  b.agent.restart(b.now);
  t.ok(a.agent.pair(oldId)?.valid);
  network.blockBoth("192.0.2.1", "198.51.100.2");
  const second = t.must(a.running.sockets.get(1)).address;
  a.agent.addLocalCandidate(a.now, { type: "host", address: second, socket: 1 });
  a.agent.endOfLocalCandidates(a.now);
  signal(a, b);
  t.ok(network.clock.runUntilDone(() => a.is("completed").length === 2, 3_000));
  t.equal(a.agent.nominated?.socket, 1);
  t.ok(a.agent.pair(oldId)?.valid, "what is left of its consent");
  network.clock.advance(CONSENT_TIMEOUT_MS + 1);
  t.equal(a.agent.pair(oldId)?.valid, false);
  t.equal(a.is("pair-expired")[0]?.pair.id, oldId);
  t.ok(a.agent.nominated?.valid);
});

test("a pair whose socket goes expires at once", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  network.clock.runUntilDone(() => agreed(a, b), 1_000);
  a.agent.removeLocalSocket(a.now, 0);
  a.running.wake();
  t.equal(a.agent.pairs().length, 0);
  t.equal(a.is("pair-expired").length, 1);
  t.equal(a.agent.localCandidates.length, 0);
  t.equal(a.agent.nominated, null);
});

test("boost: checks go out 5 ms apart, and those under way are repeated at once", (t) => {
  const { network, a, b } = makePair();
  b.running.stop();
  a.agent.setRemoteParameters(0, b.agent.local);
  for (let i = 0; i < 20; i++)
    a.agent.addRemoteCandidate(0, remoteHost(address("198.51.100.2", 100 + i), 1000 - i, "9"));
  a.running.wake();
  network.clock.advance(210);
  const started = () => a.agent.pairs().filter((pair) => pair.requestsSent > 0).length;
  t.equal(started(), 1, "one foundation: the others are frozen");
  a.agent.boost(a.now);
  a.running.wake();
  network.clock.advance(100);
  t.equal(started(), 20);
  t.equal(Math.max(...a.agent.pairs().map((pair) => pair.requestsSent)), 2);
});

test("close leaves nothing to do and answers nothing", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  network.clock.runUntilDone(() => agreed(a, b), 1_000);
  a.agent.close();
  t.equal(a.agent.pollTimeout(), null);
  t.equal(a.agent.pollTransmit(), null);
  const receipt = a.agent.handleDatagram(a.now, 0, address("198.51.100.2", 49_152), new Uint8Array(20));
  t.same(receipt, { kind: "dropped", reason: "closed" });
  network.clock.advance(60_000);
  t.equal(b.is("pair-expired").length, 1, "the other side notices by consent");
});
