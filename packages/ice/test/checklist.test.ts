import { test } from "@adit/harness";
import { type Candidate, candidatePriority, type LocalCandidate } from "../src/candidate.ts";
import { CandidateStore } from "../src/candidate-store.ts";
import { Checklist, checkRtoMs, MAX_TRIGGERED_IN_A_ROW } from "../src/checklist.ts";
import { type CandidatePair, type PairFailure, pairPriority } from "../src/pair.ts";
import { address, remoteHost } from "./kit.ts";

const locals = (...ips: string[]): LocalCandidate[] => {
  const store = new CandidateStore();
  ips.forEach((ip, i) => {
    store.addLocal({ type: "host", address: address(ip, 1000), socket: i });
  });
  return [...store.locals];
};

const remote = (port: number, priority: number, foundation: string): Candidate =>
  remoteHost(address("198.51.100.9", port), priority, foundation);

const states = (list: Checklist): string[] => [...list].map(({ state }) => state.kind);

function form(list: Checklist, local: LocalCandidate | undefined, to: Candidate): CandidatePair {
  const pair = local && list.form(local, to, "controlling");
  if (!pair) throw new Error("no pair");
  return pair;
}

const start = (pair: CandidatePair | null): CandidatePair => {
  if (!pair) throw new Error("nothing to check");
  pair.setState({ kind: "in-progress", transactionId: "x", since: 0, againAt: null });
  return pair;
};

test("pair priorities follow the formula of RFC 8445 §6.1.2.3 and differ by role only in the last bit", (t) => {
  t.equal(pairPriority(2_130_706_431, 2_130_706_431), 2_130_706_431n * 2n ** 32n + 2n * 2_130_706_431n);
  t.equal(pairPriority(2, 1), 2n ** 32n + 4n + 1n);
  t.equal(pairPriority(1, 2), 2n ** 32n + 4n);
  t.ok(pairPriority(2 ** 31 - 1, 2 ** 31 - 1) < 2n ** 63n);
});

test("RTO is 500 ms, or Ta for each pair that waits or is under way (§14.3)", (t) => {
  t.equal(checkRtoMs(50, 1), 500);
  t.equal(checkRtoMs(50, 10), 500);
  t.equal(checkRtoMs(50, 100), 5_000);
  t.equal(checkRtoMs(5, 100), 500);
});

test("on one socket an address is one pair, with the better candidates of each side (§6.1.2.4)", (t) => {
  const store = new CandidateStore();
  const srflx = t.must(store.addLocal({ type: "srflx", address: address("203.0.113.5", 7), socket: 0 }));
  const list = new Checklist();
  const pair = form(list, srflx, remote(1, 500, "1"));
  const host = t.must(store.addLocal({ type: "host", address: address("10.0.0.1", 7), socket: 0 }));
  t.equal(form(list, host, remote(1, 500, "1")), pair);
  t.equal(list.size, 1);
  t.equal(pair.local.type, "host");
  t.equal(pair.id, "0|198.51.100.9:1");
});

test("of each foundation the best pair waits, the others are frozen (§6.1.2.6)", (t) => {
  const list = new Checklist();
  const [a] = locals("10.0.0.1");
  form(list, a, remote(1, 100, "1"));
  form(list, a, remote(2, 300, "1"));
  form(list, a, remote(3, 200, "1"));
  form(list, a, remote(4, 50, "2"));
  t.same(states(list), ["frozen", "waiting", "frozen", "waiting"]);
});

test("of a foundation the topmost pair is checked whatever else is under way, of equals the newest (RFC 8838 §12, rule 1)", (t) => {
  const list = new Checklist();
  const [a] = locals("10.0.0.1");
  const former = form(list, a, remote(1, 200, "1"));
  t.equal(start(list.next()), former);
  t.equal(form(list, a, remote(2, 100, "1")).state.kind, "frozen", "a lesser one waits for it");
  const successor = form(list, a, remote(3, 200, "1"));
  t.equal(successor.state.kind, "waiting", "the same peer at another address");
  const next = form(list, a, remote(4, 200, "1"));
  t.same([successor.state.kind, next.state.kind], ["frozen", "waiting"], "one at a time");
  t.equal(start(list.next()), next);
});

test("checks go by priority; a foundation thaws by success, or when nothing else is left (§6.1.4.2, §7.2.5.3.3)", (t) => {
  const list = new Checklist();
  const [a] = locals("10.0.0.1");
  const low = form(list, a, remote(1, 100, "1"));
  const high = form(list, a, remote(2, 300, "1"));
  const other = form(list, a, remote(4, 50, "2"));
  t.equal(start(list.next()), high);
  t.equal(start(list.next()), other);
  t.equal(list.next(), null, "the pair left is frozen by one under way");
  t.equal(list.hasWork, false);
  high.setState({ kind: "failed", since: 0, reason: "timeout" });
  t.equal(list.hasWork, true);
  t.equal(list.next(), low, "its foundation is free again");

  const success = new Checklist();
  const first = form(success, a, remote(2, 300, "1"));
  const second = form(success, a, remote(1, 100, "1"));
  first.setState({ kind: "succeeded", since: 0 });
  success.thaw(first.foundation);
  t.equal(second.state.kind, "waiting");
  t.equal(form(success, a, remote(3, 10, "1")).state.kind, "waiting", "RFC 8838 §12: nothing to wait for any more");
});

test("triggered checks come first, in their order, each once (§6.1.4.1)", (t) => {
  const list = new Checklist();
  const [a] = locals("10.0.0.1");
  const pairs = [1, 2, 3].map((n) => form(list, a, remote(n, 100 * n, `${n}`)));
  const [one, two, three] = pairs;
  list.trigger(t.must(one));
  list.trigger(t.must(two));
  list.trigger(t.must(one));
  t.equal(start(list.next()), one);
  t.equal(start(list.next()), two);
  t.equal(start(list.next()), three);
  t.equal(list.next(), null);
});

test("an ordinary check has its turn, however many are triggered", (t) => {
  const list = new Checklist();
  const [a] = locals("10.0.0.1");
  const noisy = form(list, a, remote(1, 900, "1"));
  const quiet = form(list, a, remote(2, 100, "2"));
  const turns: CandidatePair[] = [];
  for (let i = 0; i < MAX_TRIGGERED_IN_A_ROW + 2; i++) {
    list.trigger(noisy); // the peer's check came before ours was answered, as ever
    turns.push(start(list.next()));
  }
  t.equal(turns.indexOf(quiet), MAX_TRIGGERED_IN_A_ROW);
  t.equal(turns.filter((pair) => pair === quiet).length, 1);
  t.equal(turns.at(-1), noisy, "the one that waited meanwhile comes after it");
  t.equal(list.next(), null);
});

test("the best relayed pair goes second, whatever its priority", (t) => {
  const list = new Checklist();
  const [a] = locals("10.0.0.1");
  const hosts = [1, 2, 3].map((n) => form(list, a, remote(n, 2_000_000_000 + n, `${n}`)));
  const relays = [7, 8].map((n) =>
    form(list, a, { ...remote(n, candidatePriority("relay", 255 - n), "9"), type: "relay" }),
  );
  t.equal(start(list.next()), hosts[2]);
  t.equal(start(list.next()), relays[0]);
  t.equal(start(list.next()), hosts[1]);
});

test("at the bound the lowest priority goes, but never what carries data, is under way, or is the last way through a relay", (t) => {
  const list = new Checklist(4);
  const [a] = locals("10.0.0.1");
  const relayed = form(list, a, { ...remote(1, 10, "r"), type: "relay" });
  const busy = start(form(list, a, remote(2, 100, "b")));
  const low = form(list, a, remote(3, 200, "l"));
  form(list, a, remote(4, 300, "h"));
  t.equal(list.form(t.must(a), remote(5, 150, "n"), "controlling"), null, "the new one is the least useful");
  const better = form(list, a, remote(6, 250, "n"));
  t.equal(list.size, 4);
  t.equal(list.has(low), false);
  t.ok(list.has(relayed) && list.has(busy) && list.has(better));
});

test("at the bound failed pairs go first, the lowest of them, but none that must not be checked again (RFC 8838 §12)", (t) => {
  const list = new Checklist(4);
  const [a] = locals("10.0.0.1");
  const fail = (pair: CandidatePair, reason: PairFailure) => {
    pair.setState({ kind: "failed", since: 0, reason });
    return pair;
  };
  const spent = fail(form(list, a, remote(1, 10, "s")), "consent-expired");
  const high = fail(form(list, a, remote(2, 400, "h")), "timeout");
  const low = fail(form(list, a, remote(3, 300, "l")), "timeout");
  const waiting = form(list, a, remote(4, 200, "w"));
  form(list, a, remote(5, 100, "n"));
  t.equal(list.has(low), false);
  form(list, a, remote(6, 90, "m"));
  t.equal(list.has(high), false);
  t.equal(list.form(t.must(a), remote(7, 80, "o"), "controlling"), null, "the new one is the least useful");
  t.ok(list.has(spent) && list.has(waiting));
  for (const pair of list) if (pair !== spent) fail(pair, "consent-expired");
  t.ok(list.form(t.must(a), remote(8, 80, "p"), "controlling"), "and where nothing else is left the lowest of those");
  t.equal(list.has(spent), false);
});

test("a switch of roles swaps the sides of the formula", (t) => {
  const list = new Checklist();
  const [a] = locals("10.0.0.1");
  const pair = form(list, a, remote(1, 100, "1"));
  const before = pair.priority;
  list.setRole("controlled");
  t.equal(before - pair.priority, 1n, "G > D no more");
});
