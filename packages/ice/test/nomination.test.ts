import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { Network } from "@adit/sim";
import { candidatePriority } from "../src/candidate.ts";
import { CandidateStore } from "../src/candidate-store.ts";
import { SECOND_CHECK_MS } from "../src/check-runner.ts";
import { freshConsent } from "../src/consent.ts";
import { Generation } from "../src/generation.ts";
import { chooseNominee, deservesRenomination, settleMs, supersedesNomination, whyChosen } from "../src/nomination.ts";
import { CandidatePair } from "../src/pair.ts";
import { address, agreed, remoteHost, Side, signal } from "./kit.ts";

const generation = new Generation({ ufrag: "aaaa", pwd: "x".repeat(24), options: [] });

function pair(o: { priority: number; rttMs?: number; relay?: boolean; valid?: boolean }): CandidatePair {
  const store = new CandidateStore();
  const type = o.relay ? "relay" : "host";
  const local = store.addLocal({ type, address: address("10.0.0.1", 1), socket: o.relay ? 1000 : 0 });
  if (!local) throw new Error("refused");
  const made = new CandidatePair(local, remoteHost(address("10.0.0.2", o.priority), o.priority), "controlling");
  if (o.rttMs !== undefined) made.noteResponse(o.rttMs);
  if (o.valid !== false) made.setConsent(freshConsent(0, generation, seededRandom(1), null));
  return made;
}

test("the nominee is direct, then of the highest priority, unless another is clearly faster", (t) => {
  const relay = pair({ priority: 9000, rttMs: 1, relay: true });
  const high = pair({ priority: 3000, rttMs: 100 });
  const close = pair({ priority: 2000, rttMs: 92 });
  const fast = pair({ priority: 1000, rttMs: 20 });
  const unknown = pair({ priority: 500 });
  t.equal(chooseNominee([]), null);
  t.equal(chooseNominee([relay]), relay);
  t.equal(chooseNominee([relay, unknown]), unknown);
  t.equal(chooseNominee([close, high, relay]), high);
  t.equal(chooseNominee([fast, close, high]), fast);
  t.equal(chooseNominee([unknown, high]), high);
});

test("the reason for a choice is told", (t) => {
  const high = pair({ priority: 300, rttMs: 100 });
  const low = pair({ priority: 200, rttMs: 95 });
  const fast = pair({ priority: 100, rttMs: 20 });
  const relay = pair({ priority: 400, rttMs: 1, relay: true });
  for (const [valid, because] of [
    [[relay], "only-valid"],
    [[relay, fast], "direct"],
    [[relay, low, high], "highest-priority"],
    [[relay, fast, high], "faster"],
  ] as const) {
    t.equal(whyChosen(t.must(chooseNominee(valid)), valid), because);
  }
});

test("direct pairs settle within 200 ms, a relayed one gives direct ones a second", (t) => {
  t.equal(settleMs(pair({ priority: 1, rttMs: 1 })), 20);
  t.equal(settleMs(pair({ priority: 1, rttMs: 40 })), 80);
  t.equal(settleMs(pair({ priority: 1, rttMs: 900 })), 200);
  t.equal(
    settleMs(pair({ priority: 1, rttMs: 1, relay: true })),
    202,
    "a relayed one until second checks are answered",
  );
  t.equal(settleMs(pair({ priority: 1, rttMs: 80, relay: true })), 360);
  t.equal(settleMs(pair({ priority: 1, rttMs: 900, relay: true })), 1000);
});

test("renomination is for a pair that works where the nominated one does not, or is direct where it is not", (t) => {
  const direct = pair({ priority: 10 });
  const better = pair({ priority: 20 });
  const relay = pair({ priority: 5, relay: true });
  const dead = pair({ priority: 30, valid: false });
  t.equal(deservesRenomination(direct, direct), false);
  t.equal(deservesRenomination(direct, better), false);
  t.equal(deservesRenomination(direct, relay), false);
  t.equal(deservesRenomination(relay, direct), true);
  t.equal(deservesRenomination(dead, relay), true);
});

test("the controlled side follows the count of renominations, else the priority", (t) => {
  const [low, high] = [pair({ priority: 10 }), pair({ priority: 20 })];
  const dead = pair({ priority: 30, valid: false });
  t.equal(supersedesNomination(null, { pair: low, value: null }), true);
  t.equal(supersedesNomination({ pair: dead, value: 9 }, { pair: low, value: null }), true);
  t.equal(supersedesNomination({ pair: low, value: null }, { pair: high, value: null }), true);
  t.equal(supersedesNomination({ pair: high, value: null }, { pair: low, value: null }), false);
  t.equal(supersedesNomination({ pair: high, value: 1 }, { pair: low, value: 2 }), true);
  t.equal(supersedesNomination({ pair: low, value: 2 }, { pair: high, value: 1 }), false, "an old one that was late");
});

const RELAY_IP = "203.0.113.9";

/** A host whose second socket plays a TURN allocation, and a peer with `decoys` addresses where nobody is. */
function relayed(
  o: { seed?: number; decoys?: number; renomination?: boolean; blockDirect?: boolean; signalled?: boolean } = {},
) {
  const network = new Network({ seed: o.seed ?? 1 });
  const host = network.addHost("a", "198.51.100.1");
  host.addInterface(RELAY_IP);
  const a = new Side(host, "controlling", {
    sockets: new Map([
      [0, { ip: "198.51.100.1" }],
      [1000, { ip: RELAY_IP }],
    ]),
  });
  const b = new Side(network.addHost("b", "198.51.100.2"), "controlled");
  const block = o.blockDirect === false ? null : network.blockBoth("198.51.100.1", "198.51.100.2");
  for (const [socket, { address: at }] of a.running.sockets) {
    a.agent.addLocalCandidate(0, { type: socket === 0 ? "host" : "relay", address: at, socket });
  }
  a.agent.endOfLocalCandidates(0);
  b.gather();
  if (o.renomination === false) a.agent.setRemoteParameters(0, { ...b.agent.local, options: [] });
  for (let i = 0; i < (o.decoys ?? 0); i++) {
    const decoy = remoteHost(address("198.51.100.77", 1 + i), candidatePriority("host", 65_535 - i), `${i + 10}`);
    a.agent.addRemoteCandidate(0, decoy);
  }
  if (o.signalled !== false) signal(a, b);
  return { network, a, b, block };
}

test("data can flow over the relay after two slots of Ta and a round trip, whatever else is to be checked", (t) => {
  const { network, a } = relayed({ decoys: 30 });
  t.ok(network.clock.runUntilDone(() => a.has("pair-valid"), 1_000));
  t.equal(a.valid[0]?.socket, 1000);
  t.equal(a.valid[0]?.direct, false);
  t.ok(network.clock.now() <= 20 + 100 + 20, `${network.clock.now()} ms`);
});

test("the peer that learns a relayed address from a check does not take it for a direct one", (t) => {
  const { network, a, b } = relayed({ signalled: false });
  a.agent.setRemoteParameters(0, b.agent.local);
  b.agent.setRemoteParameters(0, a.agent.local);
  for (const candidate of b.agent.localCandidates) a.agent.addRemoteCandidate(0, candidate);
  a.running.wake();
  const find = () => b.agent.pairs().find(({ remote }) => remote.address.ip === RELAY_IP);
  t.ok(network.clock.runUntilDone(() => find()?.valid === true, 1_000));
  t.equal(find()?.remote.type, "prflx");
  t.equal(find()?.direct, false);
});

test("with nothing but the relay it is nominated when the second checks of others could have been answered twice over", (t) => {
  const { network, a, b } = relayed();
  t.ok(network.clock.runUntilDone(() => a.valid.length > 0, 5_000));
  const valid = network.clock.now();
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 5_000));
  const rttMs = a.valid[0]?.rttMs ?? 0;
  const settled = valid + SECOND_CHECK_MS + 2 * rttMs;
  t.ok(
    network.clock.now() >= settled && network.clock.now() < settled + 3 * rttMs,
    `${valid}, ${rttMs}, ${network.clock.now()} ms`,
  );
  t.equal(a.agent.nominated?.socket, 1000);
});

test("a direct pair that is found until then is nominated instead", (t) => {
  const { network, a, b, block } = relayed();
  t.ok(network.clock.runUntilDone(() => a.valid.length > 0, 5_000));
  t.equal(a.valid.length, 1);
  block?.remove();
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 5_000));
  t.equal(a.agent.nominated?.direct, true);
  t.equal(a.valid.length, 2, "the relay stays warm");
});

test("a direct pair that is found later is renominated when both announce it, else the relay stays nominated", (t) => {
  for (const renomination of [true, false]) {
    const { network, a, b, block } = relayed({ renomination });
    t.ok(network.clock.runUntilDone(() => agreed(a, b), 5_000));
    block?.remove();
    network.clock.advance(20_000);
    t.equal(a.agent.nominated?.direct, renomination);
    t.equal(b.agent.nominated?.direct, renomination);
    t.equal(a.is("completed").length, 1);
    t.ok(a.valid.some(({ direct }) => direct));
  }
});

test("the nominated pair dies: the other is renominated and both agree", (t) => {
  const { network, a, b } = relayed({ blockDirect: false });
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 5_000));
  t.equal(a.agent.nominated?.direct, true);
  network.clock.advance(5_000);
  network.blockBoth("198.51.100.1", "198.51.100.2");
  network.clock.advance(40_000);
  t.equal(a.agent.nominated?.direct, false);
  t.equal(b.agent.nominated?.remote.address.ip, RELAY_IP);
});
