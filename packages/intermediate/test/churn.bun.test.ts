/**
 * Clients and allocations that come and go: nothing is left of them, neither in the tables nor on the heap. The long version is
 * bench/intermediate/churn.ts.
 */
import { test } from "@adit/harness";
import { Identity } from "@adit/quic";
import { address, alice, outcome, PEER, RelayKit } from "./relay-kit.ts";
import { type Peer, SignalingKit } from "./signaling-kit.ts";

const heapBytes = (): number => {
  Bun.gc(true);
  Bun.gc(true);
  return process.memoryUsage().heapUsed;
};

/** What a round adds to the heap, bytes: the median of so many, when code is compiled and caches are full, which takes some rounds. */
async function growth(warm: number, measured: number, round: () => void | Promise<void>): Promise<number> {
  for (let n = 0; n < warm; n++) await round();
  const added: number[] = [];
  for (let n = 0, before = heapBytes(); n < measured; n++) {
    await round();
    const after = heapBytes();
    added.push(after - before);
    before = after;
  }
  return added.sort((a, b) => a - b)[measured >> 1] as number;
}

test("clients that come, meet and go, every third without a word, leave nothing", async (t) => {
  const CLIENTS = 60;
  const kit = new SignalingKit();
  kit.limits = { ...kit.limits, handshakesPerIpPerSecond: 1e6, clientsPerIp: 1e6, messagesPerSecond: 1e6 };
  // The same ones come again, as connectors do.
  const identities = Array.from({ length: CLIENTS }, () => Identity.generate());
  const perRound = await growth(3, 5, async () => {
    const peers = identities.map((identity, i): Peer => {
      const role = i % 2 === 0 ? "connector" : "agent";
      return kit.join(role, { identity, ...(role === "connector" && { name: `c-${i}` }) });
    });
    await kit.until("all are welcome", () => kit.server.rendezvous.registrations().length === CLIENTS / 2);
    for (const [i, peer] of peers.entries()) {
      if (i % 2 === 0) continue;
      peer.say(kit.now, { type: "connect", sessionId: BigInt(i), target: `c-${i - 1}`, expectedPeer: null });
    }
    await kit.until("they are introduced", () => kit.server.rendezvous.sessionCounts().active === CLIENTS / 2);
    for (const [i, peer] of peers.entries()) {
      if (i % 3 === 0) peer.alive = false;
      else peer.client.stop(kit.now);
    }
    await kit.until("those who said so are gone", () => kit.server.clientCount <= CLIENTS / 3);
    for (let passed = 0; passed < 60; passed += 6) {
      kit.skewMs += 6_000; // asked whether they are there, then given up
      kit.pump();
    }
    await kit.until("the silent ones are given up", () => kit.server.clientCount === 0);
    kit.peers.length = 0;
  });
  const { rendezvous, entrance } = kit.server;
  t.same(
    [
      rendezvous.registrations().length,
      rendezvous.sessionCounts().active,
      rendezvous.connectionCount,
      entrance.quic.connectionCount,
    ],
    [0, 0, 0, 0],
  );
  // A client has some 16 KB on the heap while it is there; a session or an account that stayed would be seen.
  t.ok(perRound < CLIENTS * 1_000, `${perRound} bytes are left of each round of ${CLIENTS} clients`);
});

test("allocations with permissions and channels that are made, given back or forgotten leave nothing", async (t) => {
  const ALLOCATIONS = 200;
  const kit = new RelayKit();
  const perRound = await growth(5, 9, () => {
    for (let i = 0; i < ALLOCATIONS; i++) {
      const sender = alice(address(`8.8.4.4:${5_000 + i}`));
      if (outcome(kit.allocate(sender)) !== "success") throw new Error("no allocation was made");
      kit.permit(sender, PEER);
      kit.bind(sender, 0x4001, PEER);
      if (i % 3 !== 0) kit.refresh(sender, 0);
    }
    kit.advance(1_000_000);
    for (const list of [kit.sent, kit.binds, kit.closed] as unknown[][]) list.length = 0;
  });
  t.equal(kit.server.stats.allocations, 0);
  t.ok(perRound < ALLOCATIONS * 200, `${perRound} bytes are left of each round of ${ALLOCATIONS} allocations`);
});
