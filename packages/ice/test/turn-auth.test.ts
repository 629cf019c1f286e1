import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { getNonce, getUsername } from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import { shortTermKey } from "../src/stun/integrity.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../src/stun/tables.ts";
import { TurnClient } from "../src/turn/client.ts";
import { RELAY, TurnWorld } from "./turn-fake-server.ts";

const PEER = SocketAddress.of("198.51.100.5", 4000);

test("401 to signed requests: wrong credentials are tried once, then the allocation has failed", (t) => {
  const world = new TurnWorld({ password: "wrong" });
  world.client.start(0);
  world.run(60_000);
  t.equal(world.server.seen.length, 2);
  t.equal(world.client.state, "failed");
  const { event } = t.must(world.events[0]);
  t.ok(event.type === "failed" && event.code === 401 && event.retryAfterMs === null);
  // Other credentials may have more luck; the challenge is remembered.
  world.client.setCredentials(world.now, { username: "user", password: "pass" });
  world.client.start(world.now);
  world.run(world.now + 10);
  t.equal(world.client.state, "allocated");
  t.equal(world.server.seen.length, 3);
});

test("credentials set while the wrong ones are under way are used at the 401", (t) => {
  const world = new TurnWorld({ password: "wrong" });
  world.latencyMs = 50;
  world.client.start(0);
  world.run(120);
  world.client.setCredentials(world.now, { username: "user", password: "pass" });
  world.run(1000);
  t.same(world.kinds, ["allocated"]);
});

test("438: a stale nonce is renewed for every request under way", (t) => {
  const world = TurnWorld.allocated();
  world.server.nonce = "nonce-2";
  world.client.addPermission(world.now, PEER.ip);
  world.client.bindChannel(world.now, PEER);
  world.client.probe(world.now);
  world.run(100);
  t.same(world.kinds, ["permission", "channel"]);
  const nonces = world.server.seen.slice(2).map(({ message }) => getNonce(message));
  t.equal(nonces.filter((nonce) => nonce === "nonce-1").length, 3);
  t.equal(nonces.filter((nonce) => nonce === "nonce-2").length, 3);
  world.client.probe(world.now);
  world.run(200);
  t.equal(getNonce(t.must(world.server.seen.at(-1)).message), "nonce-2", "and remembered");
});

test("a server that never has enough of challenging is given up", (t) => {
  const world = new TurnWorld();
  world.server.script = (request) => (request.integrityOffset < 0 ? null : { error: 438 });
  world.client.start(0);
  world.run(60_000);
  t.equal(world.server.seen.length, 5);
  t.equal(world.client.state, "failed");
  const { event } = t.must(world.events[0]);
  t.ok(event.type === "failed" && event.code === 438);
});

test("another realm than the configured one is refused", (t) => {
  const world = new TurnWorld({ realm: "elsewhere" });
  world.client.start(0);
  world.run(60_000);
  t.equal(world.server.seen.length, 1, "nothing was signed for it");
  const { event } = t.must(world.events[0]);
  if (event.type !== "failed") return t.fail(event.type);
  t.match(event.reason, /realm is "adit", not "elsewhere"/);
  t.equal(TurnWorld.allocated({ realm: "adit" }).client.state, "allocated");
});

test("renewed credentials of another user name: the allocation stays with the old ones while they are good", (t) => {
  const world = TurnWorld.allocated();
  world.server.users.set("user-2", "pass-2");
  world.client.setCredentials(world.now, { username: "user-2", password: "pass-2" });
  world.client.probe(world.now);
  world.run(100);
  t.equal(getUsername(t.must(world.server.seen.at(-1)).message), "user");
  t.same(world.events, []);
  // The relay loses the allocation: the next one is made with the new ones.
  world.server.forget();
  world.client.probe(world.now);
  world.run(200);
  t.same(world.kinds, ["lost", "allocated"]);
  t.equal(world.server.allocation?.username, "user-2");
});

test("renewed credentials when the old ones have expired: the new ones carry the allocation on, where the relay lets them", (t) => {
  const world = TurnWorld.allocated();
  world.server.lenient = true;
  world.server.users.delete("user");
  world.server.users.set("user-2", "pass-2");
  world.client.setCredentials(world.now, { username: "user-2", password: "pass-2" });
  world.client.addPermission(world.now, PEER.ip);
  world.run(700_000);
  t.same(world.kinds, ["permission"]);
  t.equal(world.client.relayedAddress, RELAY.withPort(50_000));
});

test("renewed credentials that the relay does not take for the old allocation (441): it runs out, then comes another", (t) => {
  const world = TurnWorld.allocated();
  world.server.users.delete("user");
  world.server.users.set("user-2", "pass-2");
  world.client.setCredentials(world.now, { username: "user-2", password: "pass-2" });
  world.run(700_000);
  t.same(world.kinds, ["lost", "allocated"]);
  t.equal(world.events[0]?.at, 600_000);
});

test("a relay that was restarted: it knows neither us nor our credentials; with new ones all is back within a second", (t) => {
  const world = TurnWorld.allocated();
  world.latencyMs = 20;
  world.client.bindChannel(world.now, PEER);
  world.run(1000);
  world.events.length = 0;
  world.server.forget();
  world.server.nonce = "nonce-2";
  world.server.users.delete("user");
  world.server.users.set("user-2", "pass-2");
  world.client.probe(world.now);
  world.client.addPermission(world.now, "198.51.100.9");
  world.run(3000);
  t.same(world.kinds, ["permission"]);
  t.same(world.events[0]?.event, { type: "permission", ip: "198.51.100.9", ok: false, code: 401 });
  world.client.setCredentials(world.now, { username: "user-2", password: "pass-2" });
  world.run(4000);
  t.same(world.kinds, ["permission", "lost", "allocated", "permission", "permission", "channel"]);
  t.ok(world.client.hasPermission(PEER.ip) && world.client.hasPermission("198.51.100.9"));
});

test("a new password of the same user name is used at once", (t) => {
  const world = TurnWorld.allocated();
  world.server.users.set("user", "new");
  world.client.setCredentials(world.now, { username: "user", password: "new" });
  world.client.probe(world.now);
  world.run(100);
  t.equal(world.server.requests(STUN_METHOD.REFRESH).length, 1);
  t.equal(world.client.state, "allocated");
  t.equal(world.client.dropped.total(), 0);
});

test("forged answers: without integrity, or with another key's, they are dropped and the request goes on", (t) => {
  const world = new TurnWorld();
  world.latencyMs = 10;
  const forged = (id: Uint8Array, method: number, key: Uint8Array | null) =>
    new StunBuilder("success", method, id)
      .xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, SocketAddress.of("192.0.2.66", 666))
      .u32(STUN_ATTRIBUTE.LIFETIME, 600)
      .build({ key });
  world.server.script = (request) =>
    request.integrityOffset < 0
      ? null
      : {
          tamper: (answer) => [
            forged(request.transactionId, request.method, null),
            forged(request.transactionId, request.method, shortTermKey("guess")),
            flipped(answer),
            answer,
          ],
        };
  world.client.start(0);
  world.run(100);
  t.same(world.kinds, ["allocated"]);
  t.equal(world.client.relayedAddress, RELAY.withPort(50_000));
  t.equal(world.client.dropped.get("bad-integrity"), 3);
});

test("forged errors: a 437 without integrity does not lose the allocation", (t) => {
  const world = TurnWorld.allocated();
  for (const code of [300, 400, 403, 437, 441, 486, 500]) {
    world.server.script = () => ({ error: code, signed: false });
    world.client.probe(world.now);
    world.run(world.now + 50); // before it is sent again
    world.server.script = () => null;
    world.client.probe(world.now + 400);
    world.run(world.now + 500);
    t.equal(world.client.state, "allocated");
  }
  t.same(world.events, []);
  t.equal(world.client.dropped.get("bad-integrity"), 7);
});

test("if every answer fails its integrity, the reason says so rather than silence (RFC 8489 §9.2.5)", (t) => {
  const world = new TurnWorld();
  world.server.script = (request) => (request.integrityOffset < 0 ? null : { error: 400, signed: false });
  world.client.start(0);
  world.run(60_000);
  const { event } = t.must(world.events[0]);
  if (event.type !== "failed") return t.fail(event.type);
  t.equal(event.code, null);
  t.match(event.reason, /integrity/);
});

test("answers with another transaction ID or method, repeated answers, and requests are dropped", (t) => {
  const world = new TurnWorld();
  const key = () => world.server.key("user");
  world.server.script = (request) =>
    request.integrityOffset < 0
      ? null
      : {
          tamper: (answer) => [
            new StunBuilder("success", request.method, new Uint8Array(12)).build({ key: key() }),
            new StunBuilder("success", STUN_METHOD.REFRESH, request.transactionId).build({ key: key() }),
            new StunBuilder("request", request.method, request.transactionId).build({ key: key() }),
            answer,
            answer,
          ],
        };
  world.client.start(0);
  world.run(100);
  t.same(world.kinds, ["allocated"]);
  t.equal(world.client.dropped.get("unmatched"), 3);
  t.equal(world.client.dropped.get("unexpected"), 1);
});

test("a challenge for a request that is not ours changes nothing", (t) => {
  const world = TurnWorld.allocated();
  const challenge = new StunBuilder("error", STUN_METHOD.REFRESH, new Uint8Array(12))
    .errorCode(438)
    .string(STUN_ATTRIBUTE.REALM, "adit")
    .string(STUN_ATTRIBUTE.NONCE, "evil")
    .build();
  world.client.handleDatagram(world.now, challenge);
  world.client.probe(world.now);
  world.run(100);
  t.equal(getNonce(t.must(world.server.seen.at(-1)).message), "nonce-1");
});

test("an answer with attributes that must be understood and are not fails the operation (RFC 8489 §6.3.3)", (t) => {
  const world = new TurnWorld();
  world.server.script = (request) =>
    request.integrityOffset < 0
      ? null
      : {
          tamper: () => [
            new StunBuilder("success", request.method, request.transactionId)
              .xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, RELAY)
              .empty(0x7abc)
              .build({ key: world.server.key("user") }),
          ],
        };
  world.client.start(0);
  world.run(100);
  t.same(world.kinds, ["failed"]);
});

test("a relay without authentication is served too", (t) => {
  const world = new TurnWorld();
  world.server.script = (request) => ({
    tamper: () => [
      new StunBuilder("success", request.method, request.transactionId)
        .xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, RELAY.withPort(50_000))
        .build(),
    ],
  });
  world.client.start(0);
  world.run(10);
  t.same(world.kinds, ["allocated"]);
});

test("a user name that cannot be sent is refused where it is given", (t) => {
  const options = { server: RELAY, socket: 0, relaySocket: 1000, password: "p" };
  const random = { bytes: (length: number) => new Uint8Array(length), float: () => 0 };
  t.throws(() => new TurnClient({ ...options, random, username: "u".repeat(509) }), { code: "bad-stun-message" });
  const client = new TurnClient({ ...options, random, username: "u".repeat(508) });
  t.throws(() => client.setCredentials(0, { username: "ü".repeat(255), password: "p" }), { code: "bad-stun-message" });
});

function flipped(answer: Uint8Array): Uint8Array {
  const bad = answer.slice();
  bad[24] = (bad[24] ?? 0) ^ 1;
  return bad;
}
