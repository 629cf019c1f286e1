/** Addresses that are ours no more, while the socket stays: what a NAT that rebooted leaves behind. */

import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { Network } from "@adit/sim";
import { IceAgent } from "../src/agent.ts";
import type { LocalCandidateInit } from "../src/agent-types.ts";
import { MAX_LOCAL_CANDIDATES } from "../src/candidate-store.ts";
import { address, agreed, Side, signal } from "./kit.ts";

const ONE_WAY_MS = 20;
const NOTICED_AFTER_MS = 60;

test("a restart that is answered with addresses that are no more: what trickles after it is checked at once", (t) => {
  const network = new Network({ link: { latencyMs: ONE_WAY_MS / 2 } });
  const nats = {
    a: network.addNat("nat-a", "198.51.100.1", { filtering: "APDF", ports: "random" }),
    b: network.addNat("nat-b", "198.51.100.2", { filtering: "ADF", ports: "random" }),
  };
  const hosts = {
    a: network.addHost("a", "192.168.1.2", { realm: nats.a.inside }),
    b: network.addHost("b", "192.168.2.2", { realm: nats.b.inside }),
  };
  const server = network.addHost("server", "203.0.113.1").bind(() => {});
  const a = new Side(hosts.a, "controlling", { taMs: 5 });
  const b = new Side(hosts.b, "controlled", { taMs: 5 });
  /** As a server would see the side: what it sends makes the mapping. */
  const reflexive = (side: Side, nat: "a" | "b"): LocalCandidateInit => {
    const socket = t.must(side.running.sockets.get(0));
    socket.send(Uint8Array.of(0), server.address);
    network.clock.advance(4 * ONE_WAY_MS);
    return {
      type: "srflx",
      address: t.must(nats[nat].mappingsOf(socket.address)[0]),
      socket: 0,
      server: server.address,
    };
  };
  a.gather();
  b.gather();
  a.agent.addLocalCandidate(a.now, reflexive(a, "a"));
  const former = reflexive(b, "b");
  b.agent.addLocalCandidate(b.now, former);
  signal(a, b, 2 * ONE_WAY_MS);
  t.ok(
    network.clock.runUntilDone(() => agreed(a, b), 2_000),
    "direct to begin with",
  );

  nats.b.flush();
  a.agent.restart(a.now);
  b.agent.restart(b.now);
  signal(a, b, 2 * ONE_WAY_MS);
  network.clock.advance(NOTICED_AFTER_MS);
  const isOld = ({ address: at }: { readonly address: { readonly key: string } }) => at.key === former.address.key;
  t.ok(b.agent.localCandidates.some(isOld), "the old address went out with the answer");
  const validBefore = a.is("pair-valid").length;
  b.agent.removeLocalCandidate(former);
  b.agent.addLocalCandidate(b.now, reflexive(b, "b"));
  b.running.wake();
  const trickledAt = b.now;
  t.ok(network.clock.runUntilDone(() => a.is("pair-valid").length > validBefore, 5_000));
  const roundTripMs = 4 * ONE_WAY_MS;
  t.ok(
    a.now - trickledAt <= 2 * ONE_WAY_MS + roundTripMs + 50,
    `valid ${a.now - trickledAt} ms after the trickle left`,
  );
  t.notOk(b.agent.localCandidates.some(isOld), "the next restart says nothing of it");
});

test("who moves for ever still has room for the address of today", (t) => {
  const agent = new IceAgent({ role: "controlling", random: seededRandom(1) });
  let former: LocalCandidateInit | null = null;
  for (let move = 0; move < 3 * MAX_LOCAL_CANDIDATES; move++) {
    if (former) agent.removeLocalCandidate(former);
    former = { type: "host", address: address("10.0.0.1", 1_000 + move), socket: 0 };
    const added = t.must(agent.addLocalCandidate(move, former));
    t.equal(added.priority, t.must(agent.localCandidates[0]).priority);
    t.equal(agent.localCandidates.length, 1);
  }
});
