import type { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { decodeStun, getAddress, getBytes, getXorAddress, STUN_ATTRIBUTE, STUN_METHOD, StunBuilder } from "@adit/ice";
import { Accounts } from "../src/accounts.ts";
import { ICMP_DELAY_MS } from "../src/allocation.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import { address, alice, CLIENT, outcome, PEER, RelayKit, sendIndication, udp } from "./relay-kit.ts";

const OTHER_PEER = address("9.9.9.10:7000");

test("refusals to one address are limited, whoever asks in its name; others are not concerned", (t) => {
  const limits = { ...DEFAULT_LIMITS, challengesPerIpPerSecond: 5 };
  const kit = new RelayKit({ accounts: new Accounts({ limits: () => limits }) });
  const ask = (from: SocketAddress): number =>
    kit.datagram(from, udp(new StunBuilder("request", STUN_METHOD.ALLOCATE, kit.transactionId())).build()).length;
  let answered = 0;
  for (let i = 0; i < 200; i++) answered += ask(address(`8.8.4.4:${1000 + i}`));
  t.equal(answered, 50, "ten seconds' worth");
  t.equal(kit.server.counters.get("challenge-rate"), 150);
  t.equal(ask(address("9.9.9.9:1")), 1);
  kit.advance(1_000);
  answered = 0;
  for (let i = 0; i < 20; i++) answered += ask(CLIENT);
  t.equal(answered, 5);
});

test("a client with the right password is served at any rate", (t) => {
  const limits = { ...DEFAULT_LIMITS, challengesPerIpPerSecond: 1 };
  const kit = new RelayKit({ accounts: new Accounts({ limits: () => limits }) });
  t.equal(outcome(kit.allocate(alice())), "success");
  for (let i = 0; i < 100; i++) t.equal(outcome(kit.permit(alice(), PEER)), "success");
});

test("DONT-FRAGMENT goes with the datagram where the sockets can do it; a Send indication with it is dropped elsewhere", (t) => {
  for (const dontFragment of [true, false]) {
    const kit = new RelayKit({ dontFragment });
    const asked = kit.allocate(alice(), (b) => b.empty(STUN_ATTRIBUTE.DONT_FRAGMENT));
    t.equal(outcome(asked), dontFragment ? "success" : 420);
    if (!dontFragment) kit.allocate(alice());
    kit.permit(alice(), PEER);
    const whole = new StunBuilder("indication", STUN_METHOD.SEND, new Uint8Array(12))
      .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, PEER)
      .empty(STUN_ATTRIBUTE.DONT_FRAGMENT)
      .add(STUN_ATTRIBUTE.DATA, new Uint8Array(100))
      .build();
    const sent = kit.datagram(CLIENT, whole);
    t.equal(sent.length, dontFragment ? 1 : 0);
    if (dontFragment) t.equal(sent[0]?.dontFragment, true);
    t.notOk(kit.datagram(CLIENT, sendIndication(PEER, new Uint8Array(100)))[0]?.dontFragment);
  }
});

test("an ICMP error about the one peer that was sent to comes as a Data indication without data (§11.5)", (t) => {
  const kit = new RelayKit();
  kit.allocate(alice());
  kit.permit(alice(), PEER, OTHER_PEER);
  const report = (code = "ECONNREFUSED") => {
    kit.server.handleRelayError(kit.now, 1, code);
    kit.pump();
    return kit.take();
  };
  t.equal(report().length, 0, "nothing was sent yet");
  kit.datagram(CLIENT, sendIndication(PEER, Uint8Array.of(1)));
  const [indication] = report();
  t.equal(indication?.to.key, CLIENT.key);
  const message = t.must(decodeStun(t.must(indication).data));
  t.equal(message.method, STUN_METHOD.DATA);
  t.equal(getXorAddress(message, STUN_ATTRIBUTE.XOR_PEER_ADDRESS)?.key, PEER.key);
  t.same(
    [...t.must(getBytes(message, STUN_ATTRIBUTE.ICMP))],
    [0, 0, 6, 3, 0, 0, 0, 0],
    "type 3 in 7 bits, code 3 in 9",
  );
  t.equal(getBytes(message, STUN_ATTRIBUTE.DATA), null);

  kit.datagram(CLIENT, sendIndication(OTHER_PEER, Uint8Array.of(1)));
  t.equal(report().length, 0, "it may be about either");
  kit.advance(ICMP_DELAY_MS + 1);
  t.equal(report("EHOSTUNREACH").length, 1, "now it is about the later one");
  t.equal(report("EMSGSIZE").length, 0, "no ICMP message that we know");
  kit.advance(300_000);
  t.equal(report().length, 0, "the permission is gone");
});

test("while it drains a foreign client is sent elsewhere, one of our own and one of another family get 508 (RFC 8489 §10)", (t) => {
  const alternate = address("192.0.43.8:3478");
  const kit = new RelayKit({ alternates: [alternate] });
  kit.allocate(alice());
  kit.server.beginDrain();
  const refused = kit.allocate(alice(address("8.8.4.4:6000")));
  t.equal(outcome(refused), 300);
  t.equal(getAddress(refused, STUN_ATTRIBUTE.ALTERNATE_SERVER)?.key, alternate.key);
  t.ok(refused.integrityOffset > 0, "a redirection is believed only when it is signed");
  t.equal(outcome(kit.allocate(alice(address("[2606:4700::77]:6000")))), 508);
  const own = kit.credentials.issue("p");
  t.equal(outcome(kit.allocate({ from: address("8.8.4.4:7000"), ...own })), 508);
  t.equal(outcome(kit.refresh(alice())), "success", "what stands goes on");
});
