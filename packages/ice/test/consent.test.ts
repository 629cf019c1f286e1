import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { Network } from "@adit/sim";
import { nextConsentCheck } from "../src/consent.ts";
import { agreed, makePair, Side, signal } from "./kit.ts";

test("consent checks are spread over 4 to 6 s (RFC 7675 §5.1)", (t) => {
  const random = seededRandom(5);
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  for (let i = 0; i < 10_000; i++) {
    const ms = nextConsentCheck(1_000, random) - 1_000;
    least = Math.min(least, ms);
    most = Math.max(most, ms);
  }
  t.ok(least >= 4_000 && least < 4_010, `${least}`);
  t.ok(most <= 6_000 && most > 5_990, `${most}`);
});

test("the checks of two pairs move apart: together they ask more often than either", (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed);
    // Both pairs became valid at the same moment.
    let due = { next: 5_000, other: 5_000 };
    let longest = 0;
    for (let checks = 0; checks < 1_000; checks++) {
      const again = nextConsentCheck(due.next, random, [due.other]);
      const [after, later] = again < due.other ? [again, due.other] : [due.other, again];
      if (checks > 20) longest = Math.max(longest, after - due.next);
      due = { next: after, other: later };
    }
    t.ok(longest < 4_000, `seed ${seed}: ${longest.toFixed(0)} ms without a check`);
  }
});

test("a valid pair keeps consent for an hour with one check every 4 to 6 s", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 1_000));
  const sentBefore = a.agent.nominated?.requestsSent ?? 0;
  const hour = 3_600_000;
  network.clock.advance(hour);
  const sent = (a.agent.nominated?.requestsSent ?? 0) - sentBefore;
  t.ok(sent > hour / 5_300 && sent < hour / 4_700, `${sent} checks`);
  t.equal(a.has("pair-expired") || b.has("pair-expired"), false);
  const answers = a.is("check-answered").slice(3);
  const gaps = answers.slice(1).map(({ at }, i) => at - (answers[i]?.at ?? 0));
  t.ok(Math.min(...gaps) >= 3_999 && Math.max(...gaps) <= 6_001, `${Math.min(...gaps)}..${Math.max(...gaps)}`);
});

test("a pair that is valid and not nominated keeps its consent, too", (t) => {
  const network = new Network({ seed: 1 });
  const host = network.addHost("a", "198.51.100.1");
  host.addInterface("198.51.100.11");
  const sockets = new Map([
    [0, { ip: "198.51.100.1" }],
    [1, { ip: "198.51.100.11" }],
  ]);
  const a = new Side(host, "controlling", { sockets });
  const b = new Side(network.addHost("b", "198.51.100.2"), "controlled");
  a.gather();
  b.gather();
  signal(a, b);
  network.clock.advance(600_000);
  for (const side of [a, b]) {
    t.same(side.valid.map(({ nominated }) => nominated).sort(), [false, true]);
    t.equal(side.has("pair-expired"), false);
  }
});

test("consent ends 30 s after the last answer, and nothing is sent on the pair after that", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  network.clock.runUntilDone(() => agreed(a, b), 1_000);
  network.clock.advance(20_000);
  network.blockBoth("198.51.100.1", "198.51.100.2");
  network.clock.advance(60_000);
  const lastAnswer = Math.max(...a.is("check-answered").map(({ at }) => at));
  const expired = t.must(a.is("pair-expired")[0]);
  t.equal(expired.at - lastAnswer, 30_000);
  t.equal(expired.pair.valid, false);
  t.equal(a.agent.nominated, null);
  t.equal(a.agent.pairs()[0]?.failure, "consent-expired");
  const sent = a.agent.pairs()[0]?.requestsSent;
  network.clock.advance(60_000);
  // RFC 7675 §5.1: the credentials are spent on this path.
  a.agent.retry(a.now);
  t.equal(a.agent.probe(a.now, expired.pair.id), false);
  a.running.wake();
  network.clock.advance(60_000);
  t.equal(a.agent.pairs()[0]?.requestsSent, sent);
  t.match(t.must(a.is("failed")[0]).reason, /consent-expired: 1/);
});

test("a consent check that is not answered is told of long before consent ends, once for each silence", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 1_000));
  network.clock.advance(60_000);
  t.equal(a.is("pair-degraded").length, 0);
  for (let silence = 1; silence <= 2; silence++) {
    const cutAt = network.clock.now();
    const cut = network.blockBoth(a.host.ips[0] ?? "", b.host.ips[0] ?? "");
    network.clock.advance(20_000);
    const told = a.is("pair-degraded");
    t.equal(told.length, silence);
    const afterMs = (told[silence - 1]?.at ?? 0) - cutAt;
    t.ok(afterMs >= 200 && afterMs <= 6_300, `${afterMs} ms`);
    cut.remove();
    network.clock.advance(20_000);
    t.equal(a.is("pair-degraded").length, silence);
    t.equal(a.has("pair-expired"), false);
  }
});

test("after consent ended a restart brings the path back", (t) => {
  const { network, a, b } = makePair();
  signal(a, b);
  network.clock.runUntilDone(() => agreed(a, b), 1_000);
  const cut = network.blockBoth("198.51.100.1", "198.51.100.2");
  network.clock.advance(60_000);
  t.ok(a.has("failed") && b.has("failed"));
  cut.remove();
  a.agent.restart(a.now);
  b.agent.restart(b.now);
  signal(a, b);
  t.ok(network.clock.runUntilDone(() => agreed(a, b), 2_000));
});

test("one answered check in 30 s is enough: a path that loses half of the round trips stays", (t) => {
  const { network, a, b } = makePair({ seed: 3 });
  signal(a, b);
  network.clock.runUntilDone(() => agreed(a, b), 1_000);
  a.host.link().set({ loss: 0.3 });
  network.clock.advance(120_000);
  t.equal(a.has("pair-expired"), false);
});
