/** What a path gets at once when a transfer moves to it. Two data paths and their connections over wires with a round trip, a rate and a queue. */
import { monotonicClock, SocketAddress, systemRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Identity, QuicConfig, type QuicConnection, QuicEndpoint, type QuicStream } from "@adit/quic";
import { BASE_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES } from "../src/path/datagram-size.ts";
import { DataPath } from "../src/peer/data-path.ts";

const now = (): number => monotonicClock.now();

type Name = "direct" | "relay";
type Role = "agent" | "connector";

interface WireOptions {
  readonly rttMs: number;
  readonly bytesPerMs: number;
  readonly queueBytes: number;
}

/** What the direct path carries in a round trip of the relay's is ten times what the relay's queue holds. */
const WIRES: Readonly<Record<Name, WireOptions>> = {
  direct: { rttMs: 10, bytesPerMs: 25_000, queueBytes: 1_000_000 },
  relay: { rttMs: 60, bytesPerMs: 1_250, queueBytes: 75_000 },
};
const ADDRESSES: Readonly<Record<Name, SocketAddress>> = {
  direct: SocketAddress.of("192.0.2.10", 1),
  relay: SocketAddress.of("192.0.2.20", 2),
};

/** One direction of a path: a bottleneck, its queue, and the way behind it. */
class Wire {
  isCut = false;
  /** What was to leave, and what found the queue full. */
  readonly sent: { readonly at: number; readonly bytes: number; readonly dropped: boolean }[] = [];
  readonly #options: WireOptions;
  #freeAt = 0;
  #flying: { readonly at: number; readonly data: Uint8Array }[] = [];

  constructor(options: WireOptions) {
    this.#options = options;
  }

  send(data: Uint8Array): void {
    const { rttMs, bytesPerMs, queueBytes } = this.#options;
    const at = now();
    const waits = Math.max(0, this.#freeAt - at) * bytesPerMs;
    const dropped = waits + data.length > queueBytes;
    this.sent.push({ at, bytes: data.length, dropped });
    if (dropped || this.isCut) return;
    this.#freeAt = Math.max(at, this.#freeAt) + data.length / bytesPerMs;
    this.#flying.push({ at: this.#freeAt + rttMs / 2, data: data.slice() });
  }

  take(): Uint8Array[] {
    const at = now();
    const due = this.#flying.filter((packet) => packet.at <= at);
    this.#flying = this.#flying.slice(due.length);
    return due.map(({ data }) => data);
  }

  /** Of the first round trip, from the first packet on. */
  firstRoundTrip(since: number): { readonly bytes: number; readonly dropped: number } {
    const sent = this.sent.filter(({ at }) => at >= since);
    const end = (sent[0]?.at ?? 0) + this.#options.rttMs * 0.9;
    const first = sent.filter(({ at }) => at < end);
    return {
      bytes: first.reduce((sum, { bytes }) => sum + bytes, 0),
      dropped: first.filter(({ dropped }) => dropped).length,
    };
  }
}

class Side {
  readonly data = new DataPath((pair) => WIRES[pair === this.pairs.relay ? "relay" : "direct"].rttMs);
  readonly pairs = {
    direct: this.data.learn(0, ADDRESSES.direct).pair,
    relay: this.data.learn(0, ADDRESSES.relay).pair,
  };
  readonly wires = { direct: new Wire(WIRES.direct), relay: new Wire(WIRES.relay) };
  connection: QuicConnection | null = null;
  stream: QuicStream | null = null;
}

class Transfer {
  readonly sides: Readonly<Record<Role, Side>> = { agent: new Side(), connector: new Side() };
  readonly sender: Role;
  received = 0;
  #isPouring = false;
  readonly #client = new QuicEndpoint({ random: systemRandom });
  readonly #server: QuicEndpoint;
  readonly #buffer = new Uint8Array(256 * 1024);

  constructor(sender: Role) {
    this.sender = sender;
    const open = { initialStreamWindowBytes: 8_000_000, maxDatagramSizeBytes: MAX_DATAGRAM_BYTES };
    const options = { alpn: "test", maxIdleTimeoutMs: 60_000, ...open };
    const server = QuicConfig.create({ ...options, role: "server", identity: Identity.generate() });
    this.#server = new QuicEndpoint({ random: systemRandom, server });
    const { agent } = this.sides;
    const slot = agent.data.slots.bind(agent.pairs.direct, []) ?? 0;
    agent.connection = this.#client.connect(now(), {
      config: QuicConfig.create({ ...options, role: "client", identity: Identity.generate() }),
      ...agent.data.addresses(slot),
    });
    for (const { data, pairs } of Object.values(this.sides)) {
      data.gates.handleAnswer(now(), pairs.direct);
      data.gates.handleAnswer(now(), pairs.relay);
    }
  }

  /** @throws when it does not come to that. */
  async until(done: () => boolean, what: string): Promise<void> {
    for (const end = now() + 20_000; !done(); ) {
      if (now() > end) throw new Error(`gave up waiting: ${what}`);
      this.#turn();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async start(): Promise<void> {
    const { agent, connector } = this.sides;
    await this.until(() => agent.connection?.state === "established", "established");
    agent.stream = agent.connection?.openStream() ?? null;
    agent.stream?.write(new Uint8Array(1));
    await this.until(() => connector.stream !== null, "the stream");
    await this.until(() => now() >= (agent.connection?.settledAt ?? Infinity), "settled");
    await this.validate("relay");
    this.#isPouring = true;
    await this.reach(2_000_000);
  }

  async reach(more: number): Promise<void> {
    const goal = this.received + more;
    await this.until(() => this.received >= goal, `${more} bytes`);
  }

  migrate(to: Name): void {
    const { connection, data, pairs } = this.sides.agent;
    const { local, remote } = data.addresses(data.slots.bind(pairs[to], []) ?? 0);
    connection?.migrate(local, remote);
    connection?.sendAckEliciting();
  }

  async validate(name: Name): Promise<void> {
    const { connection, data, pairs } = this.sides.agent;
    const { local, remote } = data.addresses(data.slots.bind(pairs[name], []) ?? 0);
    data.expectValidation(now());
    connection?.probePath(local, remote);
    await this.until(() => connection?.isPathValidated(local, remote) ?? false, "validated");
  }

  #turn(): void {
    const { agent, connector } = this.sides;
    for (const name of ["direct", "relay"] as const) {
      for (const data of agent.wires[name].take()) this.#deliver(connector, name, data);
      for (const data of connector.wires[name].take()) this.#deliver(agent, name, data);
    }
    for (const side of [agent, connector]) {
      const { connection } = side;
      if (!connection) continue;
      if ((connection.pollTimeout(now())?.at ?? Infinity) <= now()) connection.handleTimeout(now());
      this.#events(side, connection);
      for (let sent = side.data.transmit(now(), connection); sent; sent = side.data.transmit(now(), connection)) {
        side.wires[sent.to === ADDRESSES.relay ? "relay" : "direct"].send(sent.data);
      }
      this.#events(side, connection);
    }
  }

  #events(side: Side, connection: QuicConnection): void {
    for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
      if (event.type === "stream") side.stream = event.stream;
    }
    const { stream } = side;
    const sends = side === this.sides[this.sender];
    if (sends) while (this.#isPouring && (stream?.write(this.#buffer) ?? 0) > 0);
    else
      for (let read = stream?.read(this.#buffer); typeof read === "number"; read = stream?.read(this.#buffer))
        this.received += read;
  }

  #deliver(to: Side, name: Name, data: Uint8Array): void {
    const { pair } = to.data.learn(0, ADDRESSES[name]);
    if (to === this.sides.connector && !to.connection) {
      const route = this.#server.route(data);
      if (route.kind !== "initial") return;
      const { local, remote } = to.data.addresses(to.data.slots.bind(pair, []) ?? 0);
      to.connection = this.#server.accept(now(), route.header, local, remote);
    }
    if (!to.connection) return;
    const mayBind = () => to === this.sides.connector;
    to.data.receive(now(), to.connection, pair, data, { mayBind, keepPairs: () => [] });
  }
}

/** RFC 9002 §7.2: ten packets. What was sent in vain on the path before comes again, eight packets at most; and a challenge. */
const FIRST_FLIGHT_BYTES = 10 * MAX_DATAGRAM_BYTES;
const COPIES_BYTES = 9 * BASE_DATAGRAM_BYTES;

async function firstFlight(t: T, transfer: Transfer, isPlanned: boolean): Promise<void> {
  const sender = transfer.sides[transfer.sender];
  if (!isPlanned) {
    for (const { wires } of Object.values(transfer.sides)) wires.direct.isCut = true;
    const diedAt = now();
    await transfer.until(() => now() > diedAt + 250, "the path is dead");
  }
  const window = sender.connection?.pathStats().find(({ active }) => active)?.congestionWindowBytes ?? 0;
  t.ok(window > 100_000, `the direct path has room for ${window} bytes at once`);
  const movedAt = now();
  transfer.migrate("relay");
  await transfer.reach(300_000);
  const { bytes, dropped } = sender.wires.relay.firstRoundTrip(movedAt);
  t.equal(dropped, 0, `${dropped} packets found the relay's queue full`);
  t.ok(bytes <= FIRST_FLIGHT_BYTES + COPIES_BYTES, `${bytes} bytes in the first round trip`);
}

for (const sender of ["agent", "connector"] as const) {
  for (const isPlanned of [true, false]) {
    const title = `the ${sender} sends and the path ${isPlanned ? "is left" : "dies"}: ten packets and what was lost are all that the next one gets at once`;
    test(title, async (t) => {
      const transfer = new Transfer(sender);
      await transfer.start();
      await firstFlight(t, transfer, isPlanned); // QUIC has never used it
      for (const { wires } of Object.values(transfer.sides)) wires.direct.isCut = false;
      transfer.migrate("direct");
      await transfer.reach(2_000_000);
      await firstFlight(t, transfer, isPlanned); // and now it has
    });
  }
}
