import { monotonicClock, SocketAddress, systemRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Identity, QuicConfig, type QuicConnection, QuicEndpoint, type QuicStream } from "@adit/quic";
import { MAX_DATAGRAM_BYTES } from "../src/path/datagram-size.ts";
import { DataPath } from "../src/peer/data-path.ts";

const now = (): number => monotonicClock.now();
/** What the data path is told of each pair's round trip; longer than any test, so that a first flight stays the only one. */
const RTT_MS = 60_000;
const DIRECT = SocketAddress.of("192.0.2.10", 1);
const RELAY = SocketAddress.of("192.0.2.20", 2);

interface Side {
  readonly data: DataPath;
  readonly pairs: { readonly direct: string; readonly relay: string };
  connection: QuicConnection | null;
  stream: QuicStream | null;
}

function side(): Side {
  const data = new DataPath({ rttMs: () => RTT_MS, isRelayed: () => false });
  const pairs = { direct: data.learn(0, DIRECT).pair, relay: data.learn(0, RELAY).pair };
  return { data, pairs, connection: null, stream: null };
}

/** An agent's and a connector's connection over two pairs, in memory; the one called direct can be cut. */
class Wires {
  readonly agent = side();
  readonly connector = side();
  cut = false;
  /** The longest datagram that gets through on the pair called relay. */
  relayBytes = Number.POSITIVE_INFINITY;
  /** Bytes sent on the pair called direct. */
  directBytes = 0;
  readonly #client = new QuicEndpoint({ random: systemRandom });
  readonly #server: QuicEndpoint;
  readonly #inFlight: { to: Side; from: SocketAddress; data: Uint8Array }[] = [];

  constructor() {
    const options = { alpn: "test", maxIdleTimeoutMs: 60_000, maxDatagramSizeBytes: MAX_DATAGRAM_BYTES };
    const server = QuicConfig.create({ ...options, role: "server", identity: Identity.generate() });
    this.#server = new QuicEndpoint({ random: systemRandom, server });
    const slot = this.agent.data.slots.bind(this.agent.pairs.direct, []) ?? 0;
    this.agent.connection = this.#client.connect(now(), {
      config: QuicConfig.create({ ...options, role: "client", identity: Identity.generate() }),
      ...this.agent.data.addresses(slot),
    });
    for (const { data, pairs } of [this.agent, this.connector]) {
      data.gates.handleAnswer(now(), pairs.direct);
      data.gates.handleAnswer(now(), pairs.relay);
    }
  }

  /** Until `done`, or for `limitMs`; false when the limit came first. */
  async run(done: () => boolean, limitMs: number): Promise<boolean> {
    for (const end = now() + limitMs; now() < end; ) {
      this.#turn();
      if (done()) return true;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return false;
  }

  slot(pair: "direct" | "relay"): number {
    return this.agent.data.slots.bind(this.agent.pairs[pair], []) ?? 0;
  }

  migrate(pair: "direct" | "relay"): void {
    const { local, remote } = this.agent.data.addresses(this.slot(pair));
    this.agent.connection?.migrate(local, remote);
    this.agent.connection?.sendAckEliciting();
  }

  #turn(): void {
    for (const { to, from, data } of this.#inFlight.splice(0)) this.#deliver(to, from, data);
    for (const here of [this.agent, this.connector]) {
      const { connection } = here;
      if (!connection) continue;
      if ((connection.pollTimeout(now())?.at ?? Infinity) <= now()) connection.handleTimeout(now());
      for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
        if (event.type === "stream") here.stream = event.stream;
      }
      for (let sent = here.data.transmit(now(), connection); sent; sent = here.data.transmit(now(), connection)) {
        if (sent.to === DIRECT) this.directBytes += sent.data.length;
        if (this.cut && sent.to === DIRECT) continue;
        if (sent.to === RELAY && sent.data.length > this.relayBytes) continue;
        const to = here === this.agent ? this.connector : this.agent;
        this.#inFlight.push({ to, from: sent.to, data: sent.data });
      }
    }
  }

  #deliver(to: Side, from: SocketAddress, data: Uint8Array): void {
    if (this.cut && from === DIRECT) return;
    const { pair } = to.data.learn(0, from);
    if (to === this.connector && !to.connection) {
      const route = this.#server.route(data);
      if (route.kind !== "initial") return;
      const { local, remote } = to.data.addresses(to.data.slots.bind(pair, []) ?? 0);
      to.connection = this.#server.accept(now(), route.header, local, remote);
    }
    if (!to.connection) return;
    to.data.receive(now(), to.connection, pair, data, { mayBind: () => to === this.connector, keepPairs: () => [] });
  }
}

const buffer = new Uint8Array(256 * 1024);

function readAll(stream: QuicStream | null): number {
  let total = 0;
  for (let read = stream?.read(buffer); typeof read === "number"; read = stream?.read(buffer)) total += read;
  return total;
}

function writeAll(stream: QuicStream | null): number {
  let total = 0;
  for (let taken = stream?.write(buffer) ?? 0; taken > 0; taken = stream?.write(buffer) ?? 0) total += taken;
  return total;
}

/**
 * The sender has filled the reader's window; the reader makes room, and the path dies with the word of it.
 * Returns the wires on the relay, and the sender and the reader.
 */
async function loseTheWindow(t: T, direction: "download" | "upload") {
  const wires = new Wires();
  t.ok(await wires.run(() => wires.agent.connection?.state === "established", 5_000), "established");
  wires.agent.stream = wires.agent.connection?.openStream() ?? null;
  wires.agent.stream?.write(new Uint8Array(1));
  t.ok(await wires.run(() => wires.connector.stream !== null, 5_000), "the stream is there");
  const [sender, reader] = direction === "download" ? [wires.connector, wires.agent] : [wires.agent, wires.connector];
  let idleSince = now();
  await wires.run(() => {
    if (writeAll(sender.stream) > 0) idleSince = now();
    return now() - idleSince > 100;
  }, 10_000);
  wires.cut = true;
  t.ok(readAll(reader.stream) > 10_000, "a window was full");
  await wires.run(() => false, 50);
  wires.migrate("relay");
  return { wires, sender, reader };
}

for (const direction of ["download", "upload"] as const) {
  test(`${direction}: the room that was made on a path that died is told again on the next one`, async (t) => {
    const { wires, sender } = await loseTheWindow(t, direction);
    t.ok(await wires.run(() => writeAll(sender.stream) > 0, 5_000));
  });
}

test("routes are bounded, and none that has a slot is forgotten for another", (t) => {
  const { data, pairs } = side();
  data.slots.bind(pairs.relay, []);
  const evicted: (string | null)[] = [];
  for (let port = 1; port <= 1_000; port++) evicted.push(data.learn(0, SocketAddress.of("192.0.2.99", port)).evicted);
  t.ok(data.route(pairs.relay));
  t.equal(data.route(pairs.direct), null);
  t.equal(evicted.filter((pair) => pair !== null).length, 1_000 + 2 - 200);
});

test("a path that carries less than the active one is validated all the same", async (t) => {
  const wires = new Wires();
  t.ok(await wires.run(() => wires.agent.connection?.state === "established", 5_000), "established");
  for (const { data, pairs } of [wires.agent, wires.connector]) {
    data.sizes.setActive(now(), pairs.direct, () => ({ family: 4, relayed: false, rttMs: 1 }));
    const probe = t.must(data.sizes.pollProbe(now()));
    data.sizes.handleAnswer(now(), pairs.direct, probe.bytes);
    t.equal(data.sizes.bytes(pairs.direct), 1472);
  }
  wires.relayBytes = 1300;
  const settledAt = () => wires.agent.connection?.settledAt ?? Infinity;
  t.ok(await wires.run(() => now() >= settledAt(), 5_000), "young connections are left alone");
  const { local, remote } = wires.agent.data.addresses(wires.slot("relay"));
  const probe = () => {
    wires.agent.data.expectValidation(now());
    try {
      wires.agent.connection?.probePath(local, remote);
      return true;
    } catch {
      return false; // the peer's spare connection IDs are on their way
    }
  };
  t.ok(await wires.run(probe, 2_000));
  t.ok(await wires.run(() => wires.agent.connection?.isPathValidated(local, remote) === true, 2_000));
  t.equal(wires.agent.connection?.maxPacketBytes, 1200);
  const validatedAt = now();
  for (const path of ["relay", "direct"] as const) {
    wires.migrate(path);
    wires.agent.connection?.sendAckEliciting();
    const heard = wires.connector.connection?.stats().packetsReceived ?? 0;
    t.ok(await wires.run(() => (wires.connector.connection?.stats().packetsReceived ?? 0) > heard, 2_000), path);
  }
  t.equal(wires.agent.connection?.maxPacketBytes, 1472, "a move ends it");
  t.ok(now() - validatedAt < 2_000, "and not the time");
});

test("who goes back to a path begins with ten packets in a round trip, however much it carried before", async (t) => {
  const wires = new Wires();
  t.ok(await wires.run(() => wires.agent.connection?.state === "established", 5_000), "established");
  wires.agent.stream = wires.agent.connection?.openStream() ?? null;
  let read = 0;
  const upload = () => {
    writeAll(wires.agent.stream);
    read += readAll(wires.connector.stream);
    return read;
  };
  t.ok(await wires.run(() => upload() > 5_000_000, 20_000), "the window has grown");
  wires.migrate("relay");
  t.ok(await wires.run(() => upload() > 6_000_000, 20_000), "on the relay");
  wires.migrate("direct");
  wires.directBytes = 0;
  const windowBytes = wires.agent.connection?.pathStats().find(({ active }) => active)?.congestionWindowBytes ?? 0;
  t.ok(windowBytes > 60_000, `QUIC would send ${windowBytes} bytes at once`);
  let turns = 0;
  await wires.run(() => {
    upload();
    return ++turns > 50;
  }, 5_000);
  t.ok(
    wires.directBytes > 8_000 && wires.directBytes < 10 * 1472 + 1472,
    `${wires.directBytes} bytes in the first flight`,
  );
});
