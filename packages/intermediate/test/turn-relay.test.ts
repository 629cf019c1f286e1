import { type Logger, nullLogger, seededRandom, utf8 } from "@adit/core";
import { test } from "@adit/harness";
import {
  decodeStun,
  getBytes,
  getXorAddress,
  parseChannelData,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StunBuilder,
  wrapChannelData,
} from "@adit/ice";
import { MAX_CHANNELS, MAX_PERMISSIONS } from "../src/allocation.ts";
import {
  address,
  alice,
  CLIENT,
  LISTEN,
  outcome,
  PEER,
  RELAY_IP,
  RelayKit,
  type Sender,
  sendIndication,
  udp,
} from "./relay-kit.ts";

const HELLO = utf8("hello");

/** An allocation of alice's; its relay is 1, its socket 101. */
function allocated(options: ConstructorParameters<typeof RelayKit>[0] = {}): RelayKit {
  const kit = new RelayKit(options);
  kit.allocate(alice());
  kit.take();
  return kit;
}

test("Send and Data indications carry bytes both ways under a permission (§11)", (t) => {
  const kit = allocated();
  t.equal(kit.datagram(CLIENT, sendIndication(PEER, HELLO)).length, 0, "no permission yet");
  t.equal(kit.fromPeer(1, PEER, HELLO).length, 0);
  t.equal(kit.server.counters.get("no-permission"), 2);
  t.equal(outcome(kit.permit(alice(), PEER)), "success");

  const out = t.must(kit.datagram(CLIENT, sendIndication(PEER, HELLO))[0]);
  t.equal(out.socket, 101);
  t.equal(out.to.key, PEER.key);
  t.same([...out.data], [...HELLO]);

  const back = t.must(kit.fromPeer(1, PEER, HELLO)[0]);
  t.equal(back.socket, LISTEN);
  t.equal(back.to.key, CLIENT.key);
  const indication = t.must(decodeStun(back.data));
  t.equal(indication.class, "indication");
  t.equal(indication.method, STUN_METHOD.DATA);
  t.equal(getXorAddress(indication, STUN_ATTRIBUTE.XOR_PEER_ADDRESS)?.key, PEER.key);
  t.same([...t.must(getBytes(indication, STUN_ATTRIBUTE.DATA))], [...HELLO]);
  const one = { packets: 1, bytes: 5 };
  t.same(kit.server.stats, { allocations: 1, relayedPackets: 2, relayedBytes: 10, toPeers: one, toClients: one });
});

test("a foreign client's allocation is in the log with what it carried; those of our own peers are for who debugs", (t) => {
  const lines: string[] = [];
  const write =
    (level: string): Logger["info"] =>
    (event, { owner, client, ...fields } = {}) =>
      void lines.push([level, event, owner, client, ...Object.values(fields)].join(" "));
  const log = { ...nullLogger, debug: write("debug"), info: write("info") };
  const kit = new RelayKit({ log });
  kit.allocate(alice());
  kit.permit(alice(), PEER);
  kit.bind(alice(), 0x4000, PEER);
  kit.datagram(CLIENT, sendIndication(PEER, HELLO));
  kit.datagram(CLIENT, wrapChannelData(0x4000, HELLO));
  kit.fromPeer(1, PEER, utf8("hi"));
  kit.fromPeer(1, address("8.8.8.8:1"), utf8("without a permission"));
  kit.advance(700_000);
  const { username, password } = kit.credentials.issue("p");
  const own = { from: address("8.8.4.4:5001"), username, password };
  kit.allocate(own);
  kit.request(own, STUN_METHOD.REFRESH, (builder) => builder.u32(STUN_ATTRIBUTE.LIFETIME, 0));
  t.equal(lines.length, 4, lines.join(", "));
  t.match(lines[0] ?? "", /^info allocation-created user:alice 8\.8\.4\.4:5000 198\.41\.0\.4:50\d{3}$/);
  t.equal(lines[1], "info allocation-removed user:alice 8.8.4.4:5000 10 2 expired");
  t.match(lines[2] ?? "", /^debug allocation-created peer:p 8\.8\.4\.4:5001 /);
  t.equal(lines[3], "debug allocation-removed peer:p 8.8.4.4:5001 0 0 released");
});

test("a permission is for an IP address, whatever the port (§9)", (t) => {
  const kit = allocated();
  kit.permit(alice(), PEER);
  t.equal(kit.fromPeer(1, PEER.withPort(1), HELLO).length, 1);
  t.equal(kit.datagram(CLIENT, sendIndication(PEER.withPort(2), HELLO)).length, 1);
  t.equal(kit.fromPeer(1, address("9.9.9.10:7000"), HELLO).length, 0);
});

test("ChannelData carries bytes both ways over a bound channel (§12)", (t) => {
  const kit = allocated();
  t.equal(outcome(kit.bind(alice(), 0x4001, PEER)), "success");
  const out = t.must(kit.datagram(CLIENT, wrapChannelData(0x4001, HELLO))[0]);
  t.equal(out.socket, 101);
  t.equal(out.to.key, PEER.key);
  t.same([...out.data], [...HELLO]);
  const back = t.must(kit.fromPeer(1, PEER, HELLO)[0]);
  const framed = t.must(parseChannelData(back.data));
  t.equal(framed.channel, 0x4001);
  t.same([...framed.payload], [...HELLO]);
  const other = t.must(kit.fromPeer(1, PEER.withPort(1), HELLO)[0]);
  t.ok(decodeStun(other.data), "another port of the peer has no channel: a Data indication");
});

test("padding behind ChannelData is not relayed, and empty payloads are (§12.4, §12.6)", (t) => {
  const kit = allocated();
  kit.bind(alice(), 0x4001, PEER);
  const padded = new Uint8Array([...wrapChannelData(0x4001, HELLO), 0, 0, 0]);
  t.same([...t.must(kit.datagram(CLIENT, padded)[0]).data], [...HELLO]);
  t.equal(t.must(kit.datagram(CLIENT, wrapChannelData(0x4001, new Uint8Array()))[0]).data.length, 0);
  t.equal(t.must(kit.fromPeer(1, PEER, new Uint8Array())[0]).data.length, 4);
});

test("many datagrams in one turn keep their bytes, although the framer uses its memory again", (t) => {
  const kit = allocated();
  kit.bind(alice(), 0x4001, PEER);
  for (let round = 0; round < 3; round++) {
    const payloads = Array.from({ length: 300 }, (_, i) => new Uint8Array(1000).fill((i + round) & 0xff));
    for (const payload of payloads) kit.server.handleRelayDatagram(kit.now, 1, PEER, payload);
    kit.pump();
    const sent = kit.take();
    t.equal(sent.length, 300);
    sent.forEach(({ data }, i) => {
      const payload = t.must(parseChannelData(data)).payload;
      t.ok(payload.every((byte) => byte === ((i + round) & 0xff)));
    });
  }
});

test("permissions last 300 s from their last refresh (§9)", (t) => {
  const kit = allocated();
  kit.refresh(alice(), 3600);
  kit.permit(alice(), PEER);
  kit.advance(299_999);
  t.equal(kit.fromPeer(1, PEER, HELLO).length, 1);
  kit.permit(alice(), PEER);
  kit.advance(299_999);
  t.equal(kit.fromPeer(1, PEER, HELLO).length, 1, "sending does not prolong it, CreatePermission did");
  kit.advance(1);
  t.equal(kit.fromPeer(1, PEER, HELLO).length, 0);
  t.equal(kit.datagram(CLIENT, sendIndication(PEER, HELLO)).length, 0);
});

test("channels last 600 s, their permission 300 s; ChannelBind refreshes both (§12)", (t) => {
  const kit = allocated();
  kit.refresh(alice(), 3600);
  kit.bind(alice(), 0x4001, PEER);
  kit.advance(300_000);
  t.equal(kit.datagram(CLIENT, wrapChannelData(0x4001, HELLO)).length, 0, "the permission has lapsed");
  t.equal(outcome(kit.permit(alice(), PEER)), "success");
  t.equal(kit.datagram(CLIENT, wrapChannelData(0x4001, HELLO)).length, 1, "the channel has not");
  kit.advance(299_999);
  t.equal(outcome(kit.bind(alice(), 0x4001, PEER)), "success");
  kit.advance(299_999);
  t.equal(kit.datagram(CLIENT, wrapChannelData(0x4001, HELLO)).length, 1);
  kit.permit(alice(), PEER);
  kit.advance(299_999);
  t.equal(kit.datagram(CLIENT, wrapChannelData(0x4001, HELLO)).length, 1);
  kit.advance(2);
  kit.permit(alice(), PEER);
  t.equal(kit.datagram(CLIENT, wrapChannelData(0x4001, HELLO)).length, 0, "the channel has lapsed");
  t.equal(kit.server.counters.get("no-channel"), 1);
});

test("a number stands for one peer and a peer has one number, until the binding lapses (§12.2)", (t) => {
  const kit = allocated();
  kit.refresh(alice(), 3600);
  const other = PEER.withPort(7001);
  t.equal(outcome(kit.bind(alice(), 0x4001, PEER)), "success");
  t.equal(outcome(kit.bind(alice(), 0x4001, other)), 400, "the number is another peer's");
  t.equal(outcome(kit.bind(alice(), 0x4002, PEER)), 400, "the peer has another number");
  t.equal(outcome(kit.bind(alice(), 0x4002, other)), "success");
  kit.advance(600_000);
  t.equal(outcome(kit.bind(alice(), 0x4001, other)), "success", "all are free after 600 s");
  t.equal(outcome(kit.bind(alice(), 0x4002, PEER)), "success");
  t.equal(t.must(kit.datagram(CLIENT, wrapChannelData(0x4002, HELLO))[0]).to.key, PEER.key);
});

const badBinds: readonly (readonly [string, number, (builder: StunBuilder) => unknown])[] = [
  ["channel 0x3FFF", 400, (b) => b.channelNumber(0x3fff).xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, PEER)],
  ["channel 0x8000", 400, (b) => b.channelNumber(0x8000).xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, PEER)],
  ["no channel number", 400, (b) => b.xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, PEER)],
  ["no peer", 400, (b) => b.channelNumber(0x4000)],
  ["a malformed peer", 400, (b) => b.channelNumber(0x4000).add(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, new Uint8Array(5))],
  [
    "an IPv6 peer",
    443,
    (b) => b.channelNumber(0x4000).xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, address("[2606:4700::1]:1")),
  ],
  [
    "a private peer",
    403,
    (b) => b.channelNumber(0x4000).xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, address("192.168.1.1:1")),
  ],
  ["port 0", 403, (b) => b.channelNumber(0x4000).xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, PEER.withPort(0))],
];

for (const [name, code, add] of badBinds) {
  test(`ChannelBind with ${name} is refused with ${code} (§12.2)`, (t) => {
    const kit = allocated();
    t.equal(outcome(kit.request(alice(), STUN_METHOD.CHANNEL_BIND, add)), code);
  });
}

const badPermissions: readonly (readonly [string, number, (builder: StunBuilder) => unknown])[] = [
  ["no peer", 400, () => {}],
  ["a malformed peer", 400, (b) => b.add(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, new Uint8Array(7))],
  [
    "a good and a malformed peer",
    400,
    (b) => b.xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, PEER).add(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, new Uint8Array(7)),
  ],
  ["an IPv6 peer", 443, (b) => b.xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, address("[2606:4700::1]:1"))],
  [
    "a good and a loopback peer",
    403,
    (b) =>
      b
        .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, PEER)
        .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, address("127.0.0.1:1")),
  ],
];

for (const [name, code, add] of badPermissions) {
  test(`CreatePermission with ${name} is refused with ${code}, as a whole (§10.2)`, (t) => {
    const kit = allocated();
    t.equal(outcome(kit.request(alice(), STUN_METHOD.CREATE_PERMISSION, add)), code);
    t.equal(kit.fromPeer(1, PEER, HELLO).length, 0);
  });
}

test("CreatePermission may name several peers (§10.1)", (t) => {
  const kit = allocated();
  const other = address("9.9.9.10:1");
  t.equal(outcome(kit.permit(alice(), PEER, other)), "success");
  t.equal(kit.fromPeer(1, PEER, HELLO).length, 1);
  t.equal(kit.fromPeer(1, other, HELLO).length, 1);
});

test("without an allocation every request but Allocate gets 437", (t) => {
  const kit = new RelayKit();
  t.equal(outcome(kit.refresh(alice())), 437);
  t.equal(outcome(kit.permit(alice(), PEER)), 437);
  t.equal(outcome(kit.bind(alice(), 0x4000, PEER)), 437);
});

test("permissions and channels are bounded: 508, and what has lapsed makes room", (t) => {
  const kit = allocated();
  kit.refresh(alice(), 3600);
  const peer = (i: number) => address(`9.9.${i >> 8}.${i & 255}:1000`);
  for (let i = 0; i < MAX_PERMISSIONS; i += 32) {
    t.equal(outcome(kit.permit(alice(), ...Array.from({ length: 32 }, (_, k) => peer(i + k)))), "success");
  }
  t.equal(outcome(kit.permit(alice(), peer(MAX_PERMISSIONS))), 508);
  t.equal(outcome(kit.permit(alice(), peer(3))), "success", "a refresh needs no room");
  t.equal(outcome(kit.bind(alice(), 0x4000, peer(MAX_PERMISSIONS))), 508, "a channel's permission needs room too");
  for (let i = 0; i < MAX_CHANNELS; i++) {
    if (outcome(kit.bind(alice(), 0x4000 + i, peer(i))) !== "success") t.fail(`channel ${i}`);
  }
  t.equal(outcome(kit.bind(alice(), 0x4000 + MAX_CHANNELS, peer(0).withPort(1001))), 508);
  kit.advance(600_000);
  t.equal(outcome(kit.bind(alice(), 0x4000 + MAX_CHANNELS, peer(MAX_PERMISSIONS))), "success");
});

test("two allocations of one relay talk without a socket between them", (t) => {
  const kit = new RelayKit();
  const [one, two] = [alice(address("8.8.4.4:1")), alice(address("8.8.8.8:2"))];
  const relayedOf = (sender: Sender) => t.must(getXorAddress(kit.allocate(sender), STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS));
  const [relayedOne, relayedTwo] = [relayedOf(one), relayedOf(two)];
  t.equal(outcome(kit.bind(one, 0x4001, relayedTwo)), "success", "a live allocation of this relay may be reached");
  t.equal(kit.datagram(one.from, wrapChannelData(0x4001, HELLO)).length, 0, "the other side has no permission yet");
  t.equal(outcome(kit.bind(two, 0x4002, relayedOne)), "success");
  const delivered = t.must(kit.datagram(one.from, wrapChannelData(0x4001, HELLO))[0]);
  t.equal(delivered.socket, LISTEN);
  t.equal(delivered.to.key, two.from.key);
  t.equal(parseChannelData(delivered.data)?.channel, 0x4002);

  kit.refresh(two, 0);
  t.equal(kit.datagram(one.from, wrapChannelData(0x4001, HELLO)).length, 0, "its port is no allocation any more");
  t.equal(kit.server.counters.get("denied-peer"), 1);
  t.equal(outcome(kit.bind(one, 0x4003, address(`${RELAY_IP}:${relayedTwo.port + 1}`))), 403);
});

test("a session peer's permission works while the session lasts: 403 before, silence after", (t) => {
  const kit = new RelayKit();
  const peerId = "c".repeat(52);
  const peer: Sender = { from: CLIENT, ...kit.credentials.issue(peerId) };
  kit.allocate(peer);
  t.equal(outcome(kit.permit(peer, PEER)), 403, "a public address, but nobody's");
  t.equal(outcome(kit.bind(peer, 0x4001, PEER)), 403);
  kit.sessions.add(`${peerId}|${PEER.ip}`);
  kit.policy.invalidate();
  t.equal(outcome(kit.bind(peer, 0x4001, PEER)), "success");
  t.equal(kit.datagram(CLIENT, wrapChannelData(0x4001, HELLO)).length, 1);
  t.equal(kit.fromPeer(1, PEER.withPort(9), HELLO).length, 1);

  kit.sessions.clear();
  kit.policy.invalidate();
  t.equal(kit.datagram(CLIENT, wrapChannelData(0x4001, HELLO)).length, 0);
  t.equal(kit.datagram(CLIENT, sendIndication(PEER, HELLO)).length, 0);
  t.equal(kit.fromPeer(1, PEER, HELLO).length, 0);
  t.equal(kit.fromPeer(1, PEER.withPort(9), HELLO).length, 0);
  t.equal(kit.server.counters.get("denied-peer"), 4);
  t.equal(outcome(kit.permit(peer, PEER)), 403);
});

test("Binding tells the client its address; 420 for what it must understand and does not (RFC 8489 §6.3.1)", (t) => {
  const kit = new RelayKit();
  const ask = (add: (builder: StunBuilder) => unknown, fingerprint = false) => {
    const builder = new StunBuilder("request", STUN_METHOD.BINDING, kit.transactionId());
    add(builder);
    return t.must(decodeStun(t.must(kit.datagram(CLIENT, builder.build({ fingerprint }))[0]).data));
  };
  const plain = ask(() => {});
  t.equal(getXorAddress(plain, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS)?.key, CLIENT.key);
  t.equal(plain.fingerprintOffset, -1);
  t.ok(ask(() => {}, true).fingerprintOffset > 0, "a fingerprint is answered by one");
  t.equal(outcome(ask((b) => b.u32(STUN_ATTRIBUTE.CHANGE_REQUEST, 6))), 420);
  t.equal(outcome(ask((b) => b.string(STUN_ATTRIBUTE.SOFTWARE, "x"))), "success");
});

test("what is no request is dropped and counted, never answered", (t) => {
  const kit = allocated();
  const id = kit.transactionId();
  const drops: readonly (readonly [Uint8Array, string])[] = [
    [new Uint8Array(), "malformed"],
    [utf8("GET / HTTP/1.1\r\n\r\n"), "malformed"],
    [new StunBuilder("success", STUN_METHOD.BINDING, id).build(), "unexpected-message"],
    [new StunBuilder("error", STUN_METHOD.ALLOCATE, id).errorCode(400).build(), "unexpected-message"],
    [new StunBuilder("indication", STUN_METHOD.DATA, id).build(), "unexpected-message"],
    [new StunBuilder("request", 0x7ff, id).build(), "unexpected-message"],
    [new StunBuilder("indication", STUN_METHOD.SEND, id).add(STUN_ATTRIBUTE.DATA, HELLO).build(), "malformed"],
    [wrapChannelData(0x4abc, HELLO), "no-channel"],
  ];
  for (const [data, reason] of drops) {
    const before = kit.server.counters.get(reason as "malformed");
    t.equal(kit.datagram(CLIENT, data).length, 0);
    t.equal(kit.server.counters.get(reason as "malformed"), before + 1, reason);
  }
  const damaged = new StunBuilder("request", STUN_METHOD.BINDING, id).build({ fingerprint: true });
  damaged[damaged.length - 1] = (damaged[damaged.length - 1] ?? 0) ^ 1;
  t.equal(kit.datagram(CLIENT, damaged).length, 0);
  t.equal(kit.server.counters.get("bad-fingerprint"), 1);
  t.equal(kit.datagram(CLIENT, new StunBuilder("indication", STUN_METHOD.BINDING, id).build()).length, 0);
});

test("10,000 damaged datagrams: nothing is thrown, nothing allocated, and the standing allocation goes on", (t) => {
  const seed = 4242;
  const random = seededRandom(seed);
  const kit = allocated();
  kit.bind(alice(), 0x4001, PEER);
  const nonce = kit.challenge(address("8.8.4.4:9"));
  const templates = [
    kit.bytes(alice(), STUN_METHOD.ALLOCATE, udp),
    kit.bytes(alice(), STUN_METHOD.REFRESH, (b) => b.u32(STUN_ATTRIBUTE.LIFETIME, 0), { nonce }),
    kit.bytes(alice(), STUN_METHOD.CHANNEL_BIND, (b) => b.channelNumber(0x4005), { nonce }),
    new StunBuilder("request", STUN_METHOD.BINDING, kit.transactionId()).build({ fingerprint: true }),
    sendIndication(PEER, new Uint8Array(100)),
    wrapChannelData(0x4001, new Uint8Array(100)),
    new Uint8Array(64),
  ];
  for (let i = 0; i < 10_000; i++) {
    const data = (templates[i % templates.length] as Uint8Array).slice();
    for (let k = 0; k <= random.float() * 8; k++) data[Math.floor(random.float() * data.length)] = random.float() * 256;
    const cut = random.float() < 0.3 ? data.subarray(0, random.float() * data.length) : data;
    const from = i % 3 === 0 ? CLIENT : address(`8.8.4.${i % 200}:${1 + (i % 60_000)}`);
    try {
      kit.datagram(from, cut);
      kit.fromPeer(1 + (i % 3), from, cut);
    } catch (error) {
      t.fail(`seed ${seed}, datagram ${i}: ${error}`);
    }
  }
  t.equal(kit.server.stats.allocations, 1, `seed ${seed}`);
  t.equal(kit.datagram(CLIENT, wrapChannelData(0x4001, HELLO)).length, 1);
});

test("a client of RFC 5766 may have any channel from 0x4000 to 0x7fff, both ways", (t) => {
  const kit = new RelayKit();
  kit.allocate(alice());
  for (const [number, port] of [
    [0x5000, 7001],
    [0x7fff, 7002],
  ] as const) {
    const peer = PEER.withPort(port);
    t.equal(outcome(kit.bind(alice(), number, peer)), "success");
    const out = kit.datagram(CLIENT, wrapChannelData(number, Uint8Array.of(1, 2, 3)));
    t.same(
      out.map(({ to, data }) => [to.key, [...data]]),
      [[peer.key, [1, 2, 3]]],
    );
    const back = kit.fromPeer(1, peer, Uint8Array.of(4));
    t.same(
      back.map(({ to, data }) => [to.key, [...data]]),
      [[CLIENT.key, [...wrapChannelData(number, Uint8Array.of(4))]]],
    );
  }
});
