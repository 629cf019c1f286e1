import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { getU8, getU32, hasAttribute } from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../src/stun/tables.ts";
import { MAPPED, RELAY, TurnWorld } from "./turn-fake-server.ts";

const PEER = SocketAddress.of("198.51.100.5", 4000);

test("start: the first Allocate is unsigned, the challenge is answered, the allocation is reported", (t) => {
  const world = new TurnWorld();
  t.equal(world.client.state, "idle");
  world.latencyMs = 20;
  world.client.start(0);
  t.equal(world.client.state, "allocating");
  t.equal(world.client.relayedAddress, null);
  world.run(100);
  const [first, second] = world.server.requests(STUN_METHOD.ALLOCATE);
  t.equal(world.server.seen.length, 2);
  t.notOk(first?.signed);
  t.ok(second?.signed);
  t.equal(getU8(t.must(second).message, STUN_ATTRIBUTE.REQUESTED_TRANSPORT), 17);
  t.notOk(hasAttribute(t.must(second).message, STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY));
  t.equal(world.client.state, "allocated");
  t.same(world.events, [
    { at: 80, event: { type: "allocated", relayed: RELAY.withPort(50_000), additional: null, mapped: MAPPED } },
  ]);
  t.equal(world.client.relayedAddress, RELAY.withPort(50_000));
  t.equal(world.client.mappedAddress, MAPPED);
});

test("an address family can be asked for", (t) => {
  const world = TurnWorld.allocated({ family: 6 });
  t.equal(getU8(t.must(world.server.seen[1]).message, STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY), 2);
});

test("both families are asked for in one allocation, and one is enough where there is no other (RFC 8656 §7.1)", (t) => {
  const six = SocketAddress.of("2001:db8::5", 50_001);
  for (const additional of [six, null]) {
    const world = new TurnWorld({ family: "both" });
    world.server.additional = additional;
    world.client.start(0);
    world.run(100);
    const { message } = t.must(world.server.seen[1]);
    t.equal(getU8(message, STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY), 2);
    t.equal(getU8(message, STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY), null, "they exclude each other");
    t.equal(world.client.relayedAddress?.family, 4);
    t.equal(world.client.additionalAddress?.key ?? null, additional?.key ?? null);
  }
});

test("a second address that was not asked for is not believed, nor one of the same family", (t) => {
  const world = new TurnWorld();
  const twice = new TurnWorld({ family: "both" });
  for (const [one, extra] of [
    [world, "2001:db8::5"],
    [twice, "192.0.2.77"],
  ] as const) {
    one.server.script = (request) =>
      hasAttribute(request, STUN_ATTRIBUTE.MESSAGE_INTEGRITY)
        ? {
            tamper: () => [
              new StunBuilder("success", request.method, request.transactionId)
                .xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, SocketAddress.of("192.0.2.1", 50_000))
                .xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, SocketAddress.of(extra, 50_001))
                .build({ key: one.server.key("user") }),
            ],
          }
        : null;
    one.client.start(0);
    one.run(100);
    t.equal(one.client.state, "allocated");
    t.equal(one.client.additionalAddress, null);
  }
});

test("start is idempotent, and does nothing after close", (t) => {
  const world = TurnWorld.allocated();
  world.client.start(world.now);
  world.run(20);
  t.equal(world.server.seen.length, 2);
  world.client.close(world.now);
  world.run(30);
  world.client.start(world.now);
  t.equal(world.client.state, "closed");
  world.run(1000);
  t.equal(world.server.requests(STUN_METHOD.ALLOCATE).length, 2);
});

test("a silent relay: Allocate is sent 7 times, then the allocation has failed", (t) => {
  const world = new TurnWorld();
  world.server.script = () => "drop";
  world.client.start(0);
  world.run(39_499);
  t.equal(world.client.state, "allocating");
  t.same(
    world.server.seen.map(({ at }) => at),
    [0, 500, 1500, 3500, 7500, 15_500, 31_500],
  );
  world.run(60_000);
  t.equal(world.client.state, "failed");
  const reason = "the relay does not answer";
  t.same(world.events, [
    { at: 39_500, event: { type: "failed", code: null, reason, retryAfterMs: 5000, alternateServer: null } },
  ]);
  t.equal(world.server.seen.length, 7);
  t.equal(world.client.pollTimeout(), null, "nothing is due until start is called");
});

test("a lost answer is asked for again", (t) => {
  const world = new TurnWorld();
  world.server.script = (_, now) => (now < 1000 ? "drop" : null);
  world.client.start(0);
  world.run(1499);
  t.equal(world.client.state, "allocating");
  world.run(1500);
  t.equal(world.client.state, "allocated");
});

test("errors to Allocate fail with the relay's code, and say when another try has a chance", (t) => {
  const minute = 60_000;
  for (const [code, retryAfterMs] of [
    [300, null],
    [403, null],
    [440, null],
    [441, null],
    [442, null],
    [486, minute],
    [500, 10_000],
    [508, minute],
  ] as const) {
    const world = new TurnWorld();
    const alternate = SocketAddress.of("192.0.2.99", 3478);
    world.server.script = (request) =>
      request.integrityOffset < 0 ? null : { error: code, ...(code === 300 ? { alternate } : {}) };
    world.client.start(0);
    world.run(10);
    t.equal(world.client.state, "failed", `${code}`);
    const { event } = t.must(world.events[0]);
    t.equal(world.events.length, 1);
    if (event.type !== "failed") return t.fail(event.type);
    t.equal(event.code, code);
    t.equal(event.retryAfterMs, retryAfterMs);
    t.equal(event.alternateServer, code === 300 ? alternate : null);
    // And another try, with the challenge remembered, works when the reason is gone.
    world.server.script = () => null;
    world.client.start(world.now);
    world.run(20);
    t.equal(world.client.state, "allocated");
    t.equal(world.server.seen.length, 3);
  }
});

test("437 to Allocate: what is left of a former life is deleted, then the allocation is made", (t) => {
  const former = TurnWorld.allocated();
  const world = new TurnWorld();
  world.server.allocation = t.must(former.server.allocation);
  world.client.start(0);
  world.run(10);
  t.equal(world.client.state, "allocated");
  const release = world.server.requests(STUN_METHOD.REFRESH);
  t.equal(release.length, 1);
  t.equal(getU32(t.must(release[0]).message, STUN_ATTRIBUTE.LIFETIME), 0);
  t.same(world.kinds, ["allocated"]);
});

test("437 again and again fails", (t) => {
  const world = new TurnWorld();
  world.server.script = (request) =>
    request.integrityOffset >= 0 && request.method === STUN_METHOD.ALLOCATE ? { error: 437 } : null;
  world.client.start(0);
  world.run(60_000);
  t.equal(world.client.state, "failed");
  t.equal(world.server.requests(STUN_METHOD.ALLOCATE).length, 4);
  t.same(world.kinds, ["failed"]);
});

test("the allocation is refreshed before it runs out, for hours", (t) => {
  const world = TurnWorld.allocated();
  world.run(6 * 3_600_000);
  t.equal(world.client.state, "allocated");
  t.same(world.events, []);
  const refreshes = world.server.requests(STUN_METHOD.REFRESH);
  t.ok(refreshes.length >= 36 && refreshes.length <= 41, `${refreshes.length}`);
  t.equal(refreshes[0]?.at, 540_000);
});

test("a short lifetime is refreshed at half, a long one is not believed beyond an hour", (t) => {
  const short = new TurnWorld();
  short.server.lifetimeS = 40;
  short.client.start(0);
  short.run(100_000);
  t.same(
    short.server.requests(STUN_METHOD.REFRESH).map(({ at }) => at),
    [20_000, 40_000, 60_000, 80_000, 100_000],
  );
  const long = new TurnWorld();
  long.server.lifetimeS = 0xffffffff;
  long.client.start(0);
  long.run(3_600_000);
  t.equal(long.server.requests(STUN_METHOD.REFRESH).length, 1);
});

test("a refresh that is refused for another reason is tried again while the allocation stands", (t) => {
  const world = TurnWorld.allocated();
  world.server.script = (_, now) => (now < 570_000 ? { error: 500 } : null);
  world.run(700_000);
  t.equal(world.client.state, "allocated");
  t.same(world.events, []);
  t.same(
    world.server.requests(STUN_METHOD.REFRESH).map(({ at }) => at),
    [540_000, 550_000, 560_000, 570_000],
  );
});

test("a lost allocation (437 to a refresh) is reported and made anew within a second", (t) => {
  const world = TurnWorld.allocated();
  world.latencyMs = 50;
  world.run(100_000);
  world.server.forget();
  world.client.probe(world.now);
  world.run(101_000);
  t.same(world.kinds, ["lost", "allocated"]);
  const [lost, again] = world.events;
  t.equal(lost?.at, 100_100);
  t.ok(t.must(again).at - 100_000 <= 1000);
  t.equal(world.client.relayedAddress, RELAY.withPort(50_001), "another address");
});

test("a refresh that grants no lifetime is a loss too", (t) => {
  const world = TurnWorld.allocated();
  world.server.lifetimeS = 0;
  world.client.probe(world.now);
  world.server.script = (request) => {
    world.server.lifetimeS = request.method === STUN_METHOD.ALLOCATE ? 600 : 0;
    return null;
  };
  world.run(1000);
  t.same(world.kinds, ["lost", "allocated"]);
});

test("a network that is silent for a minute keeps its allocation", (t) => {
  const world = TurnWorld.allocated();
  world.run(500_000);
  world.cut = true;
  world.client.probe(world.now);
  world.run(560_000);
  world.cut = false;
  world.run(640_000);
  t.equal(world.client.state, "allocated");
  t.same(world.events, []);
  t.equal(world.client.relayedAddress, RELAY.withPort(50_000));
});

test("a network that is silent beyond the lifetime loses it, and the client says when it has another", (t) => {
  const world = TurnWorld.allocated();
  world.cut = true;
  world.run(620_000);
  t.same(world.kinds, ["lost"]);
  t.equal(world.events[0]?.at, 600_000);
  world.cut = false;
  world.run(640_000);
  t.same(world.kinds, ["lost", "allocated"]);
});

test("after sleep beyond the lifetime the first thing is a new allocation", (t) => {
  const world = TurnWorld.allocated();
  world.now = 5_000_000; // nobody called for 83 minutes
  world.client.handleTimeout(world.now);
  world.run(world.now + 10);
  t.same(world.kinds, ["lost", "allocated"]);
});

test("probe: asks at once, and no more often than the answer can come", (t) => {
  const world = TurnWorld.allocated();
  world.cut = true;
  const sent: number[] = [];
  const watch = () => {
    for (let out = world.client.pollTransmit(); out; out = world.client.pollTransmit()) sent.push(world.now);
  };
  for (world.now = 1000; world.now < 2000; world.now += 50) {
    world.client.probe(world.now);
    watch();
  }
  t.same(sent, [1000, 1200, 1400, 1600, 1800]);
  // Long silence backs off to 16 s between requests; a probe does not wait for that.
  world.cut = false;
  world.client.probe(2500);
  world.run(2510);
  t.equal(world.server.requests(STUN_METHOD.REFRESH).length, 1);
  t.equal(world.client.state, "allocated");
});

test("keepalive: something goes to the relay at least every 25 s, so that the NAT keeps the mapping", (t) => {
  const world = TurnWorld.allocated();
  world.run(3_600_000);
  let last = 0;
  for (const { at } of world.server.seen) {
    t.ok(at - last <= 25_000, `${last}..${at}`);
    last = at;
  }
  const keepalives = world.server.seen.filter(({ message }) => message.class === "indication");
  t.ok(keepalives.every(({ method }) => method === STUN_METHOD.BINDING));
  t.ok(keepalives.length < 3600 / 14, `${keepalives.length}`);
});

test("close releases the allocation, and answers to that need nobody", (t) => {
  const world = TurnWorld.allocated();
  world.client.addPermission(world.now, PEER.ip);
  world.run(100);
  world.events.length = 0;
  world.client.close(world.now);
  t.equal(world.client.state, "closed");
  t.equal(world.client.relayedAddress, null);
  world.run(1_000_000);
  const [release, ...others] = world.server.requests(STUN_METHOD.REFRESH);
  t.equal(others.length, 0);
  t.equal(getU32(t.must(release).message, STUN_ATTRIBUTE.LIFETIME), 0);
  t.equal(world.server.allocation, null);
  t.same(world.events, []);
  t.equal(world.client.pollTimeout(), null);
});

test("close: a release that is not answered is sent 3 times, a stale nonce is renewed", (t) => {
  const silent = TurnWorld.allocated();
  silent.server.script = () => "drop";
  silent.client.close(silent.now);
  silent.run(100_000);
  t.same(
    silent.server.requests(STUN_METHOD.REFRESH).map(({ at }) => at),
    [10, 110, 310],
  );
  const stale = TurnWorld.allocated();
  stale.server.nonce = "nonce-2";
  stale.client.close(stale.now);
  stale.run(100);
  t.equal(stale.server.allocation, null);
});

test("close while allocating asks to delete what the answer would have brought", (t) => {
  const world = new TurnWorld();
  world.latencyMs = 50;
  world.client.start(0);
  world.run(120); // the signed Allocate is on its way
  world.client.close(world.now);
  world.run(1000);
  t.equal(world.server.allocation, null);
  t.same(world.events, []);
  const idle = new TurnWorld();
  idle.client.close(0);
  idle.run(1000);
  t.equal(idle.server.seen.length, 0);
});

test("a grant without a relayed address is a failure", (t) => {
  const world = new TurnWorld();
  world.server.script = (request) =>
    request.integrityOffset < 0
      ? null
      : {
          tamper: () => [
            new StunBuilder("success", request.method, request.transactionId)
              .u32(STUN_ATTRIBUTE.LIFETIME, 600)
              .build({ key: world.server.key("user") }),
          ],
        };
  world.client.start(0);
  world.run(10);
  t.same(world.kinds, ["failed"]);
});

const ALTERNATE = SocketAddress.of("192.0.2.99", 3478);

test("a client that may follow goes once where a 300 points, with the challenge of the new server (RFC 8489 §10)", (t) => {
  for (const signed of [false, true]) {
    const world = new TurnWorld({ followAlternate: true });
    world.server.script = (request) => {
      if (world.client.server.equals(ALTERNATE)) return null;
      return signed && request.integrityOffset < 0 ? null : { error: 300, signed, alternate: ALTERNATE };
    };
    world.client.start(0);
    world.run(10);
    t.equal(world.client.state, "allocated", signed ? "signed" : "unsigned");
    t.equal(world.client.server.key, ALTERNATE.key);
    t.same(world.kinds, ["allocated"]);
    world.client.addPermission(world.now, "198.51.100.5");
    world.run(20);
    t.ok(world.client.hasPermission("198.51.100.5"));
    t.same([...world.sentTo], [RELAY.key, ALTERNATE.key]);
  }
});

test("a second 300, one to the same server, and one to another family are failures that name the alternate", (t) => {
  for (const [alternates, sentTo] of [
    [
      [ALTERNATE, SocketAddress.of("192.0.2.77", 3478)],
      [RELAY.key, ALTERNATE.key],
    ],
    [[RELAY], [RELAY.key]],
    [[SocketAddress.of("2001:db8::1", 3478)], [RELAY.key]],
  ] as const) {
    const world = new TurnWorld({ followAlternate: true });
    let asked = 0;
    world.server.script = () => ({ error: 300, alternate: alternates[asked++] as SocketAddress });
    world.client.start(0);
    world.run(10);
    t.equal(world.client.state, "failed");
    t.same([...world.sentTo], [...sentTo]);
    const { event } = t.must(world.events[0]);
    if (event.type !== "failed") return t.fail(event.type);
    t.equal(t.must(event.alternateServer).key, alternates[alternates.length - 1]?.key);
  }
});

test("over a stream requests are sent once and given up after 39.5 s (RFC 8489 §6.2.2)", (t) => {
  const world = new TurnWorld({ transport: "tcp" });
  world.server.script = () => "drop";
  world.client.start(0);
  world.run(60_000);
  t.equal(world.server.seen.length, 1);
  t.same(
    world.events.map(({ at, event }) => [at, event.type]),
    [[39_500, "failed"]],
  );
});
