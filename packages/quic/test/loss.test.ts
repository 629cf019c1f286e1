import { randomInt, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { type Packet, Pair, pattern, pour, Sink, tellEnded } from "./pair.ts";

for (const seed of [1, 2, 3]) {
  test(`streams survive a network that loses, doubles and reorders (seed ${seed})`, async (t) => {
    const random = seededRandom(seed);
    const pair = new Pair({ seed });
    const late: Packet[] = [];
    pair.network = (packet) => {
      const fate = random.float();
      if (fate < 0.05) return [];
      if (fate < 0.08) return [packet, { ...packet, data: packet.data.slice() }];
      if (fate < 0.15) {
        late.push(packet);
        return [];
      }
      return [packet];
    };
    pair.beforeTurn = () => {
      tellEnded(pair);
      if (late.length === 0) return false;
      pair.deliver(late.splice(randomInt(random, late.length), 1)[0] as Packet);
      return true;
    };
    await pair.until(() => pair.client.state === "established" && pair.server?.state === "established", "handshake");
    // As the transport knows it: without, the end of a flight waits for quiche's own timeouts, 8 s and more now and then.
    pair.client.roundTripMs = 5;
    pair.peer.roundTripMs = 5;
    const data = pattern(1_000_000, seed);
    const sinks: Sink[] = [];
    let served = 0;
    pair.onServerStream = (peer) => {
      if (served++ % 5 === 4) {
        peer.reset(1);
        peer.stopSending(2);
      } else {
        new Sink(peer);
        pour(peer, data.subarray(0, peer.id === 0 ? data.length : 5000));
      }
    };
    for (let i = 0; i < 50; i++) {
      const stream = pair.client.openStream();
      sinks.push(new Sink(stream));
      pour(stream, data.subarray(0, 3000));
    }
    await pair.until(() => sinks.every(({ ended, error }) => ended || error), `all over, seed ${seed}`, 20_000);
    t.equal(sinks.filter(({ error }) => error).length, 10);
    for (const sink of sinks) if (sink.ended) t.ok(Buffer.from(sink.bytes).equals(data.subarray(0, sink.length)));
    t.ok(sinks.every((sink) => sink.error || sink.length >= 5000));
    await pair.until(() => pair.client.streamCount + pair.peer.streamCount === 0, `nothing left, seed ${seed}`);
  });
}
