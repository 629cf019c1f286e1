import { test } from "@adit/harness";
import { getBytes, getXorAddress, STUN_ATTRIBUTE, type StunMessage } from "@adit/ice";
import { RESERVATION_MS } from "../src/relay-ports.ts";
import { address, alice, bob, outcome, RelayKit, type Sender, udp } from "./relay-kit.ts";

const relayedPort = (response: StunMessage): number =>
  getXorAddress(response, STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS)?.port ?? -1;

/** An allocation for RTP, which keeps the next port for RTCP. */
const pair = (kit: RelayKit, sender: Sender): StunMessage =>
  kit.allocate(sender, (b) => b.add(STUN_ATTRIBUTE.EVEN_PORT, Uint8Array.of(0x80)));

const redeem = (kit: RelayKit, sender: Sender, token: Uint8Array): StunMessage =>
  kit.allocate(sender, (b) => b.add(STUN_ATTRIBUTE.RESERVATION_TOKEN, token));

const from = (port: number) => address(`8.8.4.4:${port}`);

test("EVEN-PORT with the R bit keeps the next port; its token gives it, once (§7.2)", (t) => {
  const kit = new RelayKit();
  const first = pair(kit, alice(from(1)));
  t.equal(relayedPort(first) % 2, 0);
  const token = t.must(getBytes(first, STUN_ATTRIBUTE.RESERVATION_TOKEN));
  t.equal(token.length, 8);
  const second = redeem(kit, alice(from(2)), token);
  t.equal(relayedPort(second), relayedPort(first) + 1);
  t.equal(getBytes(second, STUN_ATTRIBUTE.RESERVATION_TOKEN), null);
  t.equal(outcome(redeem(kit, alice(from(3)), token)), 508);
});

test("a kept port is given to nobody else, not even when it is the last one, and for 30 s only", (t) => {
  const kit = new RelayKit({ ports: { first: 50_000, last: 50_001 } });
  const token = t.must(getBytes(pair(kit, alice(from(1))), STUN_ATTRIBUTE.RESERVATION_TOKEN));
  t.equal(outcome(kit.allocate(alice(from(2)))), 508);
  t.equal(outcome(redeem(kit, bob(from(3)), token)), 508, "another user's token");
  kit.advance(RESERVATION_MS - 1);
  t.equal(outcome(kit.allocate(alice(from(2)))), 508);
  kit.advance(2_000);
  t.equal(outcome(redeem(kit, alice(from(4)), token)), 508);
  t.equal(relayedPort(kit.allocate(alice(from(2)))), 50_001);
});

test("a reservation counts against its owner, and is returned when the port cannot be bound", (t) => {
  const kit = new RelayKit({ limits: { perForeign: 2 } });
  const token = t.must(getBytes(pair(kit, alice(from(1))), STUN_ATTRIBUTE.RESERVATION_TOKEN));
  t.equal(outcome(kit.allocate(alice(from(2)))), 486);
  t.equal(outcome(redeem(kit, alice(from(2)), token)), "success", "it was counted already");
  kit.refresh(alice(from(1)), 0);
  t.equal(outcome(pair(kit, alice(from(1)))), 486, "two are one too many");
  kit.refresh(alice(from(2)), 0);
  t.equal(outcome(pair(kit, alice(from(1)))), "success");
});

test("when the even port is taken by another program, the next pair is tried", (t) => {
  const kit = new RelayKit({ manualBind: true, ports: { first: 50_000, last: 50_005 }, limits: { perForeign: 2 } });
  const sender = alice(from(1));
  const add = (b: Parameters<typeof udp>[0]) => udp(b).add(STUN_ATTRIBUTE.EVEN_PORT, Uint8Array.of(0x80));
  kit.datagram(sender.from, kit.bytes(sender, 3, add));
  kit.server.handleBindFailed(kit.now, 1, "address-in-use", true);
  kit.pump();
  const [failed, next] = kit.binds.map((bind) => bind.address.port);
  t.notEqual(failed, next);
  kit.server.handleBound(1, 101);
  kit.pump();
  const response = kit.read(sender, t.must(kit.take()[0]).data);
  t.equal(relayedPort(response), next);
  const rtcp = alice(from(2));
  const token = t.must(getBytes(response, STUN_ATTRIBUTE.RESERVATION_TOKEN));
  kit.datagram(
    rtcp.from,
    kit.bytes(rtcp, 3, (b) => udp(b).add(STUN_ATTRIBUTE.RESERVATION_TOKEN, token)),
  );
  t.equal(kit.binds.at(-1)?.address.port, t.must(next) + 1);
});
