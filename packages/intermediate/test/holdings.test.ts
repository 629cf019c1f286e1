import { test } from "@adit/harness";
import { STUN_ATTRIBUTE, STUN_METHOD } from "@adit/ice";
import { Accounts } from "../src/accounts.ts";
import { Allocation, MAX_CHANNELS } from "../src/allocation.ts";
import { FEW, Holdings } from "../src/holdings.ts";
import { address, alice, outcome, PEER, RelayKit } from "./relay-kit.ts";

const request = {
  transactionId: new Uint8Array(12),
  sign: {},
  lifetimeMs: 600_000,
  port: "any",
  families: [4],
  refused: null,
} as const;

function allocationFrom(client: string, holdings: Holdings): Allocation {
  return new Allocation({
    client: address(client),
    clientSocket: 0,
    owner: { kind: "foreign", key: "user:alice" },
    account: new Accounts().of("user:alice"),
    holdings,
    transaction: "",
    request: { ...request, refused: null },
    createdAt: 0,
    expiresAt: 600_000,
  });
}

/** Binds until it is full; how many channels it has then. */
function fill(allocation: Allocation, now = 0): number {
  for (let i = 0; ; i++) {
    const peer = address(`9.9.9.9:${1_000 + i}`);
    if (!allocation.hasRoomFor(now, new Set([peer.ip])) || allocation.bind(now, 0x4000 + i, peer, 0) !== "ok") return i;
    allocation.permit(now, peer.ip);
  }
}

test("the channels of one address are bounded, those of others are not touched, and what ends is given back", (t) => {
  const holdings = new Holdings();
  const allocations = Array.from({ length: 70 }, (_, i) => allocationFrom(`8.8.4.4:${i + 1}`, holdings));
  const filled = allocations.map((one) => fill(one));
  t.same(filled.slice(0, 63), Array(63).fill(MAX_CHANNELS));
  t.same(filled.slice(64), Array(6).fill(FEW), "a few for each");
  t.ok(holdings.size < 65_536 + 70 * 2 * FEW, `${holdings.size}`);
  t.equal(fill(allocationFrom("8.8.4.5:1", holdings)), MAX_CHANNELS, "another address");
  const last = allocations[69];
  t.ok(last?.hasRoomFor(0, new Set(["9.9.9.9"])), "what stands is refreshed");
  t.equal(last?.bind(0, 0x4000, address("9.9.9.9:1000"), 0), "ok");
  for (const one of allocations.slice(0, 2)) one.release();
  t.equal(fill(allocationFrom("8.8.4.4:99", holdings)), MAX_CHANNELS);
});

test("those of all are bounded, whatever the number of addresses; each has a few", (t) => {
  const holdings = new Holdings();
  const filled = Array.from({ length: 300 }, (_, i) =>
    fill(allocationFrom(`8.${8 + (i >> 8)}.${i & 255}.4:1`, holdings)),
  );
  t.equal(filled[0], MAX_CHANNELS);
  t.equal(filled.at(-1), FEW);
  t.ok(holdings.size < 262_144 + 300 * 2 * FEW, `${holdings.size}`);
});

test("what expires, and what ends with its allocation, is held no longer", (t) => {
  const holdings = new Holdings();
  const allocation = allocationFrom("8.8.4.4:1", holdings);
  allocation.permit(0, "9.9.9.9");
  allocation.permit(1, "9.9.9.9");
  allocation.bind(0, 0x4000, PEER, 0);
  allocation.bind(0, 0x4000, PEER, 0);
  t.equal(holdings.size, 2);
  allocation.sweep(300_001);
  t.equal(holdings.size, 1);
  t.equal(allocation.bind(600_001, 0x4001, PEER, 0), "ok", "the peer's other number has expired");
  t.equal(holdings.size, 1);
  allocation.sweep(1_300_000);
  t.equal(holdings.size, 0);
  allocation.permit(0, "9.9.9.9");
  allocation.release();
  allocation.release();
  t.equal(holdings.size, 0);
});

test("a server that is asked for more says 508", (t) => {
  const kit = new RelayKit();
  kit.allocate(alice());
  const bind = (i: number) =>
    kit.request(alice(), STUN_METHOD.CHANNEL_BIND, (b) =>
      b.channelNumber(0x4000 + i).xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, address(`9.9.9.9:${1_000 + i}`)),
    );
  for (let i = 0; i < MAX_CHANNELS; i++) t.equal(outcome(bind(i)), "success");
  t.equal(outcome(bind(MAX_CHANNELS)), 508);
});
