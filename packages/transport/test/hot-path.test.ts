// What each packet of a transfer may cost: no memory and no address of its own, and no look at what has nothing to do with it.
import type { SocketAddress, Transmit } from "@adit/core";
import { type T, test } from "@adit/harness";
import type { QuicStream } from "@adit/quic";
import { SEND_BATCH } from "../src/driver.ts";
import { DataPath } from "../src/peer/data-path.ts";
import { Presences } from "../src/peer/presences.ts";
import { startNet } from "./support/endpoints.ts";

const BYTES = 8 * 1024 * 1024;
/** So many packets at least, whatever the path carries. */
const PACKETS = Math.floor(BYTES / 1472);

class Seen {
  packets = 0;
  readonly memory = new Set<ArrayBufferLike>();
  readonly views = new Set<Uint8Array>();
  readonly addresses = new Set<SocketAddress>();

  add({ data, to }: Transmit): void {
    this.packets++;
    this.memory.add(data.buffer);
    this.views.add(data);
    this.addresses.add(to);
  }
}

/** What each side of a session sends, until the test is over. */
function watchPackets(t: T): ReadonlyMap<DataPath, Seen> {
  const bySide = new Map<DataPath, Seen>();
  const { transmit } = DataPath.prototype;
  DataPath.prototype.transmit = function (now, connection) {
    const sent = transmit.call(this, now, connection);
    const seen = bySide.get(this) ?? new Seen();
    bySide.set(this, seen);
    if (sent) seen.add(sent);
    return sent;
  };
  t.teardown(() => {
    DataPath.prototype.transmit = transmit;
  });
  return bySide;
}

/** How often somebody's intermediates were asked what they have to send. */
function countAsking(t: T): () => number {
  const { pollTransmit } = Presences.prototype;
  let asked = 0;
  Presences.prototype.pollTransmit = function () {
    asked++;
    return pollTransmit.call(this);
  };
  t.teardown(() => {
    Presences.prototype.pollTransmit = pollTransmit;
  });
  return () => asked;
}

function pour(stream: QuicStream): void {
  const chunk = new Uint8Array(64 * 1024);
  let left = BYTES;
  const write = (): void => {
    while (left > 0) {
      const taken = stream.write(chunk);
      left -= taken;
      if (taken < chunk.length) return;
    }
    stream.onWritable = null;
    stream.finish();
  };
  stream.onWritable = write;
  write();
}

/** Resolves at the end of the stream. */
function drain(stream: QuicStream): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  return new Promise((resolve) => {
    const read = (): void => {
      for (let got = stream.read(buffer); got !== "blocked"; got = stream.read(buffer)) {
        if (got !== "end") continue;
        stream.finish();
        return resolve();
      }
    };
    stream.onReadable = read;
    read();
  });
}

test("a packet of a transfer gets room and an address that were used before, and makes nobody ask the intermediates", async (t) => {
  let drained: Promise<void> | null = null;
  const { agent } = await startNet(t, {
    onService: (request) => {
      drained = request.accept().then(drain);
    },
  });
  const session = await agent.connect({ target: "office", service: "sink", waitMs: 5_000 });
  const stream = await session.openService("sink");
  const seen = watchPackets(t);
  const asked = countAsking(t);
  pour(stream);
  await drained;
  const sender = [...seen.values()].reduce((a, b) => (a.packets > b.packets ? a : b));
  t.ok(sender.packets >= PACKETS, `${sender.packets} packets`);
  t.ok(sender.memory.size <= SEND_BATCH, `${sender.memory.size} buffers`);
  // A view of each length that there is: two in turn, and what is left over at the end of a flight.
  t.ok(sender.views.size < sender.packets / 8, `${sender.views.size} views for ${sender.packets} packets`);
  t.equal(sender.addresses.size, 1);
  t.ok(asked() < sender.packets / 4, `asked ${asked()} times during ${sender.packets} packets`);
});
