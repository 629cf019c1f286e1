import { SocketAddress, utf8 } from "@adit/core";
import { type T, test } from "@adit/harness";
import { getChannelNumber, getXorAddress } from "../src/stun/attributes.ts";
import { isStun } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../src/stun/tables.ts";
import { channelNumberOf, isChannelData, wrapChannelData } from "../src/turn/channel-data.ts";
import { dataIndication, TurnWorld } from "./turn-fake-server.ts";

const PEER = SocketAddress.of("198.51.100.5", 4000);
const PEER6 = SocketAddress.of("2001:db8::5", 4000);
const STRANGER = SocketAddress.of("198.51.100.66", 4000);
const DATA = utf8("some data");

/** The IP addresses for which CreatePermission was sent, in order. */
const permissionsAsked = (world: TurnWorld): string[] =>
  world.server
    .requests(STUN_METHOD.CREATE_PERMISSION)
    .map(({ message }) => getXorAddress(message, STUN_ATTRIBUTE.XOR_PEER_ADDRESS)?.ip ?? "");

function sameReceived(t: T, got: { peer: SocketAddress; data: Uint8Array } | null, peer: SocketAddress): void {
  const { peer: from, data } = t.must(got);
  t.equal(from, peer);
  t.same(data.slice(), DATA);
}

test("a permission is asked for, reported, and lets data through both ways", (t) => {
  const world = TurnWorld.allocated();
  t.notOk(world.client.hasPermission(PEER.ip));
  world.client.addPermission(world.now, PEER.ip);
  t.notOk(world.client.hasPermission(PEER.ip), "not before the relay says so");
  world.run(20);
  t.same(world.events, [{ at: 10, event: { type: "permission", ip: PEER.ip, ok: true, code: null } }]);
  t.ok(world.client.hasPermission(PEER.ip));
  sameReceived(t, world.peerSends(PEER, DATA), PEER);
  t.equal(world.peerSends(STRANGER, DATA), null);
  world.clientSends(PEER, DATA);
  t.same(world.server.relayed, [{ peer: PEER, data: DATA, channel: false }]);
});

test("permissions wished for before the allocation are asked for when it stands", (t) => {
  const world = new TurnWorld();
  world.client.addPermission(0, PEER.ip);
  world.client.bindChannel(0, PEER6);
  world.run(100);
  t.equal(world.server.seen.length, 0);
  world.client.start(world.now);
  world.run(200);
  t.same(world.kinds, ["allocated", "permission", "permission", "channel"]);
  t.ok(world.client.hasPermission(PEER.ip) && world.client.hasPermission(PEER6.ip));
  t.ok(world.client.channelOf(PEER6) !== null);
});

test("an address in any spelling is one permission", (t) => {
  const world = TurnWorld.allocated();
  world.client.addPermission(world.now, "2001:DB8:0::5");
  world.client.addPermission(world.now, "2001:db8::5");
  world.run(20);
  t.equal(permissionsAsked(world).length, 1);
  t.ok(world.client.hasPermission("2001:db8:0:0::5"));
  t.throws(() => world.client.addPermission(world.now, "office.example"), { code: "bad-address" });
});

test("a permission is refreshed before its 300 s are over, and holds all the time", (t) => {
  const world = TurnWorld.allocated();
  world.client.addPermission(world.now, PEER.ip);
  world.run(20);
  for (let at = 1000; at < 3_600_000; at += 1000) {
    world.run(at);
    t.ok(world.client.hasPermission(PEER.ip), `${at}`);
    if (!world.peerSends(PEER, DATA)) t.fail(`the relay let nothing through at ${at}`);
  }
  t.equal(world.kinds.filter((kind) => kind === "permission").length, 1, "a refresh is no news");
  t.ok(permissionsAsked(world).length <= 16);
});

test("a permission whose refreshes are lost is refreshed in time all the same", (t) => {
  const world = TurnWorld.allocated();
  world.client.addPermission(world.now, PEER.ip);
  world.run(20);
  // All but the last of the seven requests of a transaction.
  world.server.script = (request, now) =>
    request.method === STUN_METHOD.CREATE_PERMISSION && now > 240_000 && now < 270_000 ? "drop" : null;
  for (let at = 230_000; at < 330_000; at += 500) {
    world.run(at);
    if (!world.peerSends(PEER, DATA)) t.fail(`lapsed at ${at}`);
  }
  t.ok(world.client.hasPermission(PEER.ip));
});

test("a permission that lapses unanswered is not claimed any more, is asked for on and on, and comes back", (t) => {
  const world = TurnWorld.allocated();
  world.client.addPermission(world.now, PEER.ip);
  world.run(20);
  world.events.length = 0;
  world.server.script = (request) => (request.method === STUN_METHOD.CREATE_PERMISSION ? "drop" : null);
  world.run(299_000);
  t.ok(world.client.hasPermission(PEER.ip));
  t.same(world.events[0]?.event, { type: "permission", ip: PEER.ip, ok: false, code: null });
  world.run(301_000);
  t.notOk(world.client.hasPermission(PEER.ip));
  world.server.script = () => null;
  world.run(340_000);
  t.ok(world.client.hasPermission(PEER.ip));
  t.same(world.events.at(-1)?.event, { type: "permission", ip: PEER.ip, ok: true, code: null });
});

test("403: the permission is refused once and not asked for again until it is added anew", (t) => {
  const world = TurnWorld.allocated();
  world.server.script = (request) => (request.method === STUN_METHOD.CREATE_PERMISSION ? { error: 403 } : null);
  world.client.addPermission(world.now, PEER.ip);
  world.run(1_000_000);
  t.same(world.events, [{ at: 10, event: { type: "permission", ip: PEER.ip, ok: false, code: 403 } }]);
  t.equal(permissionsAsked(world).length, 1);
  t.notOk(world.client.hasPermission(PEER.ip));
  world.server.script = () => null;
  world.client.addPermission(world.now, PEER.ip);
  world.run(1_000_100);
  t.ok(world.client.hasPermission(PEER.ip));
});

test("403 from one allocation is asked again from the next", (t) => {
  const world = TurnWorld.allocated();
  world.server.script = (request) => (request.method === STUN_METHOD.CREATE_PERMISSION ? { error: 403 } : null);
  world.client.addPermission(world.now, PEER.ip);
  world.run(100);
  world.server.script = () => null;
  world.server.forget();
  world.client.probe(world.now);
  world.run(200);
  t.ok(world.client.hasPermission(PEER.ip));
});

test("508 to a permission: it is asked for again after 30 s", (t) => {
  const world = TurnWorld.allocated();
  world.server.script = (request, now) =>
    request.method === STUN_METHOD.CREATE_PERMISSION && now < 20_000 ? { error: 508 } : null;
  world.client.addPermission(world.now, PEER.ip);
  world.run(30_009);
  t.same(
    world.events.map(({ event }) => event),
    [{ type: "permission", ip: PEER.ip, ok: false, code: 508 }],
  );
  world.run(30_010);
  t.ok(world.client.hasPermission(PEER.ip));
});

test("a removed permission is not refreshed, and its data is dropped even while the relay still forwards", (t) => {
  const world = TurnWorld.allocated();
  world.client.bindChannel(world.now, PEER);
  world.run(20);
  world.client.removePermission(PEER.ip);
  t.notOk(world.client.hasPermission(PEER.ip));
  t.equal(world.client.channelOf(PEER), null);
  t.equal(world.peerSends(PEER, DATA), null);
  t.equal(world.client.dropped.get("unknown-channel"), 1);
  t.equal(world.client.handleDatagram(world.now, dataIndication(PEER, DATA)), null);
  t.equal(world.client.dropped.get("no-permission"), 1);
  const before = world.server.seen.length;
  world.run(600_000);
  const later = world.server.seen.slice(before).map(({ method }) => method);
  t.notOk(later.includes(STUN_METHOD.CREATE_PERMISSION) || later.includes(STUN_METHOD.CHANNEL_BIND));
});

test("a permission removed while it is asked for stays removed", (t) => {
  const world = TurnWorld.allocated();
  world.latencyMs = 50;
  world.client.addPermission(world.now, PEER.ip);
  world.run(60);
  world.client.removePermission(PEER.ip);
  world.run(1000);
  t.same(world.events, []);
  t.notOk(world.client.hasPermission(PEER.ip));
});

test("data that overtakes the relay's answer is let in", (t) => {
  const world = TurnWorld.allocated();
  world.client.bindChannel(world.now, PEER);
  t.must(world.client.handleDatagram(world.now, dataIndication(PEER, DATA)));
  t.must(world.client.handleDatagram(world.now, wrapChannelData(0x4000, DATA)));
});

test("a channel: Send indications until it is bound, ChannelData from then on, both ways", (t) => {
  const world = TurnWorld.allocated();
  world.latencyMs = 50;
  world.client.bindChannel(world.now, PEER);
  t.ok(isStun(world.client.send(PEER, DATA)));
  world.run(200);
  t.same(world.kinds, ["permission", "channel"]);
  t.same(world.events.at(-1)?.event, { type: "channel", peer: PEER, ok: true, code: null });
  const datagram = world.client.send(PEER, DATA);
  t.ok(isChannelData(datagram));
  t.equal(datagram.length, DATA.length + 4);
  t.equal(channelNumberOf(datagram), world.client.channelOf(PEER));
  world.clientSends(PEER, DATA);
  t.same(world.server.relayed, [{ peer: PEER, data: DATA, channel: true }]);
  sameReceived(t, world.peerSends(PEER, DATA), PEER);
  t.ok(isStun(world.client.send(STRANGER, DATA)), "another peer of the same relay");
});

test("IPv6 peers and datagrams of every size survive the Send indication", (t) => {
  const world = TurnWorld.allocated();
  world.client.addPermission(world.now, PEER6.ip);
  world.run(20);
  for (let length = 0; length < 1500; length += 37) {
    const data = new Uint8Array(length).fill(length & 0xff);
    world.clientSends(PEER6, data);
    t.same(world.server.relayed.pop(), { peer: PEER6, data, channel: false });
  }
});

test("a channel is refreshed before its 600 s are over, with the same number", (t) => {
  const world = TurnWorld.allocated();
  world.client.bindChannel(world.now, PEER);
  for (let at = 1000; at < 3_600_000; at += 1000) {
    world.run(at);
    const got = world.peerSends(PEER, DATA);
    if (!got || !isChannelData(world.client.send(PEER, DATA))) t.fail(`lapsed at ${at}`);
  }
  const binds = world.server.requests(STUN_METHOD.CHANNEL_BIND);
  t.equal(new Set(binds.map(({ message }) => getChannelNumber(message))).size, 1);
  t.ok(binds.length >= 6 && binds.length <= 7, `${binds.length}`);
  t.equal(world.kinds.filter((kind) => kind === "channel").length, 1);
});

test("a refused channel is reported, and data goes on as Send indications", (t) => {
  const world = TurnWorld.allocated();
  world.server.script = (request) => (request.method === STUN_METHOD.CHANNEL_BIND ? { error: 403 } : null);
  world.client.bindChannel(world.now, PEER);
  world.run(1000);
  t.same(world.events.at(-1)?.event, { type: "channel", peer: PEER, ok: false, code: 403 });
  t.ok(isStun(world.client.send(PEER, DATA)));
});

test("a removed channel's number is not given to another peer before the relay has surely forgotten it", (t) => {
  const world = TurnWorld.allocated();
  world.client.bindChannel(world.now, PEER);
  world.run(20);
  const number = world.client.channelOf(PEER);
  world.latencyMs = 5;
  world.client.removeChannel(world.now, PEER);
  t.equal(world.client.channelOf(PEER), null);
  t.ok(world.client.hasPermission(PEER.ip));
  for (let n = 0; n < 900; n++) world.client.bindChannel(world.now, PEER.withPort(10_000 + n));
  world.run(1000);
  const numbers = world.server
    .requests(STUN_METHOD.CHANNEL_BIND)
    .slice(1)
    .map(({ message }) => getChannelNumber(message));
  t.equal(new Set(numbers).size, 900);
  t.notOk(numbers.includes(number));
  // The peer itself gets its old number, as the relay demands while it remembers.
  world.client.bindChannel(world.now, PEER);
  world.run(1100);
  t.equal(world.client.channelOf(PEER), number);
});

test("1024 channels at most; a removed one makes room 15 minutes later, or with the next allocation", (t) => {
  const world = TurnWorld.allocated();
  world.latencyMs = 5;
  const peer = (n: number) => PEER.withPort(10_000 + n);
  const bound = (n: number) => world.client.channelOf(peer(n)) !== null;
  for (let n = 0; n < 1025; n++) world.client.bindChannel(world.now, peer(n));
  world.run(10_000);
  t.ok(bound(1023));
  t.notOk(bound(1024));
  const refused = world.events.filter(({ event }) => event.type === "channel" && !event.ok);
  t.same(
    refused.map(({ event }) => event),
    [{ type: "channel", peer: peer(1024), ok: false, code: null }],
  );

  world.client.removeChannel(world.now, peer(0));
  world.run(10_000 + 899_000);
  world.client.bindChannel(world.now, peer(1024));
  world.run(world.now + 500);
  t.notOk(bound(1024), "the number and the peer may still be bound at the relay");
  world.run(10_000 + 901_000);
  world.client.bindChannel(world.now, peer(1024));
  world.run(world.now + 500);
  t.ok(bound(1024));

  world.client.removeChannel(world.now, peer(1));
  world.server.forget();
  world.client.probe(world.now);
  world.client.bindChannel(world.now, peer(1025));
  t.notOk(bound(1025));
  world.run(world.now + 500);
  world.client.bindChannel(world.now, peer(1025));
  world.run(world.now + 5000);
  t.ok(bound(1025));
});

test("a thousand permissions at once are asked for 32 at a time; more than 1024 are refused", (t) => {
  const world = TurnWorld.allocated();
  world.latencyMs = 10;
  const ip = (n: number) => `198.51.${n >> 8}.${n & 255}`;
  for (let n = 0; n < 1030; n++) world.client.addPermission(world.now, ip(n));
  let burst = 0;
  while (world.client.pollTransmit()) burst++;
  t.equal(burst, 32);
  world.run(5000);
  const refused = world.events.filter(({ event }) => event.type === "permission" && !event.ok);
  t.equal(refused.length, 6);
  let held = 0;
  for (let n = 0; n < 1030; n++) if (world.client.hasPermission(ip(n))) held++;
  t.equal(held, 1024);
  world.client.removePermission(ip(0));
  world.client.addPermission(world.now, ip(2000));
  world.run(6000);
  t.ok(world.client.hasPermission(ip(2000)));
});

test("a lost allocation: permissions and channels follow to the next one by themselves", (t) => {
  const world = TurnWorld.allocated();
  world.latencyMs = 20;
  world.client.bindChannel(world.now, PEER);
  world.client.addPermission(world.now, PEER6.ip);
  world.run(200);
  world.events.length = 0;
  world.server.forget();
  world.client.probe(world.now);
  world.run(250);
  t.equal(world.client.state, "allocating");
  t.notOk(world.client.hasPermission(PEER.ip), "what the old allocation held is gone");
  t.equal(world.client.channelOf(PEER), null);
  world.run(1200);
  t.same(world.kinds, ["lost", "allocated", "permission", "permission", "channel"]);
  t.ok(world.client.hasPermission(PEER.ip) && world.client.hasPermission(PEER6.ip));
  world.clientSends(PEER, DATA);
  t.same(world.server.relayed, [{ peer: PEER, data: DATA, channel: true }]);
});

test("437 to a permission or a channel tells of the loss too, once", (t) => {
  for (const ask of ["addPermission", "bindChannel"] as const) {
    const world = TurnWorld.allocated();
    world.server.forget();
    if (ask === "addPermission") world.client.addPermission(world.now, PEER.ip);
    else world.client.bindChannel(world.now, PEER);
    world.run(1010);
    t.equal(world.kinds.filter((kind) => kind === "lost").length, 1);
    t.equal(world.kinds.filter((kind) => kind === "allocated").length, 1);
    t.ok(world.client.hasPermission(PEER.ip));
    t.notOk(world.events.some(({ event }) => event.type === "permission" && !event.ok));
  }
});

test("437 to several requests at once is one loss", (t) => {
  const world = TurnWorld.allocated();
  world.latencyMs = 20;
  world.server.forget();
  for (let n = 1; n < 10; n++) world.client.addPermission(world.now, `198.51.100.${n}`);
  world.client.probe(world.now);
  world.run(1010);
  t.equal(world.kinds.filter((kind) => kind === "lost").length, 1);
  t.equal(world.kinds.filter((kind) => kind === "permission").length, 9);
  t.equal(permissionsAsked(world).length, 18);
});

test("requests to a lost allocation are not sent any more", (t) => {
  const world = TurnWorld.allocated();
  let lost = false;
  world.server.script = (request) => (request.method === STUN_METHOD.CREATE_PERMISSION && !lost ? "drop" : null);
  world.client.addPermission(world.now, PEER.ip);
  world.run(100);
  lost = true;
  world.server.forget();
  world.client.probe(world.now);
  world.run(10_000);
  t.ok(world.client.hasPermission(PEER.ip));
  t.equal(permissionsAsked(world).length, 2);
});

test("nothing is relayed without an allocation", (t) => {
  const world = new TurnWorld();
  world.client.addPermission(0, PEER.ip);
  world.client.start(0);
  t.equal(world.client.handleDatagram(0, dataIndication(PEER, DATA)), null);
  t.equal(world.client.handleDatagram(0, wrapChannelData(0x4000, DATA)), null);
  t.equal(world.client.dropped.get("not-allocated"), 2);
});
