import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { IceAgent } from "../src/agent.ts";
import { type CandidateRules, IceRuleError, Rules } from "../src/rules.ts";
import { address, drainTransmits, makeCheck, OURS, PEER, PEER_PARAMETERS, remoteHost } from "./kit.ts";

const makeAgent = (rules: CandidateRules) => new IceAgent({ role: "controlling", random: seededRandom(1), rules });
const texts = (agent: IceAgent) =>
  agent.localCandidates.map(({ type, address: at, base }) => `${type} ${at.key} from ${base.key}`);

test("prefixes and families: what must lie where", (t) => {
  for (const [rules, ip, expected] of [
    [{}, "10.0.0.1", true],
    [{ deny: ["10.0.0.0/8"] }, "10.255.0.1", false],
    [{ deny: ["10.0.0.0/8"] }, "11.0.0.1", true],
    [{ allow: ["10.0.0.0/9"] }, "10.127.0.1", true],
    [{ allow: ["10.0.0.0/9"] }, "10.128.0.1", false],
    [{ allow: ["10.0.0.0/8"], deny: ["10.0.0.7"] }, "10.0.0.7", false],
    [{ allow: ["10.0.0.0/8"], deny: ["10.0.0.7"] }, "10.0.0.8", true],
    [{ allow: ["::/0"] }, "10.0.0.8", false],
    [{ deny: ["0.0.0.0/0"] }, "2001:db8::1", true],
    [{ deny: ["2001:db8::/32"] }, "2001:db8::1", false],
    [{ families: [6] }, "10.0.0.1", false],
    [{ families: [6] }, "2001:db8::1", true],
  ] as const) {
    t.equal(new Rules(rules).admits(address(ip, 1)), expected, `${JSON.stringify(rules)} and ${ip}`);
  }
});

test("a rule that cannot be read is said at once", (t) => {
  for (const deny of ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/-1", "host", "2001:db8::/129"]) {
    t.throws(() => makeAgent({ deny: [deny] }), IceRuleError);
  }
  t.throws(() => makeAgent({ external: [{ internal: "10.0.0.1", external: "here" }] }), { code: "bad-rule" });
  t.throws(() => makeAgent({ external: [{ internal: "10.0.0.1", external: "2001:db8::1" }] }), { code: "bad-rule" });
});

test("filtered candidates of either side are not used, and who asks from there gets no answer", (t) => {
  const agent = makeAgent({ deny: [PEER.ip] });
  agent.setRemoteParameters(0, PEER_PARAMETERS);
  agent.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 });
  t.equal(agent.addRemoteCandidate(0, remoteHost(PEER)), false);
  const receipt = agent.handleDatagram(1, 0, PEER, makeCheck(agent, seededRandom(2)));
  t.same(receipt, { kind: "dropped", reason: "policy" });
  t.same([agent.pairs().length, drainTransmits(agent).length], [0, 0]);
  const narrow = makeAgent({ families: [6] });
  t.equal(narrow.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 }), null);
  t.same(texts(narrow), []);
});

test("a type that is not announced still works: host addresses are kept secret, checks leave from them", (t) => {
  const agent = makeAgent({ announce: ["srflx"] });
  agent.setRemoteParameters(0, PEER_PARAMETERS);
  t.equal(agent.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 }), null);
  agent.addLocalCandidate(0, { type: "srflx", address: address("203.0.113.9", 9), base: OURS, socket: 0 });
  t.same(texts(agent), [`srflx 203.0.113.9:9 from ${OURS.key}`]);
  agent.addRemoteCandidate(0, remoteHost(PEER));
  t.equal(drainTransmits(agent).length, 1);
});

test("a NAT that maps one to one: its address is announced beside ours, or in its place", (t) => {
  const external = (as?: "host" | "srflx") => ({
    external: [{ internal: OURS.ip, external: "203.0.113.9", ...(as ? { as } : {}) }],
  });
  const beside = makeAgent(external());
  beside.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 });
  t.same(texts(beside), [`host ${OURS.key} from ${OURS.key}`, `srflx 203.0.113.9:1000 from ${OURS.key}`]);
  const instead = makeAgent(external("host"));
  const candidate = t.must(instead.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 }));
  t.equal(candidate.address.key, "203.0.113.9:1000");
  t.same(texts(instead), [`host 203.0.113.9:1000 from ${OURS.key}`]);
  // What a STUN server sees is the same address: nothing is announced twice.
  t.equal(instead.addLocalCandidate(0, { type: "srflx", address: candidate.address, base: OURS, socket: 0 }), null);
});
