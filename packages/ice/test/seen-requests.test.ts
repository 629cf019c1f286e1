import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { IceAgent } from "../src/agent.ts";
import { EarlyChecks, MAX_EARLY_CHECKS, MAX_SEEN_REQUESTS, SeenRequests } from "../src/seen-requests.ts";
import { address, drainTransmits, makeCheck, OURS, PEER, PEER_PARAMETERS } from "./kit.ts";

const content = { priority: 1, role: null, nominate: null };

test("a request is known by the path that it first came by; of many the oldest is forgotten", (t) => {
  const seen = new SeenRequests();
  const random = seededRandom(1);
  const ids = Array.from({ length: MAX_SEEN_REQUESTS + 1 }, () => random.bytes(12));
  const elsewhere = address("203.0.113.1", 1);
  for (const id of ids) t.equal(seen.isReplay(id, 0, PEER), false);
  t.equal(seen.isReplay(t.must(ids[1]), 0, PEER), false, "a repetition on its path");
  t.equal(seen.isReplay(t.must(ids[1]), 0, elsewhere), true);
  t.equal(seen.isReplay(t.must(ids[1]), 1, PEER), true);
  t.equal(seen.isReplay(t.must(ids[0]), 0, elsewhere), false, "the oldest is forgotten");
});

test("of early checks the oldest gives way, and a path has one", (t) => {
  const early = new EarlyChecks();
  for (let i = 0; i < 2 * MAX_EARLY_CHECKS; i++) {
    early.add({ socket: 0, from: address("203.0.113.1", 1 + i), content });
    early.add({ socket: 0, from: address("203.0.113.1", 1 + i), content });
  }
  t.equal(early.size, MAX_EARLY_CHECKS);
  const ports = early.take().map(({ from }) => from.port);
  t.same([ports[0], ports.at(-1)], [MAX_EARLY_CHECKS + 1, 2 * MAX_EARLY_CHECKS]);
  t.equal(early.size, 0);
});

test("an agent that does not know its peer yet answers a flood of checks and acts on the last few", (t) => {
  const agent = new IceAgent({ role: "controlled", random: seededRandom(1) });
  agent.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 });
  const random = seededRandom(2);
  for (let i = 0; i < 500; i++) {
    agent.handleDatagram(i, 0, address("203.0.113.1", 1_000 + i), makeCheck(agent, random));
    t.equal(drainTransmits(agent).length, 1, "each is answered");
  }
  agent.setRemoteParameters(600, PEER_PARAMETERS);
  const ports = agent.pairs().map(({ remote }) => remote.address.port);
  t.same([ports.length, Math.min(...ports)], [MAX_EARLY_CHECKS, 1_500 - MAX_EARLY_CHECKS]);
});
