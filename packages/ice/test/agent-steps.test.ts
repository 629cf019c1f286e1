import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { IceAgent } from "../src/agent.ts";
import { SECOND_CHECK_MS } from "../src/check-runner.ts";
import { encodeError, encodeSuccess } from "../src/checks.ts";
import { getErrorCode, getU64, hasAttribute } from "../src/stun/attributes.ts";
import type { StunMessage } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE } from "../src/stun/tables.ts";
import {
  address,
  drainEvents,
  drainRequests,
  drainTransmits,
  makeAgent,
  makeCheck,
  mustDecode,
  OURS,
  PEER,
  PEER_KEY,
  PEER_PARAMETERS,
  remoteHost,
  runAlone,
  STRANGER,
} from "./kit.ts";

test("an authentic refusal of a check is final for the pair: 300, 400, 500", (t) => {
  for (const code of [300, 400, 500]) {
    const { agent, request } = makeAgent();
    const receipt = agent.handleDatagram(9, 0, PEER, encodeError(request, { code }, PEER_KEY));
    t.same(receipt, { kind: "dropped", reason: "error-response" });
    t.equal(agent.pairs()[0]?.failure, "error-response");
    t.same(
      drainEvents(agent).map(({ type }) => type),
      ["pair-failed"],
    );
  }
});

test("487 makes us switch to the role that the refused request did not claim, and ask again", (t) => {
  for (const role of ["controlling", "controlled"] as const) {
    const { agent, request, id } = makeAgent(role, 1000);
    const before = t.must(agent.pair(id)).priority;
    agent.handleDatagram(9, 0, PEER, encodeError(request, { code: 487 }, PEER_KEY));
    t.equal(t.must(agent.pair(id)).priority - before, role === "controlling" ? -1n : 1n, "priorities swap sides");
    t.equal(agent.role, role === "controlling" ? "controlled" : "controlling");
    agent.handleTimeout(100);
    const again = mustDecode(t.must(drainTransmits(agent)[0]).data);
    const types = again.attributes.map(({ type }) => type);
    t.equal(types.includes(STUN_ATTRIBUTE.ICE_CONTROLLED), role === "controlling");
  }
});

test("487 makes us change the tie-breaker (§7.2.5.1)", (t) => {
  const { agent, request } = makeAgent("controlled");
  t.equal(getU64(request, STUN_ATTRIBUTE.ICE_CONTROLLED), 1000n);
  agent.handleDatagram(9, 0, PEER, encodeError(request, { code: 487 }, PEER_KEY));
  agent.handleTimeout(100);
  const [again] = drainRequests(agent);
  const tieBreaker = t.must(getU64(t.must(again), STUN_ATTRIBUTE.ICE_CONTROLLING));
  t.notEqual(tieBreaker, 1000n);
  agent.handleTimeout(700);
  const [repeated] = drainRequests(agent);
  t.equal(getU64(t.must(repeated), STUN_ATTRIBUTE.ICE_CONTROLLING), tieBreaker, "and keep the new one");
});

test("a nomination that the peer refuses fails the pair, and another is nominated (§7.2.5.3.4, §7.3.1.5)", (t) => {
  const { agent, request, id } = makeAgent("controlling");
  agent.handleDatagram(10, 0, PEER, encodeSuccess(request, OURS, PEER_KEY));
  const [nomination] = drainRequests(agent);
  drainEvents(agent);
  agent.handleDatagram(20, 0, PEER, encodeError(t.must(nomination), { code: 400 }, PEER_KEY));
  t.same([agent.pair(id)?.valid, agent.pair(id)?.failure], [false, "error-response"]);
  t.same(
    drainEvents(agent).map(({ type }) => type),
    ["pair-expired"],
  );
  t.same(runAlone(agent, 10_000), [], "it is not asked for again and again");
  agent.addRemoteCandidate(10_000, remoteHost(STRANGER, 100));
  const [check] = drainRequests(agent);
  agent.handleDatagram(10_010, 0, STRANGER, encodeSuccess(t.must(check), OURS, PEER_KEY));
  const [other] = drainRequests(agent);
  t.ok(hasAttribute(t.must(other), STUN_ATTRIBUTE.USE_CANDIDATE));
});

test("a check whose answers were all signed with another password says so when it fails (RFC 8489 §9.1.4)", (t) => {
  const { agent, request, id } = makeAgent();
  const forged = encodeSuccess(request, OURS, new Uint8Array(20));
  t.same(agent.handleDatagram(9, 0, PEER, forged), { kind: "dropped", reason: "integrity" });
  t.equal(agent.pair(id)?.state, "in-progress", "it goes on");
  runAlone(agent, 60_000);
  t.equal(agent.pair(id)?.failure, "integrity");
  const silent = makeAgent();
  runAlone(silent.agent, 60_000);
  t.equal(silent.agent.pair(id)?.failure, "timeout");
});

test("a check that claims our role: the greater tie-breaker controls, who has to switch is told 487 or switches (§7.3.1.1)", (t) => {
  // Our tie-breaker is 1000; "if the agent's tie-breaker value is larger than or equal to" the peer's, we are controlling.
  for (const [role, theirs, answer, becomes] of [
    ["controlling", 999n, "error", "controlling"],
    ["controlling", 1000n, "error", "controlling"],
    ["controlling", 1001n, "success", "controlled"],
    ["controlled", 999n, "success", "controlling"],
    ["controlled", 1000n, "success", "controlling"],
    ["controlled", 1001n, "error", "controlled"],
  ] as const) {
    const { agent } = makeAgent(role);
    agent.handleDatagram(10, 0, PEER, makeCheck(agent, seededRandom(2), { role, tieBreaker: theirs }));
    const sent = mustDecode(t.must(drainTransmits(agent)[0]).data);
    t.equal(sent.class, answer, `${role} against ${theirs}`);
    t.equal(getErrorCode(sent)?.code ?? null, answer === "error" ? 487 : null);
    t.equal(agent.role, becomes, `${role} against ${theirs}`);
  }
});

test("a check that nobody answers is sent at the times of RFC 8489 §6.2.1 from the second one on, then fails", (t) => {
  const { agent, request, id } = makeAgent();
  const sent = runAlone(agent, 60_000);
  const second = SECOND_CHECK_MS;
  t.same(
    sent.map(({ at }) => at),
    [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500].map((after) => second + after),
  );
  const ids = new Set(sent.map(({ request: { transactionId } }) => transactionId.join()));
  t.equal(ids.size, 1, "the second check and its repetitions");
  t.notOk(ids.has(request.transactionId.join()), "it is no early repetition of the first (RFC 8445 §14.3)");
  const [failed] = drainEvents(agent);
  t.equal(failed?.type, "pair-failed");
  t.equal(agent.pair(id)?.requestsSent, 8);
});

test("a pair is checked twice in a row only at first, and only while nothing direct is found", (t) => {
  const { agent } = makeAgent();
  runAlone(agent, 60_000);
  agent.retry(60_000);
  drainTransmits(agent);
  t.same(
    runAlone(agent, 61_000).map(({ at }) => at - 60_000),
    [500],
    "a retry goes by the RFC's times alone",
  );
  const answered = makeAgent();
  answered.agent.handleDatagram(10, 0, PEER, encodeSuccess(answered.request, OURS, PEER_KEY));
  answered.agent.addRemoteCandidate(20, remoteHost(STRANGER, 100));
  drainTransmits(answered.agent);
  t.same(
    runAlone(answered.agent, 1_000).map(({ at }) => at),
    [50, 550],
    "the other pair has its first check and its repetition",
  );
});

test("a nomination that is lost goes out again each half second, on long paths each two round trips", (t) => {
  for (const [rttMs, at] of [
    [10, [500, 1_000, 1_500, 2_000]],
    [400, [800, 1_600, 2_400, 3_200]],
    [3_000, [1_500, 3_000, 4_500, 6_000]],
  ] as const) {
    const { agent, request } = makeAgent("controlling");
    agent.handleDatagram(rttMs, 0, PEER, encodeSuccess(request, OURS, PEER_KEY));
    t.equal(drainRequests(agent).length, 1, "it goes out at once");
    const isNomination = ({ request: sent }: { readonly request: StunMessage }) =>
      hasAttribute(sent, STUN_ATTRIBUTE.USE_CANDIDATE);
    const sent = runAlone(agent, 20_000).filter(isNomination);
    t.same(
      sent.slice(0, 4).map((one) => one.at - rttMs),
      [...at],
      `round trip ${rttMs} ms`,
    );
  }
});

test("a check from the peer makes ours start anew; the answer to the old request still counts (§7.3.1.4)", (t) => {
  const { agent, request, id } = makeAgent();
  agent.handleDatagram(10, 0, PEER, makeCheck(agent, seededRandom(2)));
  drainTransmits(agent);
  const sent = runAlone(agent, 1_000);
  t.same(
    sent.map(({ at }) => at),
    [50, 550],
  );
  t.ok(sent.every((one) => one.request.transactionId.join() !== request.transactionId.join()));
  t.equal(agent.handleDatagram(1_001, 0, PEER, encodeSuccess(request, OURS, PEER_KEY)).kind, "response");
  t.ok(agent.pair(id)?.valid);
});

test("a pair that a probe made valid is not checked further", (t) => {
  const { agent, id } = makeAgent();
  t.ok(agent.probe(10, id));
  const [probe] = drainRequests(agent);
  agent.handleDatagram(30, 0, PEER, encodeSuccess(t.must(probe), OURS, PEER_KEY));
  t.ok(agent.pair(id)?.valid);
  t.equal(agent.pair(id)?.rttMs, 20);
  t.same(runAlone(agent, 3_900), [], "only consent checks follow");
});

test("an answer that comes after consent ended does not bring the pair back", (t) => {
  const { agent, request, id } = makeAgent();
  agent.handleDatagram(10, 0, PEER, encodeSuccess(request, OURS, PEER_KEY));
  drainEvents(agent);
  const sent = runAlone(agent, 31_000);
  t.ok(sent.length >= 5 && sent.length <= 7, `${sent.length} consent checks`);
  t.equal(agent.pair(id)?.valid, false);
  const late = encodeSuccess(t.must(sent.at(-1)).request, OURS, PEER_KEY);
  t.same(agent.handleDatagram(31_001, 0, PEER, late), { kind: "dropped", reason: "unknown-transaction" });
  t.equal(agent.pair(id)?.valid, false);
});

test("403 to a check of a valid pair takes consent back at once (RFC 7675 §5.2); other refusals of such checks do not", (t) => {
  for (const code of [400, 500, 403]) {
    const { agent, request, id } = makeAgent();
    agent.handleDatagram(10, 0, PEER, encodeSuccess(request, OURS, PEER_KEY));
    drainEvents(agent);
    const [consent] = runAlone(agent, 6_100);
    agent.handleDatagram(6_200, 0, PEER, encodeError(t.must(consent).request, { code }, PEER_KEY));
    t.equal(agent.pair(id)?.valid, code !== 403, `${code}`);
    if (code !== 403) continue;
    t.equal(drainEvents(agent).at(-1)?.type, "pair-expired");
    t.equal(agent.pair(id)?.failure, "consent-revoked");
    agent.retry(6_300);
    t.equal(agent.probe(6_300, id), false);
    t.same(runAlone(agent, 60_000), [], "nothing is sent there any more in this generation");
  }
});

test("an error that answers the old generation does not touch the new one", (t) => {
  const { agent, request, id } = makeAgent("controlling");
  agent.handleDatagram(10, 0, PEER, encodeSuccess(request, OURS, PEER_KEY));
  agent.restart(20);
  drainTransmits(agent);
  t.ok(agent.probe(30, id));
  const [probe] = drainRequests(agent);
  agent.handleDatagram(40, 0, PEER, encodeError(t.must(probe), { code: 487 }, PEER_KEY));
  t.equal(agent.role, "controlling");
  t.ok(agent.pair(id)?.valid);
});

test("who loses control while nominating stops asking for it", (t) => {
  const { agent, request } = makeAgent("controlling");
  agent.handleDatagram(10, 0, PEER, encodeSuccess(request, OURS, PEER_KEY));
  const [nomination] = drainRequests(agent);
  t.ok(hasAttribute(t.must(nomination), STUN_ATTRIBUTE.USE_CANDIDATE));
  const conflict = makeCheck(agent, seededRandom(3), { role: "controlling", tieBreaker: 2n ** 63n });
  agent.handleDatagram(20, 0, PEER, conflict);
  t.equal(agent.role, "controlled");
  drainTransmits(agent);
  const later = runAlone(agent, 20_000);
  t.ok(later.length > 0);
  t.ok(later.every((one) => !hasAttribute(one.request, STUN_ATTRIBUTE.USE_CANDIDATE)));
});

test("the controlled side takes a nomination that comes before its own check was answered (§7.3.1.5)", (t) => {
  const { agent, request } = makeAgent("controlled");
  const check = makeCheck(agent, seededRandom(4), { nominate: { value: null } });
  agent.handleDatagram(5, 0, PEER, check);
  t.equal(agent.nominated, null);
  agent.handleDatagram(10, 0, PEER, encodeSuccess(request, OURS, PEER_KEY));
  t.equal(agent.nominated?.remote.address, PEER);
  t.same(
    drainEvents(agent).map(({ type }) => type),
    ["check-answered", "pair-valid", "nominated", "completed"],
  );
});

test("an answer to a check that was repeated says so, for its round trip is an upper bound; one to a check that was not does not", (t) => {
  const answered = (agent: IceAgent) => drainEvents(agent).filter((event) => event.type === "check-answered");
  const once = makeAgent();
  once.agent.handleDatagram(10, 0, PEER, encodeSuccess(once.request, OURS, PEER_KEY));
  t.same(
    answered(once.agent).map(({ rttMs, repeated }) => [rttMs, repeated]),
    [[10, false]],
  );
  const { agent } = makeAgent();
  for (let now = 0; now <= 3_000; now += 10) agent.handleTimeout(now);
  const again = t.must(drainRequests(agent).at(-1));
  agent.handleDatagram(3_010, 0, PEER, encodeSuccess(again, OURS, PEER_KEY));
  const [late] = answered(agent);
  t.equal(late?.repeated, true);
  t.ok((late?.rttMs ?? 0) > 1_000, `${late?.rttMs} ms since it was sent first`);
});

test("probes are bounded: the oldest are forgotten, and an address that never answered gets 42 requests in all", (t) => {
  const { agent, id } = makeAgent();
  let sent = 1;
  for (let i = 0; i < 100; i++) if (agent.probe(i, id)) sent++;
  t.equal(sent, 42);
  t.equal(drainRequests(agent).length, 41);
  const other = makeAgent();
  other.agent.handleDatagram(10, 0, PEER, encodeSuccess(other.request, OURS, PEER_KEY));
  drainTransmits(other.agent);
  for (let i = 0; i < 100; i++) t.ok(other.agent.probe(20, id));
  const probes = drainRequests(other.agent);
  t.equal(probes.length, 100);
  t.equal(probes.filter(({ transactionId }) => other.agent.ownsTransaction(transactionId)).length, 32);
});

test("the greater Ta of both sides is in force, and 5 ms at the least", (t) => {
  const gap = (taMs: number | undefined, options: readonly string[], pacingMs?: number) => {
    const agent = new IceAgent({ role: "controlled", random: seededRandom(5), ...(taMs ? { taMs } : {}) });
    agent.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 });
    agent.setRemoteParameters(0, { ...PEER_PARAMETERS, options, ...(pacingMs === undefined ? {} : { pacingMs }) });
    for (let i = 1; i <= 4; i++) agent.addRemoteCandidate(0, remoteHost(address("198.51.100.9", i), 1000 - i, `${i}`));
    drainTransmits(agent);
    const times = runAlone(agent, 450).map(({ at }) => at);
    return (times[1] ?? 0) - (times[0] ?? 0);
  };
  t.equal(gap(undefined, []), 50);
  t.equal(gap(5, []), 50);
  t.equal(gap(5, ["ta/5"]), 5);
  t.equal(gap(undefined, ["ta/5"]), 50);
  t.equal(gap(20, ["ta/5"]), 20);
  t.equal(gap(5, ["ta/100"]), 100);
  t.equal(gap(1, ["ta/1"]), 5);
  t.equal(gap(undefined, [], 100), 100, "ice-pacing (RFC 8839 §5.5)");
  t.equal(gap(5, [], 20), 20);
  t.equal(gap(5, [], 0), 5);
  t.equal(gap(5, ["ta/5"], 100), 5, "the option is ours and more exact");
});

test("who meets an ICE-lite peer controls, whatever role it was given (§6.1.1)", (t) => {
  const agent = new IceAgent({ role: "controlled", random: seededRandom(1) });
  agent.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 });
  agent.setRemoteParameters(0, { ...PEER_PARAMETERS, lite: true });
  t.equal(agent.role, "controlling");
  agent.addRemoteCandidate(0, remoteHost(PEER));
  const [check] = drainRequests(agent);
  t.ok(hasAttribute(t.must(check), STUN_ATTRIBUTE.ICE_CONTROLLING));
  agent.handleDatagram(10, 0, PEER, encodeSuccess(t.must(check), OURS, PEER_KEY));
  t.ok(
    drainRequests(agent).some((request) => hasAttribute(request, STUN_ATTRIBUTE.USE_CANDIDATE)),
    "and nominates",
  );
});

test("an ICE-lite peer, which only answers: its pair becomes valid and is nominated", (t) => {
  const { agent, id } = makeAgent("controlling");
  const answered = new Set<string>();
  let nominations = 0;
  const answer = (now: number, data: Uint8Array) => {
    const request = mustDecode(data);
    if (hasAttribute(request, STUN_ATTRIBUTE.USE_CANDIDATE)) nominations++;
    answered.add(String(request.transactionId));
    agent.handleDatagram(now + 10, 0, PEER, encodeSuccess(request, OURS, PEER_KEY));
  };
  agent.handleTimeout(500); // the first check again
  for (let now = 500; now <= 2_000 && !agent.nominated; now += 10) {
    agent.handleTimeout(now);
    for (const { data } of drainTransmits(agent)) answer(now, data);
  }
  t.equal(agent.nominated?.id, id);
  t.same([nominations, answered.size], [1, 2], "a check, and its nomination");
});
