import { type Random, type SocketAddress, seededRandom, utf8 } from "@adit/core";
import { FUZZ, fuzzInputs, fuzzSeed, test } from "@adit/harness";
import { IceAgent } from "../src/agent.ts";
import type { IceReceipt } from "../src/agent-types.ts";
import { encodeError, encodeSuccess } from "../src/checks.ts";
import { getErrorCode, getUnknownAttributes } from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import { verifyIntegrity } from "../src/stun/integrity.ts";
import type { StunMessage } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE, STUN_ERROR, STUN_METHOD } from "../src/stun/tables.ts";
import {
  address,
  drainEvents,
  drainTransmits,
  makeAgent,
  makeCheck,
  mustDecode,
  OURS,
  PEER,
  PEER_KEY,
  PEER_PARAMETERS,
  remoteHost,
  STRANGER,
  stateOf,
} from "./kit.ts";

test("forged checks change nothing and get no answer", (t) => {
  const { agent } = makeAgent();
  const random = seededRandom(2);
  const before = stateOf(agent);
  const plain = () =>
    new StunBuilder("request", STUN_METHOD.BINDING, random.bytes(12))
      .string(STUN_ATTRIBUTE.USERNAME, `${agent.local.ufrag}:peer`)
      .u32(STUN_ATTRIBUTE.PRIORITY, 1)
      .u64(STUN_ATTRIBUTE.ICE_CONTROLLED, 2n ** 64n - 1n);
  const key = utf8(agent.local.pwd);
  const table: [string, Uint8Array, string][] = [
    ["wrong password", makeCheck(agent, random, { key: utf8("x".repeat(24)) }), "integrity"],
    ["the peer's password", makeCheck(agent, random, { key: PEER_KEY }), "integrity"],
    ["wrong fragment", makeCheck(agent, random, { username: "nobody:peer" }), "username"],
    ["our fragment as a prefix", makeCheck(agent, random, { username: `${agent.local.ufrag}x:peer` }), "username"],
    ["no colon", makeCheck(agent, random, { username: agent.local.ufrag }), "username"],
    ["no integrity", plain().build({ fingerprint: true }), "integrity"],
    ["no fingerprint", plain().build({ key }), "fingerprint"],
    ["no username", new StunBuilder("request", 1, random.bytes(12)).build({ key, fingerprint: true }), "username"],
    ["a conflict without a password", plain().build({ key: utf8("y".repeat(24)), fingerprint: true }), "integrity"],
    ["another method", new StunBuilder("request", STUN_METHOD.ALLOCATE, random.bytes(12)).build(), "unknown-method"],
    ["an indication", new StunBuilder("indication", 1, random.bytes(12)).build({ fingerprint: true }), "indication"],
    ["nothing", new Uint8Array(0), "not-stun"],
  ];
  for (const [name, data, reason] of table) {
    for (const from of [PEER, STRANGER]) {
      t.same(agent.handleDatagram(10, 0, from, data), { kind: "dropped", reason }, name);
    }
  }
  t.equal(stateOf(agent), before);
  t.same(drainTransmits(agent), []);
  t.same(drainEvents(agent), []);
  t.equal(agent.drops.total(), table.length * 2);
});

test("a recorded check that is sent again from elsewhere counts for nothing there", (t) => {
  const { agent } = makeAgent();
  const check = makeCheck(agent, seededRandom(3));
  t.equal(agent.handleDatagram(10, 0, PEER, check).kind, "request");
  drainTransmits(agent);
  const before = stateOf(agent);
  t.same(agent.handleDatagram(11, 0, STRANGER, check), { kind: "dropped", reason: "replayed" });
  t.same(agent.handleDatagram(11, 1, PEER, check), { kind: "dropped", reason: "replayed" });
  t.equal(stateOf(agent), before);
  t.same(drainTransmits(agent), []);
  t.equal(agent.pairByPath(0, STRANGER), null);
});

test("forged and misplaced answers change nothing; the right one still counts after them", (t) => {
  const { agent, request } = makeAgent();
  const before = stateOf(agent);
  const key = PEER_KEY;
  const good = encodeSuccess(request, OURS, key);
  const drop = (receipt: IceReceipt, reason: string) => t.same(receipt, { kind: "dropped", reason });
  drop(agent.handleDatagram(20, 0, STRANGER, good), "wrong-path");
  drop(agent.handleDatagram(20, 1, PEER, good), "wrong-path");
  drop(agent.handleDatagram(20, 0, PEER, encodeSuccess(request, STRANGER, utf8(agent.local.pwd))), "integrity");
  drop(agent.handleDatagram(20, 0, PEER, encodeError(request, { code: 487 }, utf8("?".repeat(22)))), "integrity");
  const bare = new StunBuilder("error", STUN_METHOD.BINDING, request.transactionId).errorCode(400).build();
  drop(agent.handleDatagram(20, 0, PEER, bare), "integrity");
  const other = { ...request, transactionId: seededRandom(9).bytes(12) };
  drop(agent.handleDatagram(20, 0, PEER, encodeSuccess(other, OURS, key)), "unknown-transaction");
  const unmapped = new StunBuilder("success", STUN_METHOD.BINDING, request.transactionId);
  drop(agent.handleDatagram(20, 0, PEER, unmapped.build({ key, fingerprint: true })), "malformed");
  t.equal(stateOf(agent), before);
  t.ok(agent.ownsTransaction(request.transactionId));
  t.same(agent.handleDatagram(21, 0, PEER, good), { kind: "response", pair: `0|${PEER.key}`, rttMs: 21 });
  drop(agent.handleDatagram(22, 0, PEER, good), "unknown-transaction");
});

test(
  "damaged datagrams change nothing and throw nothing",
  (t) => {
    const { agent, request } = makeAgent();
    const random = seededRandom(fuzzSeed(4));
    const originals = [
      makeCheck(agent, random, { nominate: { value: null } }),
      makeCheck(agent, random, { role: "controlled", tieBreaker: 2n ** 64n - 1n }),
      // Without FINGERPRINT, which answers need not have, every bit is under the integrity.
      new StunBuilder("success", STUN_METHOD.BINDING, request.transactionId)
        .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, STRANGER)
        .build({ key: PEER_KEY }),
      new StunBuilder("error", STUN_METHOD.BINDING, request.transactionId)
        .errorCode(STUN_ERROR.ROLE_CONFLICT)
        .build({ key: PEER_KEY }),
    ];
    const before = stateOf(agent);
    let answered = 0;
    const inputs = fuzzInputs(100_000);
    for (let i = 0; i < inputs; i++) {
      const original = originals[i % originals.length] ?? new Uint8Array();
      const receipt = agent.handleDatagram(30, 0, PEER, damage(original, random));
      if (receipt.kind !== "dropped") t.fail(`${i}: ${JSON.stringify(receipt)}`);
      answered += drainTransmits(agent).length;
    }
    t.equal(stateOf(agent), before);
    t.equal(answered, 0);
    t.same(drainEvents(agent), []);
    t.equal(agent.drops.total(), inputs);
  },
  FUZZ,
);

/** One bit flipped, or cut, or lengthened, or another byte sequence altogether. */
function damage(original: Uint8Array, random: Random): Uint8Array {
  const dice = random.float();
  if (dice < 0.1) return original.slice(0, Math.floor(random.float() * original.length));
  if (dice < 0.15) return new Uint8Array([...original, 0, 0, 0, 0]);
  if (dice < 0.2) return random.bytes(Math.floor(random.float() * 200));
  const copy = original.slice();
  const bit = Math.floor(random.float() * copy.length * 8);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}

test("an authentic check with an attribute that must be understood is answered 420, one without PRIORITY 400", (t) => {
  const { agent } = makeAgent();
  const random = seededRandom(5);
  const key = utf8(agent.local.pwd);
  const base = () =>
    new StunBuilder("request", STUN_METHOD.BINDING, random.bytes(12)).string(
      STUN_ATTRIBUTE.USERNAME,
      `${agent.local.ufrag}:peer`,
    );
  const answer = (data: Uint8Array): StunMessage => {
    t.equal(agent.handleDatagram(10, 0, PEER, data).kind, "dropped");
    const [out] = drainTransmits(agent);
    const message = mustDecode(t.must(out).data);
    t.ok(verifyIntegrity(message, key));
    return message;
  };
  const unknown = answer(base().u32(STUN_ATTRIBUTE.PRIORITY, 5).u32(0x7f00, 1).build({ key, fingerprint: true }));
  t.equal(getErrorCode(unknown)?.code, 420);
  t.same(getUnknownAttributes(unknown), [0x7f00]);
  t.equal(getErrorCode(answer(base().build({ key, fingerprint: true })))?.code, 400);
  const unexpected = base().u32(STUN_ATTRIBUTE.PRIORITY, 5).string(STUN_ATTRIBUTE.REALM, "example.org");
  const receipt = agent.handleDatagram(10, 0, PEER, unexpected.build({ key, fingerprint: true }));
  t.equal(receipt.kind, "request", "known and unexpected is no fault (RFC 8489 §6.3)");
});

test("an authentic flood from ever new addresses stays within the bounds", (t) => {
  const { agent } = makeAgent();
  const random = seededRandom(6);
  for (let i = 0; i < 2_000; i++) {
    const from: SocketAddress = address(`203.0.113.${i % 200}`, 1024 + i);
    t.equal(agent.handleDatagram(i, 0, from, makeCheck(agent, random)).kind, "request");
    drainTransmits(agent);
  }
  t.ok(agent.pairs().length <= 1 + 32, `${agent.pairs().length} pairs`);
});

test("what nobody drains is bounded", (t) => {
  const { agent } = makeAgent();
  const random = seededRandom(7);
  for (let i = 0; i < 2_000; i++) agent.handleDatagram(i, 0, PEER, makeCheck(agent, random));
  t.ok(drainTransmits(agent).length <= 256);
});

test("policy relay: checks around the relay are not answered, and nothing but relays is announced", (t) => {
  const agent = new IceAgent({ role: "controlled", random: seededRandom(8), policy: "relay" });
  t.equal(agent.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 }), null);
  const relayed = address("203.0.113.10", 50_000);
  t.ok(agent.addLocalCandidate(0, { type: "relay", address: relayed, socket: 1000, related: OURS }));
  t.same(
    drainEvents(agent).map((event) => event.type === "local-candidate" && event.candidate.type),
    ["relay"],
  );
  agent.setRemoteParameters(0, PEER_PARAMETERS);
  agent.addRemoteCandidate(0, remoteHost(PEER));
  const theirRelay = address("203.0.113.11", 50_000);
  agent.addRemoteCandidate(0, { ...remoteHost(theirRelay, 255, "7"), type: "relay" });
  t.same(
    agent
      .pairs()
      .map(({ id }) => id)
      .sort(),
    [`0|${theirRelay.key}`, `1000|${PEER.key}`, `1000|${theirRelay.key}`].sort(),
  );
  drainTransmits(agent);
  const random = seededRandom(9);
  t.same(agent.handleDatagram(5, 0, PEER, makeCheck(agent, random)), { kind: "dropped", reason: "policy" });
  t.same(drainTransmits(agent), []);
  t.equal(agent.handleDatagram(5, 1000, PEER, makeCheck(agent, random)).kind, "request");
  t.equal(agent.handleDatagram(5, 0, theirRelay, makeCheck(agent, random)).kind, "request");
});

test("no check goes to a STUN or TURN server of ours, whoever names it, and none is answered that claims to come from there", (t) => {
  const server = address("192.0.2.1", 3478);
  const isServer = (one: SocketAddress) => one.equals(server);
  const agent = new IceAgent({ role: "controlled", random: seededRandom(8), isServer });
  agent.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 });
  agent.setRemoteParameters(0, PEER_PARAMETERS);
  t.equal(agent.addRemoteCandidate(0, remoteHost(server)), false);
  t.ok(agent.addRemoteCandidate(0, remoteHost(address("192.0.2.1", 49_152))), "what it relays is another address");
  drainTransmits(agent);
  const receipt = agent.handleDatagram(5, 0, server, makeCheck(agent, seededRandom(9)));
  t.same(receipt, { kind: "dropped", reason: "policy" });
  t.same(drainTransmits(agent), []);
  t.same(
    agent.pairs().map(({ remote }) => remote.address.port),
    [49_152],
  );
});

test("localUfragOf finds the receiver of a check, and nothing in anything else", (t) => {
  const { agent, request } = makeAgent();
  const check = makeCheck(agent, seededRandom(10));
  t.equal(IceAgent.localUfragOf(check), agent.local.ufrag);
  t.equal(IceAgent.localUfragOf(encodeSuccess(request, OURS, utf8("k"))), null);
  t.equal(IceAgent.localUfragOf(new Uint8Array(64)), null);
  const random = seededRandom(11);
  for (let i = 0; i < 2_000; i++) {
    const found = IceAgent.localUfragOf(damage(check, random));
    if (found !== null) t.ok(found.length >= 4 && found.length <= 256);
  }
});

test("changed remote parameters need a restart; the same ones again do not; nonsense is refused", (t) => {
  const { agent } = makeAgent();
  t.equal(agent.setRemoteParameters(1, PEER_PARAMETERS), true);
  t.equal(agent.setRemoteParameters(1, { ...PEER_PARAMETERS, ufrag: "other" }), false);
  agent.restart(2);
  for (const bad of [
    { ...PEER_PARAMETERS, ufrag: "abc" },
    { ...PEER_PARAMETERS, ufrag: "a:cd" },
    { ...PEER_PARAMETERS, pwd: "short" },
    { ...PEER_PARAMETERS, pwd: "x".repeat(257) },
  ]) {
    t.equal(agent.setRemoteParameters(2, bad), false);
  }
  t.equal(agent.setRemoteParameters(2, { ...PEER_PARAMETERS, ufrag: "other" }), true);
});
