import { SocketAddress, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { IceAgent, type LocalCandidateInit } from "@adit/ice";
import { CandidateExchange, type TrickleMessage } from "../src/peer/candidate-exchange.ts";

const host = (ip: string): LocalCandidateInit => ({ type: "host", address: SocketAddress.of(ip, 4000), socket: 0 });

test("what is new trickles, and what is ours no more is announced no more", (t) => {
  const ice = new IceAgent({ role: "controlled", random: seededRandom(1) });
  const trickled: TrickleMessage[] = [];
  const exchange = new CandidateExchange(ice, (message) => trickled.push(message));
  const tell = (...ips: string[]) => {
    exchange.setLocal(0, ips.map(host));
    for (let event = ice.pollEvent(); event; event = ice.pollEvent()) {
      if (event.type === "local-candidate") exchange.handleLocal(event.candidate);
    }
    return ice.localCandidates.map(({ address }) => address.ip);
  };
  tell("10.0.0.1", "10.0.1.1");
  t.same(
    exchange.announce().map(({ address }) => address.ip),
    ["10.0.0.1", "10.0.1.1"],
  );
  t.equal(trickled.length, 0);
  t.same(tell("10.0.1.1", "10.0.2.1"), ["10.0.1.1", "10.0.2.1"]);
  t.same(
    trickled.map(({ ufrag, candidate }) => [ufrag, candidate?.address.ip]),
    [[ice.local.ufrag, "10.0.2.1"]],
  );
  t.same(tell("10.0.0.1", "10.0.2.1"), ["10.0.2.1", "10.0.0.1"], "an old address that is ours again");
  t.equal(trickled.length, 2);
});
