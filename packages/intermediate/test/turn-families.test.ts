import { test } from "@adit/harness";
import {
  ADDRESS_FAMILY,
  getBytes,
  getXorAddress,
  getXorAddresses,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  type StunBuilder,
  type StunMessage,
} from "@adit/ice";
import { address, alice, CLIENT, outcome, PEER, RELAY_IP, RelayKit, sendIndication, udp } from "./relay-kit.ts";

const RELAY_IP6 = "2606:4700::4";
const PEER6 = address("[2620:fe::9]:7000");

const relayed = (response: StunMessage): string[] =>
  (getXorAddresses(response, STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS) ?? []).map(({ ip }) => ip);

const requested = (family: number) => (b: StunBuilder) => b.u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, family);
const additional = (b: StunBuilder) => b.u8(STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV6);

test("a relay of both families gives the one that is asked for, IPv4 unless said otherwise (§7.2)", (t) => {
  for (const [add, ip] of [
    [undefined, RELAY_IP],
    [requested(ADDRESS_FAMILY.IPV4), RELAY_IP],
    [requested(ADDRESS_FAMILY.IPV6), RELAY_IP6],
  ] as const) {
    t.same(relayed(new RelayKit({ relayIp6: RELAY_IP6 }).allocate(alice(), add)), [ip]);
  }
});

test("over IPv6 relayed addresses a client that came over IPv4 reaches peers, which reach it", (t) => {
  const kit = new RelayKit({ relayIp6: RELAY_IP6 });
  kit.allocate(alice(), requested(ADDRESS_FAMILY.IPV6));
  t.equal(outcome(kit.permit(alice(), PEER)), 443, "an IPv4 peer");
  t.equal(outcome(kit.bind(alice(), 0x4000, PEER)), 443);
  t.equal(outcome(kit.permit(alice(), PEER6)), "success");
  const [out] = kit.datagram(CLIENT, sendIndication(PEER6, Uint8Array.of(1)));
  t.equal(out?.to.key, PEER6.key);
  t.equal(out?.socket, 101);
  t.equal(kit.fromPeer(1, PEER6, Uint8Array.of(2))[0]?.to.key, CLIENT.key);
});

test("ADDITIONAL-ADDRESS-FAMILY gives one allocation two relayed addresses, each for its family (§7.2)", (t) => {
  const kit = new RelayKit({ relayIp6: RELAY_IP6 });
  const response = kit.allocate(alice(), additional);
  t.same(relayed(response), [RELAY_IP, RELAY_IP6]);
  t.equal(getBytes(response, STUN_ATTRIBUTE.ADDRESS_ERROR_CODE), null);
  t.equal(kit.server.stats.allocations, 1);
  t.equal(outcome(kit.permit(alice(), PEER, PEER6)), "success");
  const sockets = [PEER, PEER6].map((peer) => kit.datagram(CLIENT, sendIndication(peer, Uint8Array.of(1)))[0]?.socket);
  t.same(sockets, [101, 102]);
  t.equal(kit.fromPeer(2, PEER6, Uint8Array.of(2))[0]?.to.key, CLIENT.key);
  kit.refresh(alice(), 0);
  kit.pump();
  t.same(kit.closed, [1, 2]);
});

test("of two relayed addresses one can be given back; the other goes on (§8.2)", (t) => {
  const kit = new RelayKit({ relayIp6: RELAY_IP6 });
  kit.allocate(alice(), additional);
  const refresh = (add: (b: StunBuilder) => unknown) => outcome(kit.request(alice(), STUN_METHOD.REFRESH, add));
  t.equal(
    refresh((b) => requested(ADDRESS_FAMILY.IPV6)(b).u32(STUN_ATTRIBUTE.LIFETIME, 0)),
    "success",
  );
  t.same(kit.closed, [2]);
  t.equal(outcome(kit.permit(alice(), PEER6)), 443);
  t.equal(outcome(kit.permit(alice(), PEER)), "success");
  t.equal(refresh(requested(ADDRESS_FAMILY.IPV6)), 443, "there is none any more");
  t.equal(kit.server.stats.allocations, 1);
});

test("when one of the two cannot be bound, the other one is given, with ADDRESS-ERROR-CODE (§7.2)", (t) => {
  const kit = new RelayKit({ relayIp6: RELAY_IP6, manualBind: true });
  kit.datagram(
    CLIENT,
    kit.bytes(alice(), STUN_METHOD.ALLOCATE, (b) => additional(udp(b))),
  );
  kit.server.handleBound(1, 101);
  kit.pump();
  t.equal(kit.take().length, 0, "the answer waits for the second");
  kit.server.handleBindFailed(kit.now, 2, "no IPv6 here", false);
  kit.pump();
  const response = kit.read(alice(), t.must(kit.take()[0]).data);
  t.same(relayed(response), [RELAY_IP]);
  t.same([...t.must(getBytes(response, STUN_ATTRIBUTE.ADDRESS_ERROR_CODE))], [ADDRESS_FAMILY.IPV6, 0, 5, 8]);
  t.equal(kit.server.stats.allocations, 1);
});

test("two clients meet over the IPv6 relayed addresses of the same server without a socket in between", (t) => {
  const kit = new RelayKit({ relayIp6: RELAY_IP6 });
  const [a, b] = [alice(), alice(address("8.8.4.4:6000"))];
  const at = [a, b].map((sender) =>
    t.must(getXorAddress(kit.allocate(sender, requested(ADDRESS_FAMILY.IPV6)), STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS)),
  );
  const [ofA, ofB] = [t.must(at[0]), t.must(at[1])];
  t.equal(outcome(kit.permit(a, ofB)), "success");
  t.equal(outcome(kit.permit(b, ofA)), "success");
  t.equal(kit.datagram(a.from, sendIndication(ofB, Uint8Array.of(1)))[0]?.to.key, b.from.key);
  t.equal(kit.binds.length, 2);
});
