import { type IpFamily, SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import type { PairInfo } from "@adit/ice";
import { explainNoDirect } from "../../src/nat/explain.ts";
import { type NetworkView, readNetworkView } from "../../src/nat/network-view.ts";

const view = (known: Partial<NetworkView> = {}): NetworkView => ({
  policy: "all",
  udp: "open",
  mapping: "eim",
  ports: "unknown",
  ...known,
});

const pair = (remote: string, counts: Partial<PairInfo> = {}): PairInfo =>
  ({
    direct: true,
    requestsSent: 7,
    responsesReceived: 0,
    local: { address: SocketAddress.of("198.51.100.1", 4000), type: "srflx" },
    remote: { address: SocketAddress.of(remote, 5000), type: "srflx" },
    ...counts,
  }) as PairInfo;

const both = { ownFamilies: new Set<IpFamily>([4, 6]), peerFamilies: new Set<IpFamily>([4, 6]) };
const silent = [pair("203.0.113.9")];
const drawing = view({ mapping: "apdm", ports: "random" });
const counting = view({ mapping: "apdm", ports: "sequential" });

for (const [words, own, peer, pairs, expected] of [
  ["our policy", view({ policy: "relay" }), view(), silent, /^this side allows the relay only/],
  ["the peer's policy", view(), view({ policy: "relay" }), silent, /^the peer allows the relay only/],
  ["UDP is blocked here", view({ udp: "blocked" }), view(), [], /^UDP is blocked on this side$/],
  ["UDP is blocked there", view(), view({ udp: "blocked" }), silent, /^UDP is blocked at the peer$/],
  ["UDP is blocked", view({ udp: "blocked" }), view({ udp: "blocked" }), [], /^UDP is blocked on both sides$/],
  ["nowhere to go", view(), view(), [], /^the peer offered no address/],
  [
    "it worked once",
    view(),
    view(),
    [pair("203.0.113.9", { responsesReceived: 2 })],
    /answered 2 of 7 checks and then/,
  ],
  [
    "there is one that is slow",
    view(),
    view(),
    [pair("203.0.113.9", { responsesReceived: 2, valid: true, rttMs: 80 })],
    /^a direct pair answers in 80\.0 ms, and the relay is quicker/,
  ],
  ["one NAT", view(), view(), [pair("198.51.100.1")], /^both sides are behind one NAT.*hairpinning/],
  ["both unforeseeable", drawing, drawing, silent, /^both NATs give each destination another port \(APDM\)/],
  ["ours", drawing, view(), silent, /^your NAT gives .*\(APDM\), at random, and theirs filters by port \(APDF\)$/],
  ["theirs", view(), drawing, silent, /^the peer's NAT gives .*\(APDM\), at random, and yours filters by port/],
  ["a missed prediction", counting, view(), silent, /predicted were not met, and theirs filters by port/],
  ["ours, and an old peer", drawing, null, silent, /^your NAT gives each destination another port/],
  [
    "a firewall",
    view(),
    view(),
    silent,
    /^none of 7 checks to 1 address of the peer was answered: both NATs look passable/,
  ],
  ["nobody knows", view({ mapping: "unknown" }), null, silent, /^none of 7 checks .*: UDP between the two sides/],
] as const) {
  test(`no direct path: ${words}`, (t) =>
    t.match(explainNoDirect({ own, peer, publicIps: ["198.51.100.1"], pairs, ...both }), expected));
}

test("no direct path: no family in common", (t) => {
  const families = (own: readonly IpFamily[], peer: readonly IpFamily[]) =>
    explainNoDirect({
      ...{ own: view(), peer: view(), publicIps: [], pairs: [] },
      ...{ ownFamilies: new Set(own), peerFamilies: new Set(peer) },
    });
  t.equal(families([6], [4]), "this side has IPv6 alone, and the peer IPv4");
  t.equal(families([4], [6]), "this side has IPv4 alone, and the peer IPv6");
  t.match(families([4], [4]), /^the peer offered no address/);
  t.match(families([4], []), /^the peer offered no address/);
  t.match(families([4, 6], [6]), /^the peer offered no address/);
});

test("a peer's word that is not known here counts for unknown", (t) => {
  const words = { policy: "sometimes", udp: "open", mapping: "adm", ports: "odd" };
  t.same(readNetworkView({ type: "network-view", ...words }), {
    policy: "all",
    udp: "open",
    mapping: "unknown",
    ports: "unknown",
  });
});
