import { test } from "@adit/harness";
import { quiche } from "../src/native.ts";
import {
  activeSlot,
  clientSlot,
  now,
  type Packet,
  Pair,
  pathEvents,
  pattern,
  pour,
  probe,
  Sink,
  serverSlot,
  slot,
} from "./pair.ts";

const RELAY = 0;
const DIRECT = 1;
/** Longer than quiche's timers on a path that it has a round trip of. */
const ASK_AGAIN_MS = 500;

/** Both sides have a round trip of the direct path, so that its timers are short; the connection is on the relay again. */
async function backOnRelay(): Promise<Pair> {
  const pair = new Pair().handshake();
  await probe(pair, DIRECT);
  await move(pair, DIRECT);
  await exchangeData(pair);
  await move(pair, RELAY);
  return pair;
}

async function move(pair: Pair, i: number): Promise<void> {
  pair.client.migrate(...slot(i));
  pair.client.sendAckEliciting();
  await pair.until(() => activeSlot(pair.peer) === i, `on slot ${i}`);
}

/** What leaves on the direct path this way is lost until quiche has given the path up. */
async function failAt(side: "client" | "server", pair: Pair): Promise<void> {
  const up = side === "client";
  pair.network = (packet) => (packet.up === up && packet.slot === DIRECT ? [] : [packet]);
  const events = up ? pair.clientEvents : pair.serverEvents;
  let askAt = Number.NEGATIVE_INFINITY;
  // A challenge that counts as lost because of what was acknowledged on the other path leaves no timer behind: it is neither repeated nor given up.
  const isFailed = (): boolean => {
    if (pathEvents(events).at(-1) === "failed 1") return true;
    if (now() < askAt) return false;
    askAt = now() + ASK_AGAIN_MS;
    if (up) pair.client.probePath(...slot(DIRECT));
    else pair.peer.probePath(serverSlot(DIRECT), clientSlot(DIRECT));
    return false;
  };
  await pair.until(isFailed, `the ${side} has given the path up`);
  pair.network = (packet) => [packet];
}

/** A hundred kilobytes each way. */
async function exchangeData(pair: Pair): Promise<boolean> {
  const data = pattern(100_000);
  pair.onServerStream = (peer) => {
    new Sink(peer);
    pour(peer, data);
  };
  const stream = pair.client.openStream();
  const answer = new Sink(stream);
  pour(stream, data);
  await pair.until(() => answer.ended, "the answer");
  return Buffer.from(answer.bytes).equals(data);
}

for (const room of [true, false]) {
  const title = `a server whose challenges were lost follows its client to that path all the same, ${room ? "at once" : "as soon as its window has room for another challenge"}`;
  test(title, async (t) => {
    const pair = await backOnRelay();
    await failAt("server", pair);
    // Several packets are read before the server sends any.
    const held: Packet[] = [];
    pair.network = (packet) => {
      if (packet.up) held.push(packet);
      return packet.up ? [] : [packet];
    };
    const stream = pair.client.openStream();
    pair.client.migrate(...slot(DIRECT));
    stream.write(pattern(5000));
    pair.exchange();
    t.ok(held.length > 2);
    pair.network = (packet) => [packet];
    const restore = room ? () => {} : withoutRoom();
    for (const packet of held) pair.deliver(packet);
    restore();
    pair.exchange();
    t.equal(pair.peer.state, "established", JSON.stringify(pair.peer.closeReason));
    await pair.until(() => {
      pair.client.sendAckEliciting();
      return activeSlot(pair.peer) === DIRECT;
    }, "the server followed");
    await pair.until(() => pair.peer.isPathValidated(serverSlot(DIRECT), clientSlot(DIRECT)), "validated again");
    t.ok(await exchangeData(pair));
  });
}

/** The congestion window of every path is full. */
function withoutRoom(): () => void {
  const { prototype } = quiche.Connection as unknown as { prototype: { sendOnPath: () => unknown } };
  const { sendOnPath } = prototype;
  prototype.sendOnPath = () => null;
  return () => {
    prototype.sendOnPath = sendOnPath;
  };
}

test("a client moves to a path whose challenges were lost", async (t) => {
  const pair = await backOnRelay();
  await failAt("client", pair);
  pair.client.migrate(...slot(DIRECT));
  t.ok(pair.client.sendAckEliciting());
  await pair.until(() => activeSlot(pair.peer) === DIRECT, "the server followed");
  t.ok(await exchangeData(pair));
  await pair.until(() => pair.client.isPathValidated(...slot(DIRECT)), "validated again");
});

test("a client stays on its path when quiche gives it up: nobody else has said so", async (t) => {
  const pair = await backOnRelay();
  pair.network = (packet) => (packet.up && packet.slot === DIRECT ? [] : [packet]);
  pair.client.probePath(...slot(DIRECT));
  pair.exchange();
  pair.client.migrate(...slot(DIRECT));
  pair.client.sendAckEliciting();
  await pair.until(() => pathEvents(pair.clientEvents).at(-1) === "failed 1", "the path is given up");
  t.equal(activeSlot(pair.client), DIRECT);
  t.same(pair.client.activePath.local, clientSlot(DIRECT));
  pair.network = (packet) => [packet];
  t.ok(await exchangeData(pair));
  t.equal(activeSlot(pair.peer), DIRECT);
});

test("it may go on for as long as nothing gets through", async (t) => {
  const pair = await backOnRelay();
  pair.network = (packet) => (packet.slot === DIRECT ? [] : [packet]);
  pair.client.probePath(...slot(DIRECT));
  pair.exchange();
  pair.client.migrate(...slot(DIRECT));
  pair.client.sendAckEliciting();
  const end = now() + 500;
  await pair.until(() => now() > end, "half a second", 2000);
  t.equal(activeSlot(pair.client), DIRECT);
  await move(pair, RELAY);
  pair.network = (packet) => [packet];
  t.ok(await exchangeData(pair));
  await move(pair, DIRECT);
  t.ok(await exchangeData(pair));
});

test("a challenge that is lost while all else is acknowledged is repeated", async (t) => {
  const pair = new Pair().handshake();
  let lost = 0;
  pair.network = (packet) => (packet.up || packet.slot === RELAY || lost++ > 0 ? [packet] : []);
  pair.client.migrate(...slot(DIRECT));
  const from = now();
  await pair.until(
    () => {
      pair.client.sendAckEliciting();
      return pathEvents(pair.serverEvents).includes("validated 1");
    },
    "validated by the server",
    3000,
  );
  t.ok(lost > 1);
  const packets = pair.packets / (now() - from);
  t.ok(packets < 10, `${packets} packets a millisecond`);
});
