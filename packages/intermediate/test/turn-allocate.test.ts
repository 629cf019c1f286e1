import { test } from "@adit/harness";
import {
  ADDRESS_FAMILY,
  decodeStun,
  getBytes,
  getU32,
  getUnknownAttributes,
  getXorAddress,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StunBuilder,
} from "@adit/ice";
import { Accounts } from "../src/accounts.ts";
import { restPassword } from "../src/credentials.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import { NONCE_LIFETIME_MS } from "../src/nonces.ts";
import {
  address,
  alice,
  bob,
  CLIENT,
  EPOCH_S,
  OLD_REST_SECRET,
  outcome,
  RELAY_IP,
  REST_SECRET,
  RelayKit,
  type Sender,
  udp,
} from "./relay-kit.ts";

const ALLOCATE = STUN_METHOD.ALLOCATE;

test("Allocate answers with a relayed address in the port range, the client's own address and the default lifetime (§7.2, §7.3)", (t) => {
  const kit = new RelayKit();
  const response = kit.allocate(alice());
  t.equal(outcome(response), "success");
  const relayed = t.must(getXorAddress(response, STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS));
  t.equal(relayed.ip, RELAY_IP);
  t.ok(relayed.port >= 50_000 && relayed.port <= 50_999, `port ${relayed.port}`);
  t.equal(getXorAddress(response, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS)?.key, CLIENT.key);
  t.equal(getU32(response, STUN_ATTRIBUTE.LIFETIME), 600);
  t.equal(kit.binds[0]?.address.key, `10.1.2.3:${relayed.port}`, "the socket is bound on the listening IP");
  t.equal(kit.server.stats.allocations, 1);
});

test("relayed ports are spread over the range and never given twice", (t) => {
  const kit = new RelayKit({ ports: { first: 50_000, last: 50_019 } });
  const ports = new Set<number>();
  const order: number[] = [];
  for (let i = 0; i < 20; i++) {
    const response = kit.allocate(alice(address(`8.8.4.4:${6000 + i}`)));
    const relayed = t.must(getXorAddress(response, STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS));
    ports.add(relayed.port);
    order.push(relayed.port);
  }
  t.equal(ports.size, 20);
  t.notEqual(order.join(), [...order].sort().join(), "not in order");
  t.equal(outcome(kit.allocate(alice(address("8.8.4.4:7000")))), 508, "the range is used up");
});

test("a request without integrity is challenged with realm and nonce; with the answer it passes (RFC 8489 §9.2.4)", (t) => {
  const kit = new RelayKit();
  const request = udp(new StunBuilder("request", ALLOCATE, kit.transactionId())).build();
  const response = t.must(decodeStun(t.must(kit.datagram(CLIENT, request)[0]).data));
  t.equal(outcome(response), 401);
  t.ok(getBytes(response, STUN_ATTRIBUTE.REALM));
  t.ok(getBytes(response, STUN_ATTRIBUTE.NONCE));
  t.equal(outcome(kit.allocate(alice())), "success");
});

test("every refusal of credentials has its code (RFC 8489 §9.2.4)", (t) => {
  const kit = new RelayKit();
  t.equal(outcome(kit.allocate({ from: CLIENT, username: "alice", password: "wrong" })), 401, "wrong password");
  t.equal(outcome(kit.allocate({ from: CLIENT, username: "mallory", password: "x" })), 401, "unknown user");
  const nonce = kit.challenge(CLIENT);
  const partial = (without: number) => {
    const builder = udp(new StunBuilder("request", ALLOCATE, kit.transactionId()));
    for (const [type, text] of [
      [STUN_ATTRIBUTE.USERNAME, "alice"],
      [STUN_ATTRIBUTE.REALM, "adit"],
      [STUN_ATTRIBUTE.NONCE, nonce],
    ] as const) {
      if (type !== without) builder.string(type, text);
    }
    const response = kit.datagram(CLIENT, builder.build({ key: new Uint8Array(16) }))[0];
    return outcome(t.must(decodeStun(t.must(response).data)));
  };
  t.equal(partial(STUN_ATTRIBUTE.USERNAME), 400);
  t.equal(partial(STUN_ATTRIBUTE.REALM), 400);
  t.equal(partial(STUN_ATTRIBUTE.NONCE), 400);
  t.equal(partial(-1), 401, "all there, integrity wrong");
  t.equal(kit.server.stats.allocations, 0);
});

test("a nonce is good for one client address and ten minutes: 438 after that, with a fresh one", (t) => {
  const kit = new RelayKit();
  const nonce = kit.challenge(CLIENT);
  const other = alice(address("8.8.4.4:5001"));
  t.equal(outcome(kit.request(other, ALLOCATE, udp, { nonce })), 438, "another port of the same host");
  t.equal(outcome(kit.request(other, ALLOCATE, udp)), "success", "with the nonce that came along");
  kit.advance(NONCE_LIFETIME_MS - 1);
  t.equal(outcome(kit.request(alice(), ALLOCATE, udp, { nonce })), "success");
  kit.advance(1);
  t.equal(outcome(kit.request(alice(), STUN_METHOD.REFRESH, undefined, { nonce })), 438);
  for (const forged of ["", "0".repeat(44), `${"f".repeat(12)}${nonce.slice(12)}`, `${nonce}0`, "x".repeat(44)]) {
    if (forged !== "") t.equal(outcome(kit.request(alice(), STUN_METHOD.REFRESH, undefined, { nonce: forged })), 438);
  }
});

const refusals: readonly (readonly [string, number, (builder: StunBuilder) => unknown])[] = [
  ["no REQUESTED-TRANSPORT", 400, () => {}],
  ["TCP", 442, (b) => b.u8(STUN_ATTRIBUTE.REQUESTED_TRANSPORT, 6)],
  ["REQUESTED-TRANSPORT of a wrong size", 400, (b) => b.add(STUN_ATTRIBUTE.REQUESTED_TRANSPORT, new Uint8Array(2))],
  ["EVEN-PORT of a wrong size", 400, (b) => udp(b).add(STUN_ATTRIBUTE.EVEN_PORT, new Uint8Array(4))],
  [
    "EVEN-PORT with the reservation bit and ADDITIONAL-ADDRESS-FAMILY",
    400,
    (b) =>
      udp(b)
        .add(STUN_ATTRIBUTE.EVEN_PORT, Uint8Array.of(0x80))
        .u8(STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV6),
  ],
  [
    "a RESERVATION-TOKEN that nobody was given",
    508,
    (b) => udp(b).add(STUN_ATTRIBUTE.RESERVATION_TOKEN, new Uint8Array(8)),
  ],
  ["RESERVATION-TOKEN of a wrong size", 400, (b) => udp(b).add(STUN_ATTRIBUTE.RESERVATION_TOKEN, new Uint8Array(7))],
  [
    "RESERVATION-TOKEN and EVEN-PORT",
    400,
    (b) =>
      udp(b).add(STUN_ATTRIBUTE.RESERVATION_TOKEN, new Uint8Array(8)).add(STUN_ATTRIBUTE.EVEN_PORT, Uint8Array.of(0)),
  ],
  [
    "RESERVATION-TOKEN and REQUESTED-ADDRESS-FAMILY",
    400,
    (b) =>
      udp(b)
        .add(STUN_ATTRIBUTE.RESERVATION_TOKEN, new Uint8Array(8))
        .u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV4),
  ],
  ["IPv6 on an IPv4 relay", 440, (b) => udp(b).u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV6)],
  ["an unknown address family", 440, (b) => udp(b).u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, 7)],
  [
    "both family attributes",
    400,
    (b) =>
      udp(b)
        .u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV4)
        .u8(STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV6),
  ],
  [
    "ADDITIONAL-ADDRESS-FAMILY IPv4",
    400,
    (b) => udp(b).u8(STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV4),
  ],
  ["LIFETIME of a wrong size", 400, (b) => udp(b).add(STUN_ATTRIBUTE.LIFETIME, new Uint8Array(2))],
  ["DONT-FRAGMENT", 420, (b) => udp(b).empty(STUN_ATTRIBUTE.DONT_FRAGMENT)],
];

for (const [name, code, add] of refusals) {
  test(`Allocate with ${name} is refused with ${code} (§7.2)`, (t) => {
    const kit = new RelayKit();
    t.equal(outcome(kit.request(alice(), ALLOCATE, add)), code);
    t.equal(kit.server.stats.allocations, 0);
    t.equal(kit.binds.length, 0);
  });
}

test("unknown comprehension-required attributes are listed, optional ones ignored (RFC 8489 §6.3.1)", (t) => {
  const kit = new RelayKit();
  const refused = kit.request(alice(), ALLOCATE, (b) =>
    udp(b).empty(STUN_ATTRIBUTE.DONT_FRAGMENT).add(0x7abc, Uint8Array.of(1)),
  );
  t.equal(outcome(refused), 420);
  t.same(getUnknownAttributes(refused), [STUN_ATTRIBUTE.DONT_FRAGMENT, 0x7abc]);
  t.equal(outcome(kit.allocate(alice(), (b) => b.add(0xabcd, Uint8Array.of(1)))), "success");
});

test("ADDITIONAL-ADDRESS-FAMILY gets the one family there is, and ADDRESS-ERROR-CODE for the other (§7.2)", (t) => {
  const kit = new RelayKit();
  const response = kit.allocate(alice(), (b) => b.u8(STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV6));
  t.equal(outcome(response), "success");
  t.same([...t.must(getBytes(response, STUN_ATTRIBUTE.ADDRESS_ERROR_CODE))], [ADDRESS_FAMILY.IPV6, 0, 4, 40]);
});

test("an IPv6 relay wants IPv6 to be asked for", (t) => {
  const kit = new RelayKit({ relayIp: "2606:4700::1", bindIp: "2606:4700::1" });
  const sender = alice(address("[2606:4700::77]:5000"));
  t.equal(outcome(kit.allocate(sender)), 440, "IPv4 is meant when nothing is said (§7.2)");
  const response = kit.allocate(sender, (b) => b.u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV6));
  t.equal(getXorAddress(response, STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS)?.ip, "2606:4700::1");
});

const lifetimes: readonly (readonly [number, number])[] = [
  [1, 600],
  [600, 600],
  [1200, 1200],
  [3600, 3600],
  [100_000, 3600],
  [0xffffffff, 3600],
];

for (const [asked, granted] of lifetimes) {
  test(`a LIFETIME of ${asked} s becomes ${granted} s, and the allocation lives as long (§7.2, §8.2)`, (t) => {
    for (const via of ["allocate", "refresh"] as const) {
      const kit = new RelayKit();
      const first = kit.allocate(alice(), (b) => (via === "allocate" ? b.u32(STUN_ATTRIBUTE.LIFETIME, asked) : b));
      const last = via === "allocate" ? first : kit.refresh(alice(), asked);
      t.equal(getU32(last, STUN_ATTRIBUTE.LIFETIME), granted);
      kit.advance(granted * 1000 - 1);
      t.equal(kit.server.stats.allocations, 1);
      kit.advance(1001);
      t.equal(kit.server.stats.allocations, 0);
      t.same(kit.closed, [1], "the relay socket is closed");
    }
  });
}

test("an allocation is gone at the moment it expires, sweep or no sweep", (t) => {
  const kit = new RelayKit();
  kit.allocate(alice());
  kit.now += 600_000; // no timer ran
  t.equal(outcome(kit.refresh(alice())), 437);
  t.equal(kit.server.stats.allocations, 0);
});

test("Refresh with lifetime 0 ends the allocation; a second one gets 437 (§8.2)", (t) => {
  const kit = new RelayKit();
  kit.allocate(alice());
  const response = kit.refresh(alice(), 0);
  t.equal(outcome(response), "success");
  t.equal(getU32(response, STUN_ATTRIBUTE.LIFETIME), 0);
  t.equal(kit.server.stats.allocations, 0);
  t.equal(outcome(kit.refresh(alice(), 0)), 437);
  t.equal(outcome(kit.allocate(alice())), "success", "the 5-tuple is free again");
});

test("Refresh with another address family gets 443, with a malformed lifetime 400", (t) => {
  const kit = new RelayKit();
  kit.allocate(alice());
  const refresh = (add: (b: StunBuilder) => unknown) => outcome(kit.request(alice(), STUN_METHOD.REFRESH, add));
  t.equal(
    refresh((b) => b.u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV6)),
    443,
  );
  t.equal(
    refresh((b) => b.add(STUN_ATTRIBUTE.LIFETIME, new Uint8Array(3))),
    400,
  );
  t.equal(
    refresh((b) => b.u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV4)),
    "success",
  );
});

test("Allocate on a 5-tuple that has an allocation gets 437; the same transaction again gets the same bytes (§7.2)", (t) => {
  const kit = new RelayKit();
  const request = kit.bytes(alice(), ALLOCATE, udp);
  const first = t.must(kit.datagram(CLIENT, request)[0]);
  kit.advance(500);
  const again = t.must(kit.datagram(CLIENT, request)[0]);
  t.same([...again.data], [...first.data]);
  t.equal(kit.binds.length, 1, "no second socket");
  t.equal(outcome(kit.allocate(alice())), 437, "another transaction");
});

test("EVEN-PORT without the reservation bit gives an even port, also when the first one is taken (§7.2)", (t) => {
  const kit = new RelayKit({ manualBind: true, ports: { first: 50_000, last: 50_019 } });
  for (let i = 0; i < 10; i++) {
    const sender = alice(address(`8.8.4.4:${6000 + i}`));
    const add = (b: StunBuilder) => udp(b).add(STUN_ATTRIBUTE.EVEN_PORT, Uint8Array.of(0));
    kit.datagram(sender.from, kit.bytes(sender, ALLOCATE, add));
  }
  kit.server.handleBindFailed(kit.now, 1, "address-in-use", true);
  kit.pump();
  t.equal(kit.binds.length, 10, "ten even ports, and none is left to try for the first");
  t.ok(kit.binds.every((bind) => bind.address.port % 2 === 0));
});

test("a retransmission that comes while the socket is being bound waits for the one answer", (t) => {
  const kit = new RelayKit({ manualBind: true });
  const request = kit.bytes(alice(), ALLOCATE, udp);
  t.equal(kit.datagram(CLIENT, request).length, 0);
  t.equal(kit.datagram(CLIENT, request).length, 0);
  t.equal(kit.binds.length, 1);
  t.equal(outcome(kit.refresh(alice())), 437, "there is nothing to refresh yet");
  kit.server.handleBound(1, 101);
  kit.pump();
  const answers = kit.take();
  t.equal(answers.length, 1);
  t.equal(outcome(kit.read(alice(), t.must(answers[0]).data)), "success");
});

test("a taken port is passed over; when 16 in a row are taken, the answer is 508", (t) => {
  const kit = new RelayKit({ manualBind: true });
  kit.datagram(CLIENT, kit.bytes(alice(), ALLOCATE, udp));
  kit.server.handleBindFailed(kit.now, 1, "address-in-use", true);
  kit.pump();
  t.equal(kit.binds.length, 2);
  t.notEqual(kit.binds[0]?.address.port, kit.binds[1]?.address.port);
  for (let i = 0; i < 30; i++) {
    kit.server.handleBindFailed(kit.now, 1, "address-in-use", true);
    kit.pump();
  }
  t.equal(kit.binds.length, 16);
  t.equal(new Set(kit.binds.map((bind) => bind.address.port)).size, 16);
  t.equal(outcome(kit.read(alice(), t.must(kit.take()[0]).data)), 508);
  t.equal(kit.server.stats.allocations, 0);
});

test("where no port at all can be bound, the first failure is the answer", (t) => {
  const kit = new RelayKit({ manualBind: true });
  kit.datagram(CLIENT, kit.bytes(alice(), ALLOCATE, udp));
  kit.server.handleBindFailed(kit.now, 1, "too many open files", false);
  kit.pump();
  t.equal(kit.binds.length, 1);
  t.equal(outcome(kit.read(alice(), t.must(kit.take()[0]).data)), 508);
  t.same(kit.server.refusals.toJSON(), { allocations: 1 });
});

test("a socket that comes up after its allocation has gone is closed", (t) => {
  const kit = new RelayKit({ manualBind: true });
  kit.datagram(CLIENT, kit.bytes(alice(), ALLOCATE, udp));
  kit.server.close();
  kit.pump();
  kit.server.handleBound(1, 101);
  kit.pump();
  t.same(kit.closed, [1, 1]);
  t.equal(kit.take().length, 0);
});

test("quotas: 486 per user and per client address, 508 for the whole server", (t) => {
  const accounts = new Accounts({ limits: () => ({ ...DEFAULT_LIMITS, allocationsPerIp: 3 }) });
  const kit = new RelayKit({ limits: { perForeign: 2, allocations: 4 }, accounts });
  const from = (ip: string, port: number) => address(`${ip}:${port}`);
  t.equal(outcome(kit.allocate(alice(from("8.8.4.4", 1)))), "success");
  t.equal(outcome(kit.allocate(alice(from("8.8.4.4", 2)))), "success");
  t.equal(outcome(kit.allocate(alice(from("8.8.8.8", 3)))), 486, "alice has two");
  t.equal(outcome(kit.allocate(bob(from("8.8.4.4", 4)))), "success");
  t.equal(outcome(kit.allocate(bob(from("8.8.4.4", 5)))), 486, "8.8.4.4 has three");
  t.equal(outcome(kit.allocate(bob(from("8.8.8.8", 6)))), "success");
  const rest: Sender = {
    from: from("8.8.8.8", 7),
    username: `${EPOCH_S + 60}:x`,
    password: restPassword(REST_SECRET, `${EPOCH_S + 60}:x`),
  };
  t.equal(outcome(kit.allocate(rest)), 508, "the server has four");
  t.equal(outcome(kit.refresh(alice(from("8.8.4.4", 1)), 0)), "success");
  t.equal(outcome(kit.allocate(rest)), "success", "what was given back counts no more");
});

test("441: a request by another user than the one who allocated", (t) => {
  const kit = new RelayKit();
  kit.allocate(alice());
  t.equal(outcome(kit.refresh(bob())), 441);
  t.equal(outcome(kit.permit(bob(), address("9.9.9.9:0"))), 441);
  t.equal(outcome(kit.bind(bob(), 0x4000, address("9.9.9.9:1"))), 441);
  t.equal(outcome(kit.refresh(alice())), "success");
});

test("credentials from signaling: renewed ones go on with the same allocation, expired ones make no new one", (t) => {
  const kit = new RelayKit();
  const peerId = "a".repeat(52);
  const sender = (): Sender => ({ from: CLIENT, ...kit.credentials.issue(peerId) });
  const first = sender();
  t.equal(outcome(kit.allocate(first)), "success");
  kit.advance(300_000);
  const renewed = sender();
  t.notEqual(renewed.username, first.username);
  t.equal(outcome(kit.refresh(renewed, 3600)), "success");
  kit.advance(3_500_000);
  t.equal(outcome(kit.refresh(first, 3600)), "success", "expired, but the allocation stands");
  t.equal(outcome(kit.refresh(first, 0)), "success");
  t.equal(outcome(kit.allocate(first)), 401, "no new allocation with expired credentials");
  t.equal(outcome(kit.allocate(sender())), "success");
});

test("the REST convention: base64(HMAC-SHA1(secret, expiry:id)), until its expiry", (t) => {
  const kit = new RelayKit();
  const rest = (expiry: number, secret = REST_SECRET): Sender => {
    const username = `${expiry}:webrtc`;
    return { from: CLIENT, username, password: restPassword(secret, username) };
  };
  t.equal(outcome(kit.allocate(rest(EPOCH_S + 10, "other"))), 401);
  t.equal(outcome(kit.allocate(rest(EPOCH_S))), 401, "expired now");
  t.equal(outcome(kit.allocate(rest(EPOCH_S + 10))), "success");
  const old = rest(EPOCH_S + 10, OLD_REST_SECRET);
  t.equal(outcome(kit.refresh(old, 0)), "success", "made with the old secret, the same id is the same client");
  t.equal(outcome(kit.allocate(old)), "success", "what was made with the secret before goes on to its expiry");
  // openssl dgst -sha1 -hmac north -binary | base64
  t.equal(restPassword("north", "1700000000:bob"), "7tNSWpJ3gOxGfEgOjt+kaWhBC20=");
});

test("a signaling user name with a REST password, or the other way round, opens nothing it should not", (t) => {
  const kit = new RelayKit();
  const { username } = kit.credentials.issue("b".repeat(52));
  // The REST secret signs any `expiry:id`, also one that looks like a peer's; it is then a foreign user's, not the peer's.
  const impostor: Sender = { from: CLIENT, username, password: restPassword(REST_SECRET, username) };
  const peer: Sender = { from: CLIENT, ...kit.credentials.issue("b".repeat(52)) };
  t.equal(outcome(kit.allocate(impostor)), "success");
  t.equal(outcome(kit.refresh(peer)), 441, "two holders, although the user names are equal");
});
