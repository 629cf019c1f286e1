import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { forEachSeed, type NatPorts, Network } from "@adit/sim";
import { PORTS_AHEAD, PORTS_BEHIND, predictPorts } from "../../src/nat/port-prediction.ts";

test("ports that count are continued, ahead first, then behind", (t) => {
  const up = t.must(predictPorts([40_001, 40_002, 40_003]));
  t.equal(up.length, PORTS_AHEAD + PORTS_BEHIND);
  t.same(up.slice(0, 3), [40_004, 40_005, 40_006]);
  t.same(up.slice(PORTS_AHEAD, PORTS_AHEAD + 2), [40_000, 39_999]);
  t.same(predictPorts([40_002, 40_000])?.slice(0, 2), [39_998, 39_996], "down, by two");
  t.same(predictPorts([40_000, 40_001, 40_004])?.slice(0, 2), [40_005, 40_006], "others took ports in between");
});

for (const [words, seen] of [
  ["drawn", [40_001, 12_000, 60_123]],
  ["the same port twice", [40_001, 40_001, 40_002]],
  ["up and down", [40_001, 40_002, 40_001]],
  ["steps too large to be counting", [40_001, 40_018]],
  ["one port", [40_001]],
  ["none", []],
] as const) {
  test(`no prediction: ${words}`, (t) => t.equal(predictPorts(seen), null));
}

test("only ports that exist are predicted", (t) => {
  t.same(predictPorts([65_533, 65_534])?.slice(0, 2), [65_535, 65_532]);
  t.ok(predictPorts([1026, 1025])?.every((port) => port >= 1024));
});

/** Three fresh sockets ask a server; then a first datagram goes to somebody else: was its port predicted? */
function predictedBehind(seed: number, ports: NatPorts, others: number): boolean {
  const network = new Network({ seed, link: { latencyMs: 1 } });
  const seen: number[] = [];
  const server = network.addHost("server", "192.0.2.1").bind(({ from }) => seen.push(from.port), { port: 3478 });
  let peerSaw = 0;
  const peer = network.addHost("peer", "192.0.2.9").bind(({ from }) => {
    peerSaw = from.port;
  });
  const nat = network.addNat("nat", "198.51.100.1", { mapping: "APDM", filtering: "APDF", ports });
  const host = network.addHost("host", "192.168.0.2", { realm: nat.inside });
  const shared = host.bind(() => {});
  const hello = new Uint8Array(1);
  for (let i = 0; i < 3; i++) host.bind(() => {}).send(hello, server.address);
  for (let i = 0; i < others; i++) shared.send(hello, SocketAddress.of("192.0.2.1", 10_000 + i));
  shared.send(hello, peer.address);
  network.clock.advance(10);
  return predictPorts(seen)?.includes(peerSaw) ?? false;
}

test("behind a NAT that counts, the port towards the peer is among those predicted; behind one that draws, it is not", (t) => {
  forEachSeed(50, (seed) => {
    for (const others of [0, 3, PORTS_AHEAD - 1])
      t.equal(predictedBehind(seed, "sequential", others), true, `seed ${seed}, ${others} others`);
    t.equal(predictedBehind(seed, "sequential", PORTS_AHEAD), false, `seed ${seed}: that is the bound`);
    t.equal(predictedBehind(seed, "random", 0), false, `seed ${seed}`);
  });
});
