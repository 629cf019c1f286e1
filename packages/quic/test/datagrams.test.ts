import { test } from "@adit/harness";
import { Pair, pattern, pour, Sink, sleep } from "./pair.ts";

const large = { maxDatagramSizeBytes: 1472 };

/** A pair whose longest packet, from the client, is known. */
function measured() {
  const pair = new Pair({ client: large, server: large }).handshake();
  const longest = { bytes: 0 };
  pair.network = (packet) => {
    if (packet.up) longest.bytes = Math.max(longest.bytes, packet.data.length);
    return [packet];
  };
  return { pair, longest };
}

test("packets are as long as the path is said to carry, and change with it under a transfer", async (t) => {
  const { pair, longest } = measured();
  const data = pattern(3_000_000);
  const sink = { current: null as Sink | null };
  pair.onServerStream = (stream) => {
    sink.current = new Sink(stream);
  };
  const state = pour(pair.client.openStream(), data);
  for (const bytes of [1200, 1472, 1252]) {
    pair.client.limitPackets(bytes);
    const from = state.sent;
    longest.bytes = 0;
    await pair.steps(() => state.sent > from + 300_000, `more was sent in packets of ${bytes}`);
    t.ok(longest.bytes <= bytes && longest.bytes > bytes - 8, `${longest.bytes} of ${bytes}`);
  }
  await pair.until(() => sink.current?.ended === true, "all has arrived");
  t.equal(Buffer.compare(sink.current?.bytes ?? new Uint8Array(), data), 0);
});

test("a datagram as long as fits leaves at once, however long nothing was heard", async (t) => {
  const { pair, longest } = measured();
  pair.client.limitPackets(1472);
  await sleep(60); // by then a path may be silent, and what is sent may have to go another way
  t.equal(pair.client.sendDatagram(new Uint8Array(pair.client.maxDatagramBytes)), "queued");
  t.equal(pair.client.sendDatagram(new Uint8Array(1)), "queued");
  pair.exchange();
  t.equal(pair.serverEvents.filter((event) => event.type === "datagram").length, 2);
  t.ok(longest.bytes > 1465, `${longest.bytes}`);
});

test("a path never carries less than 1200 bytes, nor more than was configured", (t) => {
  const { pair } = measured();
  pair.client.limitPackets(100);
  t.equal(pair.client.maxPacketBytes, 1200);
  pair.client.limitPackets(9000);
  t.equal(pair.client.maxPacketBytes, 1472);
});

test("a datagram as long as fits arrives; one that waits and does not fit any more is dropped, and holds up none behind it", (t) => {
  const { pair, longest } = measured();
  pair.client.sendDatagram(new Uint8Array(pair.client.maxDatagramBytes));
  pair.exchange();
  t.ok(longest.bytes > 1465 && longest.bytes <= 1472, `${longest.bytes}`);
  const long = new Uint8Array(pair.client.maxDatagramBytes).fill(1);
  t.equal(pair.client.sendDatagram(long), "queued");
  t.equal(pair.client.sendDatagram(new Uint8Array(50).fill(2)), "queued");
  pair.client.limitPackets(1200);
  t.equal(pair.client.sendDatagram(long), "too-large");
  longest.bytes = 0;
  t.equal(pair.client.sendDatagram(new Uint8Array(pair.client.maxDatagramBytes).fill(3)), "queued");
  pair.exchange();
  t.ok(longest.bytes > 1193 && longest.bytes <= 1200, `${longest.bytes}`);
  const got = pair.serverEvents.flatMap((event) => (event.type === "datagram" ? [event.data[0]] : []));
  t.same(got, [0, 2, 3]);
});
