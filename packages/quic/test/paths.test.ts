import { utf8 } from "@adit/core";
import { test } from "@adit/harness";
import { quiche } from "../src/native.ts";
import {
  activeSlot,
  clientSlot,
  now,
  type Packet,
  Pair,
  type PairOptions,
  pathEvents,
  pattern,
  pour,
  probe,
  Sink,
  serverSlot,
  sleep,
  slot,
} from "./pair.ts";

const RELAY = 0;
const DIRECT = 1;

test("relay, direct and relay again during a transfer: every byte once, in both directions", async (t) => {
  const window = { maxStreamWindowBytes: 65_536 }; // so that little of it is under way at a time
  const pair = new Pair({ client: window, server: window }).handshake();
  const stream = pair.client.openStream();
  const [up, down] = [pattern(4_000_000, 1), pattern(4_000_000, 2)];
  let atServer: Sink | null = null;
  pair.onServerStream = (peer) => {
    atServer = new Sink(peer);
    pour(peer, down);
  };
  const atClient = new Sink(stream);
  const used: Record<string, number> = {};
  const wire: Packet[] = []; // 20 packets a turn, so that every part takes its time
  pair.network = (packet) => {
    const key = `${packet.up ? "up" : "down"} ${packet.slot}`;
    used[key] = (used[key] ?? 0) + 1;
    wire.push(packet);
    return [];
  };
  pair.beforeTurn = () => {
    for (const packet of wire.splice(0, 20)) pair.deliver(packet);
    return wire.length > 0;
  };
  pour(stream, up);
  const steps = [DIRECT, RELAY, DIRECT, RELAY];
  for (const [i, target] of steps.entries()) {
    await pair.steps(() => atClient.length > ((i + 1) * down.length) / 6, "a part of it");
    if (i === 0) {
      pair.client.probePath(...slot(DIRECT));
      await pair.steps(() => pair.peer.isPathValidated(serverSlot(DIRECT), clientSlot(DIRECT)), "validated");
    }
    pair.client.migrate(...slot(target));
    pair.client.sendAckEliciting();
    await pair.steps(() => activeSlot(pair.client) === target && activeSlot(pair.peer) === target, "the peer followed");
  }
  await pair.until(() => atClient.ended && (atServer?.ended ?? false), "both ends");
  t.ok(Buffer.from(atClient.bytes).equals(down), "down");
  t.ok(Buffer.from((atServer as Sink | null)?.bytes ?? []).equals(up), "up");
  t.ok(Math.min(...["up 0", "up 1", "down 0", "down 1"].map((key) => used[key] ?? 0)) > 100, JSON.stringify(used));
});

test("both sides are told what becomes of a path", async (t) => {
  const pair = new Pair().handshake();
  t.notOk(pair.client.isPathValidated(...slot(DIRECT)), "unknown");
  await probe(pair, DIRECT);
  t.same(pathEvents(pair.clientEvents), ["validated 1"]);
  t.same(pathEvents(pair.serverEvents), ["new 1", "validated 1"]);
  pair.client.migrate(...slot(DIRECT));
  pair.client.sendAckEliciting();
  await pair.until(() => activeSlot(pair.peer) === DIRECT, "the peer followed");
  t.equal(pathEvents(pair.serverEvents).at(-1), "peer-migrated 1");
});

test("a path that does not answer fails its probe, and may be probed again", async (t) => {
  const pair = new Pair().handshake();
  pair.network = (packet) => (packet.slot === DIRECT ? [] : [packet]);
  pair.client.probePath(...slot(DIRECT));
  await pair.until(() => pathEvents(pair.clientEvents).includes("failed 1"), "the probe failed", 15_000);
  t.equal(activeSlot(pair.client), RELAY);
  pair.network = (packet) => [packet];
  await probe(pair, DIRECT);
  t.equal(pair.client.state, "established");
});

test("only the client migrates, only known addresses can be probed by the server", (t) => {
  const pair = new Pair().handshake();
  t.throws(() => pair.peer.migrate(serverSlot(DIRECT), clientSlot(DIRECT)), { code: "invalid-state" });
  t.throws(() => pair.peer.probePath(serverSlot(DIRECT), clientSlot(DIRECT)), { code: "invalid-state" });
  t.throws(() => pair.client.probePath(...slot(RELAY)), { code: "invalid-state" });
  t.throws(() => pair.client.probePath({ host: "nowhere", port: 1 }, serverSlot(1)));
});

test("new addresses without end run out of identifiers: that is what slots are for", async (t) => {
  const pair = new Pair().handshake();
  let failed: unknown = null;
  let worked = 0;
  for (let i = 1; i < 12 && !failed; i++) {
    try {
      await probe(pair, i);
      worked++;
    } catch (error) {
      failed = error;
    }
  }
  t.equal(worked, 7);
  t.equal((failed as { code?: string } | null)?.code, "out-of-identifiers");
  t.equal(pair.client.state, "established");
});

test("a server that gives one spare identifier gives the next when it is used, and the client gets as far", async (t) => {
  const pair = new Pair({ server: { spareConnectionIds: 1 } }).handshake();
  const given: number[] = [pair.serverEndpoint.connectionIdCount];
  for (let i = 1; i <= 7; i++) {
    await probe(pair, i);
    given.push(pair.serverEndpoint.connectionIdCount);
  }
  t.same(given, [2, 3, 4, 5, 6, 7, 8, 8]);
  await t.rejects(probe(pair, 8), { code: "out-of-identifiers" });
});

test("a client whose NAT forgets it is followed six times, whether the server gives one spare identifier or all", async (t) => {
  for (const server of [{}, { spareConnectionIds: 1 }]) {
    const pair = new Pair({ server }).handshake();
    let sink: Sink | null = null;
    pair.onServerStream = (stream) => {
      sink = new Sink(stream);
    };
    const stream = pair.client.openStream();
    const word = utf8("hello");
    for (let i = 0; i <= 6; i++) {
      // The client believes itself where it always was.
      pair.network = (packet) => [{ ...packet, slot: packet.up ? i : 0 }];
      stream.write(word);
      await pair.until(() => sink?.length === (i + 1) * word.length, `address ${i}`);
    }
    t.equal(pair.client.state, "established");
  }
});

test("one of four slots is bound to 100 new real addresses, and the connection IDs stay", async (t) => {
  const pair = new Pair().handshake();
  for (const i of [1, 2, 3]) await probe(pair, i);
  const spare = pair.client.stats().spareConnectionIds;
  const peerSpare = pair.peer.stats().spareConnectionIds;
  t.equal(spare, 4);

  // Each side binds slot 3 to a real address by itself; a packet arrives only if both mean the same one.
  const bound = { client: "", server: "" };
  let lost = 0;
  pair.network = (packet) => {
    if (packet.slot !== 3 || bound.client === bound.server) return [packet];
    lost++;
    return [];
  };
  const stream = pair.client.openStream();
  let peerSink: Sink | null = null;
  pair.onServerStream = (peer) => {
    peerSink = new Sink(peer);
  };
  const word = utf8("still the same connection; ");
  for (let i = 0; i < 100; i++) {
    pair.client.migrate(...slot(RELAY));
    pair.client.sendAckEliciting();
    await pair.until(() => activeSlot(pair.peer) === RELAY, "back on the relay");
    bound.client = `203.0.113.${i}:4000`;
    if (i % 10 === 9) {
      // The agent is ahead of the connector for a moment.
      pair.client.migrate(...slot(3));
      pair.client.sendAckEliciting();
      pair.exchange();
      t.ok(lost > 0, "the server does not know the new address yet");
    }
    bound.server = bound.client;
    pair.client.migrate(...slot(3));
    pair.client.sendAckEliciting();
    t.equal(stream.write(word), word.length);
    await pair.until(() => peerSink?.length === (i + 1) * word.length, `address ${i}`);
    t.equal(activeSlot(pair.peer), 3);
  }
  t.equal(pair.client.stats().spareConnectionIds, spare);
  t.equal(pair.peer.stats().spareConnectionIds, peerSpare);
  t.equal(pair.client.stats().paths, 4);
  t.equal(pair.clientEndpoint.connectionIdCount, 8);
});

test("30 flips between two paths leave the connection IDs as they are", async (t) => {
  const pair = new Pair().handshake();
  await probe(pair, DIRECT);
  const before = [pair.client.stats().spareConnectionIds, pair.peer.stats().spareConnectionIds];
  for (let i = 0; i < 30; i++) {
    const target = i % 2 === 0 ? DIRECT : RELAY;
    pair.client.migrate(...slot(target));
    pair.client.sendAckEliciting();
    await pair.until(() => activeSlot(pair.peer) === target, `flip ${i}`);
  }
  t.same([pair.client.stats().spareConnectionIds, pair.peer.stats().spareConnectionIds], before);
  t.equal(pair.clientEndpoint.connectionIdCount + pair.serverEndpoint.connectionIdCount, 16);
});

/** A connection on the direct path, whose packets take `turns` turns of the drivers, so that many are under way. */
async function onDirectPath(turns: number, options?: PairOptions) {
  const pair = new Pair(options).handshake();
  await probe(pair, DIRECT);
  pair.client.migrate(...slot(DIRECT));
  pair.client.sendAckEliciting();
  await pair.until(() => activeSlot(pair.peer) === DIRECT, "on the direct path");
  const wire: { packet: Packet; at: number }[] = [];
  const state = { turn: 0, dead: new Set<"up" | "down">(), lostAt: { up: 0, down: 0 } };
  const isLost = (packet: Packet) => packet.slot === DIRECT && state.dead.has(packet.up ? "up" : "down");
  pair.network = (packet) => {
    if (isLost(packet)) state.lostAt[packet.up ? "up" : "down"] = now();
    else wire.push({ packet, at: state.turn + turns });
    return [];
  };
  pair.beforeTurn = () => {
    state.turn++;
    while (wire[0] && wire[0].at <= state.turn) {
      const { packet } = wire.shift() as { packet: Packet };
      if (!isLost(packet)) pair.deliver(packet);
    }
    return wire.length > 0;
  };
  return { pair, state };
}

/** Begins a transfer from the client or to it; what has arrived of it. */
function begin(pair: Pair, way: "download" | "upload", data: Uint8Array) {
  const stream = pair.client.openStream();
  let sink = way === "download" ? new Sink(stream) : null;
  pair.onServerStream = (peer) => {
    if (way === "download") pour(peer, data);
    else sink = new Sink(peer);
  };
  if (way === "download") stream.finish();
  else pour(stream, data);
  return { bytes: () => sink?.length ?? 0, sink: () => sink };
}

const deaths = [
  ["download", "both ways", ["up", "down"]],
  ["upload", "both ways", ["up", "down"]],
  ["download", "towards the client", ["down"]],
  ["upload", "towards the server", ["up"]],
] as const;

for (const [way, where, directions] of deaths) {
  test(`${way}: what was under way on a path that died ${where} comes again after migrate and sendAckEliciting`, async (t) => {
    const { pair, state } = await onDirectPath(20);
    const data = pattern(3_000_000, 4);
    const received = begin(pair, way, data);
    await pair.steps(() => received.bytes() > 1_000_000, "a third of it");
    for (const direction of directions) state.dead.add(direction);
    await pair.steps(() => false, "", 150).catch(() => {});
    const stuck = received.bytes();
    t.ok(stuck < data.length);
    pair.client.migrate(...slot(RELAY));
    pair.client.sendAckEliciting();
    const start = performance.now();
    await pair.steps(() => received.bytes() > stuck, "bytes come again", 3000);
    const gapMs = performance.now() - start;
    await pair.steps(() => received.sink()?.ended ?? false, "the rest", 5000);
    t.ok(Buffer.from(received.sink()?.bytes ?? []).equals(data));
    t.ok(gapMs < 1000, `${gapMs} ms`);
    t.equal(activeSlot(pair.peer), RELAY);
    t.ok(pair.client.stats().spareConnectionIds >= 6 && pair.peer.stats().spareConnectionIds >= 6);
  });
}

/** How many times a packet of either side has to cross the relay until bytes come again; `spare`: the server knows that the relay stands. */
const crossings = [
  // The server has to be heard of first. Mostly it is one round trip less: what was copied holds the bytes that are missing first.
  { way: "download", spare: false, halves: 4 },
  // The client has acknowledged the copies by the time it moves.
  { way: "download", spare: true, halves: 2 },
  { way: "upload", spare: false, halves: 3 },
  { way: "upload", spare: true, halves: 3 },
] as const;

for (const { way, spare, halves } of crossings) {
  for (const acks of ["arrive", "are lost too"]) {
    const title = `${way}, acknowledgements under way ${acks}${spare ? ", the relay known to stand" : ""}`;
    test(`${title}: ${halves} times across the relay bring bytes, however full the window was`, async (t) => {
      const open = { initialStreamWindowBytes: 8_000_000, maxStreamWindowBytes: 8_000_000 };
      const { pair, state } = await onDirectPath(20, { client: open, server: open });
      const data = pattern(8_000_000, 4);
      const received = begin(pair, way, data);
      await pair.steps(() => received.bytes() > 1_000_000, "the transfer is under way");
      const [dataWay, ackWay] = way === "download" ? (["down", "up"] as const) : (["up", "down"] as const);
      state.dead.add(dataWay);
      let stuck = received.bytes();
      if (acks === "arrive") pair.exchange();
      state.dead.add(ackWay);
      const diedAt = now();
      await pair.steps(() => now() > diedAt + 150 && state.lostAt[dataWay] > diedAt + 60, "the sender probes in vain");
      if (spare) {
        for (const side of [pair.client, pair.peer]) {
          const [local, remote] = side === pair.client ? slot(RELAY) : [serverSlot(RELAY), clientSlot(RELAY)];
          side.suspectPath(true, { local, remote });
        }
        pair.exchange();
        t.equal(activeSlot(pair.peer), DIRECT, "nobody has moved");
        t.equal(activeSlot(pair.client), DIRECT);
        stuck = received.bytes(); // the copies may have held what was missing first
      }
      const onRelay: Packet[] = [];
      pair.beforeTurn = () => false;
      pair.network = (packet) => {
        if (packet.slot === RELAY) onRelay.push(packet);
        return [];
      };
      pair.client.migrate(...slot(RELAY));
      pair.client.sendAckEliciting();
      pair.exchange();
      for (let half = 0; half < halves; half++) {
        for (const packet of onRelay.splice(0)) pair.deliver(packet);
        pair.exchange();
      }
      t.ok(received.bytes() > stuck, "nothing came");
    });
  }
}

test("a window update that was lost with its path is sent again", async (t) => {
  const pair = new Pair().handshake();
  await probe(pair, DIRECT);
  pair.client.migrate(...slot(DIRECT));
  pair.client.sendAckEliciting();
  await pair.until(() => activeSlot(pair.peer) === DIRECT, "on the direct path");
  const data = pattern(3_000_000, 4);
  const stream = pair.client.openStream();
  stream.finish();
  pair.onServerStream = (peer) => void pour(peer, data);
  const sink = new Sink(stream);
  await pair.steps(() => sink.length > 1_000_000, "a third of it");
  pair.network = (packet) => (packet.slot === DIRECT ? [] : [packet]);
  pair.exchange();
  const stuck = sink.length;
  await sleep(120);
  pair.exchange();
  t.equal(sink.length, stuck, "nothing comes by itself");
  pair.client.migrate(...slot(RELAY));
  pair.client.sendAckEliciting();
  await pair.until(() => sink.ended, "all of it", 3000);
  t.ok(Buffer.from(sink.bytes).equals(data));
});

test("a client knows when the handshake has settled", (t) => {
  const pair = new Pair();
  t.equal(pair.client.settledAt, null);
  const before = now();
  pair.handshake();
  const settledAt = t.must(pair.client.settledAt);
  t.ok(settledAt > before && settledAt < now() + 100);
});

test("a connection that has no path to send on says so when a PING is wanted, and throws nothing", (t) => {
  const pair = new Pair().handshake();
  t.equal(pair.client.sendAckEliciting(), true);
  const { prototype } = quiche.Connection as unknown as { prototype: { sendAckEliciting: () => void } };
  const { sendAckEliciting } = prototype;
  // What quiche says when the active path has failed its validation, or lost its connection ID.
  prototype.sendAckEliciting = () => {
    throw new Error("InvalidState");
  };
  try {
    t.equal(pair.client.sendAckEliciting(), false);
  } finally {
    prototype.sendAckEliciting = sendAckEliciting;
  }
  pair.client.close(0, "");
  t.equal(pair.client.sendAckEliciting(), false);
});
