import { type Millis, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { IceAgent } from "../src/agent.ts";
import { type Candidate, canPair, tcpLocalPreference } from "../src/candidate.ts";
import { CandidateStore } from "../src/candidate-store.ts";
import { encodeSuccess } from "../src/checks.ts";
import { formatCandidate, parseCandidate } from "../src/sdp.ts";
import {
  address,
  drainEvents,
  drainRequests,
  drainTransmits,
  makeCheck,
  OURS,
  PEER,
  PEER_KEY,
  PEER_PARAMETERS,
  remoteHost,
  runAlone,
} from "./kit.ts";

const ACTIVE = 1;
const PASSIVE = 2;
const passive = (at = PEER): Candidate => ({ ...remoteHost(at), transport: "tcp", tcpType: "passive" });
const active = (ip = PEER.ip): Candidate => ({ ...remoteHost(address(ip, 9)), transport: "tcp", tcpType: "active" });

/** An agent with UDP, active and passive TCP on one address. */
function make() {
  const agent = new IceAgent({ role: "controlling", random: seededRandom(1) });
  agent.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 });
  agent.addLocalCandidate(0, { type: "host", address: address(OURS.ip, 9), socket: ACTIVE, tcpType: "active" });
  agent.addLocalCandidate(0, { type: "host", address: OURS, socket: PASSIVE, tcpType: "passive" });
  agent.setRemoteParameters(0, PEER_PARAMETERS);
  drainEvents(agent);
  return agent;
}

/** The pair of the active candidate, with its check answered. */
function connected(): { readonly agent: IceAgent; readonly id: string } {
  const agent = make();
  agent.addRemoteCandidate(0, passive());
  const [check] = drainRequests(agent);
  if (!check) throw new Error("no check");
  agent.handleDatagram(10, ACTIVE, PEER, encodeSuccess(check, address(OURS.ip, 40_000), PEER_KEY));
  drainTransmits(agent);
  drainEvents(agent);
  return { agent, id: `${ACTIVE}|${PEER.key}` };
}

test("priorities: direction first, then the address (RFC 6544 §4.2); UDP of the same type goes before", (t) => {
  t.equal(tcpLocalPreference("active", 0), 6 * 8192 + 8191);
  t.equal(tcpLocalPreference("passive", 1), 4 * 8192 + 8190);
  t.equal(tcpLocalPreference("so", 0), 2 * 8192 + 8191);
  const [udp, connecting, listening] = make().localCandidates.map(({ priority }) => priority);
  t.ok(t.must(udp) > t.must(connecting) && t.must(connecting) > t.must(listening));
});

test("foundations differ by transport, not by direction", (t) => {
  const [udp, connecting, listening] = make().localCandidates.map(({ foundation }) => foundation);
  t.notEqual(udp, connecting);
  t.equal(connecting, listening);
});

test("active pairs with passive, and with nothing else (RFC 6544 §6.2)", (t) => {
  const agent = make();
  const [udp, connecting, listening] = agent.localCandidates;
  const so: Candidate = { ...passive(), tcpType: "so" };
  const table = [udp, connecting, listening].map((local) =>
    [remoteHost(PEER), passive(), active(), so].map((remote) => canPair(t.must(local), remote)),
  );
  t.same(table, [
    [true, false, false, false],
    [false, true, false, false],
    // The peer will connect; there is nothing to send to until it has.
    [false, false, false, false],
  ]);
});

test("a TCP candidate may have the address of a UDP one", (t) => {
  const agent = make();
  t.ok(agent.addRemoteCandidate(0, remoteHost(PEER)));
  t.ok(agent.addRemoteCandidate(0, passive()));
  t.same(
    agent
      .pairs()
      .map(({ id }) => id)
      .sort(),
    [`0|${PEER.key}`, `${ACTIVE}|${PEER.key}`],
  );
  t.equal(agent.addRemoteCandidate(0, passive()), false, "known");
});

test("candidates with half a TCP type are refused", (t) => {
  const store = new CandidateStore();
  t.equal(store.addRemote({ ...remoteHost(PEER), transport: "tcp" }), false);
  t.equal(store.addRemote({ ...remoteHost(PEER), tcpType: "passive" }), false);
});

test("over TCP a check is sent once and given up after 39.5 s", (t) => {
  const agent = make();
  agent.addRemoteCandidate(0, passive());
  drainTransmits(agent);
  t.same(runAlone(agent, 39_499), []);
  t.same(drainEvents(agent), []);
  runAlone(agent, 39_500);
  t.same(
    drainEvents(agent).map(({ type }) => type),
    ["pair-failed"],
  );
});

test("who connects to us becomes a peer-reflexive active candidate, which is checked over its connection", (t) => {
  const agent = make();
  agent.addRemoteCandidate(0, active());
  const from = address(PEER.ip, 55_555);
  const receipt = agent.handleDatagram(5, PASSIVE, from, makeCheck(agent, seededRandom(2)));
  t.same(receipt, { kind: "request", pair: `${PASSIVE}|${from.key}` });
  const { remote, local } = t.must(agent.pairByPath(PASSIVE, from));
  t.same([remote.type, remote.transport, remote.tcpType, local.tcpType], ["prflx", "tcp", "active", "passive"]);
  t.ok(drainTransmits(agent).every(({ socket, to }) => socket === PASSIVE && to.equals(from)));
});

test("the address that the peer sees of our connection is a peer-reflexive active candidate of ours", (t) => {
  const { agent, id } = connected();
  const { local, valid } = t.must(agent.pair(id));
  t.ok(valid);
  t.same([local.type, local.address.port, local.tcpType, local.base.port], ["prflx", 40_000, "active", 9]);
});

test("a connection that cannot be made fails the pair", (t) => {
  const agent = make();
  agent.addRemoteCandidate(0, passive());
  drainTransmits(agent);
  agent.connectionClosed(20, ACTIVE, PEER);
  t.same(
    drainEvents(agent).map((event) => event.type === "pair-failed" && event.reason),
    ["connection-failed"],
  );
  t.equal(agent.pairs()[0]?.failure, "connection-failed");
  agent.retry(1_000);
  t.equal(drainRequests(agent).length, 1, "until it is asked for again");
});

test("a connection that worked and is lost is made again, three times in a generation", (t) => {
  const { agent, id } = connected();
  let now: Millis = 100;
  for (let i = 1; i <= 4; i++) {
    agent.connectionClosed(now, ACTIVE, PEER);
    t.same(
      drainEvents(agent).map(({ type }) => type),
      i <= 3 ? ["pair-expired"] : ["pair-expired", "pair-failed"],
    );
    t.notOk(agent.pair(id)?.valid, "nothing is sent on it until it was checked anew");
    now += 100;
    agent.handleTimeout(now);
    const [check] = drainRequests(agent);
    t.equal(check !== undefined, i <= 3, `time ${i}`);
    if (!check) break;
    agent.handleDatagram(now, ACTIVE, PEER, encodeSuccess(check, address(OURS.ip, 40_000 + i), PEER_KEY));
    drainTransmits(agent);
    t.ok(agent.pair(id)?.valid);
    drainEvents(agent);
  }
  t.equal(agent.pair(id)?.failure, "connection-lost");
});

test("an accepted connection that is gone takes its pair and its candidate with it", (t) => {
  const agent = make();
  for (let i = 0; i < 200; i++) {
    const from = address(PEER.ip, 10_000 + i);
    const receipt = agent.handleDatagram(i, PASSIVE, from, makeCheck(agent, seededRandom(i)));
    t.equal(receipt.kind === "request" && receipt.pair, `${PASSIVE}|${from.key}`, "there is room for it");
    drainTransmits(agent);
    agent.connectionClosed(i, PASSIVE, from);
    t.equal(agent.pairs().length, 0);
  }
});

test("what is told of another socket or remote changes nothing", (t) => {
  const { agent, id } = connected();
  agent.addRemoteCandidate(20, remoteHost(PEER));
  agent.connectionClosed(30, 0, PEER);
  agent.connectionClosed(30, ACTIVE, address(PEER.ip, 1));
  t.ok(agent.pair(id)?.valid);
  t.equal(agent.pairs().length, 2);
});

test("the candidate attribute says tcptype (RFC 6544 §4.5)", (t) => {
  const text = "candidate:2 1 tcp 2105458943 192.0.2.7 9 typ host tcptype active";
  t.equal(formatCandidate(t.must(parseCandidate(text))), text);
  t.equal(
    parseCandidate("candidate:2 1 TCP 2105458943 192.0.2.7 9 typ host generation 0 tcptype passive")?.tcpType,
    "passive",
  );
  t.equal(parseCandidate("candidate:2 1 tcp 2105458943 192.0.2.7 9 typ host"), null);
  t.equal(parseCandidate("candidate:2 1 tcp 2105458943 192.0.2.7 9 typ host tcptype other"), null);
  const udp = parseCandidate("candidate:2 1 udp 2105458943 192.0.2.7 9 typ host tcptype active");
  t.equal(udp?.tcpType, undefined, "of UDP it means nothing");
});
