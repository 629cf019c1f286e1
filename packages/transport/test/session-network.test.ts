import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import type { ControlMessage, SignaledCandidate } from "@adit/signaling";
import type { PredictionListener } from "../src/nat/network-sense.ts";
import type { SessionHost } from "../src/peer/session-host.ts";
import { SessionNetwork } from "../src/peer/session-network.ts";

const host = (index: number): SignaledCandidate => ({
  foundation: "1",
  component: 1,
  transport: "udp",
  priority: 2_130_706_431 - index,
  address: SocketAddress.of("192.0.2.1", 1000 + index),
  type: "host",
  related: null,
});
const own = (count: number) => Array.from({ length: count }, (_, index) => host(index));
const predicted = Array.from({ length: 24 }, (_, index) => SocketAddress.of("198.51.100.7", 40_005 + index));

/** A session's view of its network, with a prediction at hand, and what it said. */
function makeNetwork() {
  const trickled: ControlMessage[] = [];
  const told: ControlMessage[] = [];
  const listeners: PredictionListener[] = [];
  let ufrag = "one1";
  const view = { policy: "all", udp: "open", mapping: "apdm", ports: "sequential" };
  const network = new SessionNetwork({
    host: {
      network: view,
      predictPorts: (listener: PredictionListener) => listeners.push(listener),
    } as unknown as SessionHost,
    ufrag: () => ufrag,
    trickle: (message) => trickled.push(message),
    tell: (message) => told.push(message),
  });
  return {
    network,
    trickled,
    told,
    answer: () => {
      for (const listener of listeners.splice(0)) listener(predicted);
    },
    restart: (next: string) => {
      ufrag = next;
    },
  };
}

test("a prediction that comes before the answer is part of it, each port a foundation of its own", (t) => {
  const { network, answer, trickled } = makeNetwork();
  network.predict();
  answer();
  const announced = network.announce(own(2));
  t.equal(announced.length, 26);
  t.equal(new Set(announced.slice(2).map(({ foundation }) => foundation)).size, 24);
  t.ok(announced.slice(2).every(({ type, priority }) => type === "srflx" && priority < 2 ** 31));
  t.equal(trickled.length, 0);
});

test("one that comes later trickles", (t) => {
  const { network, answer, trickled } = makeNetwork();
  t.equal(network.announce(own(2)).length, 2);
  network.predict();
  answer();
  t.equal(trickled.length, 24);
  const first = t.must(trickled[0]);
  t.equal(first.type === "candidate" && first.ufrag, "one1");
  t.equal(first.type === "candidate" && first.candidate?.address.key, predicted[0]?.key);
});

test("one of an earlier generation is nobody's any more", (t) => {
  const { network, answer, trickled, restart } = makeNetwork();
  network.announce(own(1));
  network.predict();
  restart("two2");
  answer();
  t.equal(trickled.length, 0);
});

test("an answer has room for 64 candidates: our own come first", (t) => {
  const { network, answer } = makeNetwork();
  network.predict();
  answer();
  const announced = network.announce(own(60));
  t.equal(announced.length, 64);
  t.equal(announced.filter(({ type }) => type === "host").length, 60);
});

test("the peer is told what is known", (t) => {
  const { network, told } = makeNetwork();
  network.tell();
  t.same(told, [{ type: "network-view", policy: "all", udp: "open", mapping: "apdm", ports: "sequential" }]);
});
