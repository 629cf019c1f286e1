import { fromUtf8, type SocketAddress, seededRandom, utf8 } from "@adit/core";
import { test } from "@adit/harness";
import { PATIENCE_MS } from "../src/agent.ts";
import { encodeSuccess } from "../src/checks.ts";
import { BINDING_KEEPALIVE_MS, GATHERING_LIMIT_MS } from "../src/driver/gatherer.ts";
import { GatheringAgent, type GatheringEvent } from "../src/driver/gathering-agent.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import { decodeStun } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE } from "../src/stun/tables.ts";
import { address, makeCheck, mustDecode, OURS, PEER, PEER_KEY, PEER_PARAMETERS, remoteHost, STRANGER } from "./kit.ts";

const SERVER = address("192.0.2.1", 3478);
const DEAD = address("192.0.2.2", 3478);
const SEEN = address("203.0.113.7", 40_111);

function make(...stunServers: SocketAddress[]) {
  const sent: { at: number; data: Uint8Array; to: SocketAddress }[] = [];
  const events: { at: number; event: GatheringEvent }[] = [];
  const random = seededRandom(1);
  const machine = new GatheringAgent(0, { role: "controlled", random, sockets: new Map([[0, OURS]]), stunServers });
  const drain = (now: number) => {
    for (let out = machine.pollTransmit(); out; out = machine.pollTransmit()) sent.push({ at: now, ...out });
    for (let event = machine.pollEvent(now); event; event = machine.pollEvent(now)) events.push({ at: now, event });
  };
  const run = (until: number) => {
    drain(0);
    for (let due = machine.pollTimeout(); due && due.at <= until; due = machine.pollTimeout()) {
      machine.handleTimeout(due.at);
      drain(due.at);
    }
  };
  const answer = (now: number, request: Uint8Array, from = SERVER) => {
    const { method, transactionId } = decodeStun(request) ?? { method: 0, transactionId: new Uint8Array(12) };
    const data = new StunBuilder("success", method, transactionId).xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, SEEN);
    machine.handleDatagram(now, 0, from, data.build());
    drain(now);
  };
  const times = (type: GatheringEvent["type"]) => events.filter(({ event }) => event.type === type).map(({ at }) => at);
  return { machine, sent, run, drain, answer, times };
}

test("a dead server costs the others nothing, and ends gathering 5 s later", (t) => {
  const { machine, sent, run, answer, times } = make(DEAD, SERVER);
  run(5);
  answer(20, t.must(sent.find(({ to }) => to.equals(SERVER))).data);
  t.same(
    machine.agent.localCandidates.map(({ type }) => type),
    ["host", "srflx"],
  );
  run(60_000);
  t.same(times("gathered"), [GATHERING_LIMIT_MS]);
  t.same(
    sent.filter(({ to }) => to.equals(DEAD)).map(({ at }) => at),
    [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500],
  );
  machine.close(60_000);
  t.equal(machine.pollTimeout(), null, "nothing goes on for ever");
});

test("bindings that servers told us are kept until ICE has concluded, and asked for anew when it restarts (§5.1.1.4)", (t) => {
  const { machine, sent, run, drain, answer } = make(SERVER);
  const asked = () => sent.filter(({ to }) => to.equals(SERVER));
  run(0);
  answer(20, t.must(asked()[0]).data);
  run(20 + BINDING_KEEPALIVE_MS);
  t.equal(asked().length, 2, "nobody has answered us yet");
  answer(20_000, t.must(asked()[1]).data);
  t.equal(machine.agent.localCandidates.length, 2, "the same address is no news");
  machine.agent.setRemoteParameters(20_001, PEER_PARAMETERS);
  machine.addRemoteCandidate(20_001, remoteHost(PEER));
  drain(20_001);
  const check = t.must(sent.find(({ to }) => to.equals(PEER)));
  const request = mustDecode(check.data);
  machine.handleDatagram(20_011, 0, PEER, encodeSuccess(request, OURS, PEER_KEY));
  const nominate = { nominate: { value: null } };
  machine.handleDatagram(20_012, 0, PEER, makeCheck(machine.agent, seededRandom(3), nominate));
  drain(20_012);
  t.ok(machine.agent.nominated);
  run(60_000);
  t.equal(asked().length, 2, "the pair that was found is kept by its own checks");
  machine.restart(60_000);
  drain(60_000);
  t.equal(asked().length, 3);
});

test("a relay that has no room is asked what address it sees (§5.1.1.2)", (t) => {
  for (const [code, asks] of [
    [486, true],
    [508, true],
    [442, false],
  ] as const) {
    const turnServers = [{ address: SERVER, username: "user", password: "password" }];
    const machine = new GatheringAgent(0, {
      role: "controlled",
      random: seededRandom(1),
      sockets: new Map([[0, OURS]]),
      turnServers,
    });
    const allocate = mustDecode(t.must(machine.pollTransmit()).data);
    const refusal = new StunBuilder("error", allocate.method, allocate.transactionId).errorCode(code).build();
    machine.handleDatagram(10, 0, SERVER, refusal);
    machine.handleTimeout(20);
    const query = machine.pollTransmit();
    t.equal(query !== null, asks, `${code}`);
    if (!query) continue;
    const { method, transactionId } = mustDecode(query.data);
    const seen = new StunBuilder("success", method, transactionId).xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, SEEN);
    machine.handleDatagram(30, 0, SERVER, seen.build());
    t.same(
      machine.agent.localCandidates.map(({ type }) => type),
      ["host", "srflx"],
    );
  }
});

test("the peer cannot aim us at our own servers", (t) => {
  const { machine } = make(SERVER);
  machine.agent.setRemoteParameters(0, PEER_PARAMETERS);
  t.equal(machine.addRemoteCandidate(0, remoteHost(SERVER)), false);
  t.equal(machine.agent.pairs().length, 0);
});

test("servers are asked one after the other, 5 ms apart, and a socket that goes takes its turns with it (§5.1.1.2)", (t) => {
  const servers = [1, 2, 3].map((i) => address("192.0.2.9", i));
  const { machine, sent, run } = make(...servers);
  run(0);
  machine.addSocket(1, 1, address("198.51.100.9", 9));
  run(10);
  machine.removeSocket(11, 1);
  run(40);
  t.same(
    sent.map(({ at, to }) => [at, to.port]),
    [
      [0, 1],
      [5, 2],
      [10, 3],
    ],
  );
  t.equal(sent.length, 3);
});

test("a server that answers after gathering was over still counts, and nobody waits for more", (t) => {
  const { machine, sent, run, answer, times } = make(SERVER);
  run(GATHERING_LIMIT_MS);
  machine.agent.setRemoteParameters(6_000, PEER_PARAMETERS);
  machine.addRemoteCandidate(6_000, null);
  answer(8_000, t.must(sent[0]).data);
  t.same(times("local-candidate"), [0, 8_000]);
  run(6_000 + PATIENCE_MS);
  t.same(times("failed"), [6_000 + PATIENCE_MS]);
  t.same(times("gathered"), [GATHERING_LIMIT_MS], "it is said once");
  answer(6_001 + PATIENCE_MS, t.must(sent.findLast(({ to }) => to.equals(SERVER))).data);
  const asked = sent.length;
  run(400_000);
  t.equal(sent.length, asked, "no binding is kept for what has failed");
});

test("data is taken from where an authentic check came from, and sent to nobody before ours is answered", (t) => {
  const { machine, run } = make();
  machine.agent.setRemoteParameters(0, PEER_PARAMETERS);
  run(0);
  t.equal(machine.handleDatagram(1, 0, PEER, utf8("hello")), null);
  machine.handleDatagram(2, 0, PEER, makeCheck(machine.agent, seededRandom(3)));
  t.equal(fromUtf8(t.must(machine.handleDatagram(3, 0, PEER, utf8("hello")))), "hello");
  t.equal(machine.handleDatagram(3, 0, STRANGER, utf8("hello")), null);
  t.equal(machine.wrap(utf8("hello")), null);
  machine.close(4);
  t.equal(machine.handleDatagram(5, 0, PEER, utf8("hello")), null, "nor after close");
});

test("a network that comes up brings candidates, one that goes takes its pairs, and what works is not touched", (t) => {
  const { machine, run, drain, times } = make();
  machine.agent.setRemoteParameters(0, PEER_PARAMETERS);
  machine.addRemoteCandidate(0, remoteHost(PEER));
  run(0);
  const before = t.must(machine.agent.pairs()[0]);
  machine.addSocket(1_000, 1, address("198.51.100.9", 9));
  drain(1_000);
  t.same(times("local-candidate"), [0, 1_000]);
  t.same(
    machine.agent.pairs().map(({ socket }) => socket),
    [0, 1],
  );
  t.equal(machine.agent.pair(before.id)?.state, before.state, "its check goes on");
  machine.removeSocket(2_000, 1);
  drain(2_000);
  t.same(
    machine.agent.pairs().map(({ id }) => id),
    [before.id],
  );
  t.same(times("pair-failed"), [2_000]);
  t.equal(machine.agent.localCandidates.length, 1);
});

test("queries from a socket that is gone are not sent any more, and gathering ends all the same", (t) => {
  const { machine, sent, run, times } = make(SERVER);
  run(100);
  machine.removeSocket(200, 0);
  run(60_000);
  t.same(
    sent.map(({ at }) => at),
    [0],
  );
  t.same(times("gathered"), [GATHERING_LIMIT_MS]);
});
