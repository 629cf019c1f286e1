import { FIRST_RELAY_ID, type Millis, nullLogger, SocketAddress, type SocketId, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { decodeStun, getBytes, ServerTimeouts, STUN_ATTRIBUTE } from "@adit/ice";
import type { TurnServer } from "@adit/signaling";
import { RelayKeeper, type RelayWay } from "../src/peer/relay-keeper.ts";

const turn: TurnServer = {
  address: SocketAddress.of("192.0.2.1", 3478),
  username: "user",
  password: "secret",
  realm: "adit",
  expiresInS: 3600,
};

const over = (ip: string): RelayWay => ({ kind: "udp", server: SocketAddress.of(ip, 3478), socket: 0 });

/** A keeper whose relays never answer: it is about which of them it keeps. */
function world() {
  let lastId = FIRST_RELAY_ID - 1;
  let now: Millis = 0;
  const lost: SocketId[] = [];
  const inUse = new Set<SocketId>();
  const timeouts = new ServerTimeouts();
  const sentAt: Millis[] = [];
  const keeper = new RelayKeeper({
    timeouts,
    random: seededRandom(1),
    log: nullLogger,
    newId: () => ++lastId,
    addSocket: () => 0,
    removeSocket: () => {},
    now: () => now,
    wake: () => {},
    isInUse: (relay) => inUse.has(relay),
    onAllocated: () => {},
    onLost: (_now, relay) => lost.push(relay),
    onPermission: () => {},
  });
  const runTo = (end: Millis): void => {
    for (let due = keeper.pollTimeout(); due && due.at <= end; due = keeper.pollTimeout()) {
      now = Math.max(now, due.at);
      keeper.handleTimeout(now);
      while (keeper.pollTransmit()) sentAt.push(now);
      keeper.pump(now);
    }
    now = end;
  };
  return { keeper, timeouts, sentAt, lost, inUse, runTo, ids: () => keeper.all().map(({ id }) => id), now: () => now };
}

/** RFC 8656 §18.4. */
const IPV6 = 0x02;

const [first, second] = [FIRST_RELAY_ID, FIRST_RELAY_ID + 1];

test("the same way with other credentials is the same relay", (t) => {
  const { keeper, ids } = world();
  keeper.use(0, { way: over("192.0.2.1"), turn });
  keeper.use(10, { way: over("192.0.2.1"), turn: { ...turn, password: "another" } });
  t.same(ids(), [first]);
});

test("a relay that is silent is asked again after the time in which its server answers", (t) => {
  const { keeper, timeouts, sentAt, runTo } = world();
  timeouts.suppose(0, "192.0.2.1", 40);
  keeper.use(0, { way: over("192.0.2.1"), turn });
  runTo(1000);
  t.same(sentAt, [120, 360, 840]);
});

test("another way is another relay; the former one goes when no session is on it any more", (t) => {
  const { keeper, lost, inUse, runTo, ids } = world();
  keeper.use(0, { way: over("192.0.2.1"), turn });
  inUse.add(first);
  keeper.use(0, { way: over("192.0.2.2"), turn });
  t.same(ids(), [second, first]);
  runTo(30_000);
  t.same([ids(), lost], [[second, first], []]);
  inUse.clear();
  runTo(40_000);
  t.same([ids(), lost], [[second], [first]]);
});

test("and after a minute at the latest", (t) => {
  const { keeper, lost, inUse, runTo, ids } = world();
  keeper.use(0, { way: over("192.0.2.1"), turn });
  inUse.add(first);
  keeper.use(0, null);
  runTo(59_000);
  t.same(lost, []);
  runTo(70_000);
  t.same([ids(), lost], [[], [first]]);
});

test("former relays are bounded: with many changes the oldest is lost at once", (t) => {
  const { keeper, lost, inUse, ids } = world();
  for (let i = 0; i < 6; i++) {
    inUse.add(FIRST_RELAY_ID + i);
    keeper.use(0, { way: over(`192.0.2.${i + 1}`), turn });
  }
  t.same(ids().length, 4);
  t.same(lost, [first, second]);
});

test("a relay that is reached over IPv6 is asked for addresses of both families (RFC 8656 §7.2), for peers with IPv4 alone", (t) => {
  const asked = (ip: string) => {
    const { keeper } = world();
    keeper.use(0, { way: over(ip), turn });
    const request = t.must(decodeStun(t.must(keeper.pollTransmit()).data));
    return [STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY, STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY].map(
      (type) => getBytes(request, type)?.[0] ?? null,
    );
  };
  t.same(asked("2001:db8::1"), [IPV6, null]);
  t.same(asked("192.0.2.1"), [null, null], "each costs the relay a port; who has IPv6 alone asks by itself");
});
