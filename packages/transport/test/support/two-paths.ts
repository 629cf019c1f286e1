/** Two data paths and their connections over wires with a round trip, a rate and a queue, and a transfer through them. */
import { monotonicClock, SocketAddress, systemRandom } from "@adit/core";
import { Identity, QuicConfig, type QuicConnection, QuicEndpoint, QuicError, type QuicStream } from "@adit/quic";
import { VALIDATION_TIMEOUT_MS } from "../../src/path/actions.ts";
import { MAX_DATAGRAM_BYTES } from "../../src/path/datagram-size.ts";
import { DataPath } from "../../src/peer/data-path.ts";

export const now = (): number => monotonicClock.now();

export type Name = "direct" | "relay";
const NAMES: readonly Name[] = ["direct", "relay"];
export type Role = "agent" | "connector";

export interface WireOptions {
  readonly rttMs: number;
  readonly bytesPerMs: number;
  readonly queueBytes: number;
}

export type Wires = Readonly<Record<Name, WireOptions>>;

const ADDRESSES: Readonly<Record<Name, SocketAddress>> = {
  direct: SocketAddress.of("192.0.2.10", 1),
  relay: SocketAddress.of("192.0.2.20", 2),
};

interface Arrival {
  readonly at: number;
  readonly data: Uint8Array;
}

/** One direction of a path: a bottleneck, its queue, and the way behind it. */
class Wire {
  isCut = false;
  /** What was to leave, and what found the queue full. */
  readonly sent: { readonly at: number; readonly bytes: number; readonly dropped: boolean }[] = [];
  readonly #options: WireOptions;
  #freeAt = 0;
  #flying: Arrival[] = [];

  constructor(options: WireOptions) {
    this.#options = options;
  }

  /** As a check would measure it now, were the other direction's queue empty. */
  get rttMs(): number {
    return this.#options.rttMs + Math.max(0, this.#freeAt - now());
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

  /** What has arrived. */
  take(): Arrival[] {
    const at = now();
    const due = this.#flying.filter((packet) => packet.at <= at);
    this.#flying = this.#flying.slice(due.length);
    return due;
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
  readonly data: DataPath;
  readonly pairs: Readonly<Record<Name, string>>;
  readonly wires: Readonly<Record<Name, Wire>>;
  connection: QuicConnection | null = null;
  stream: QuicStream | null = null;

  constructor(wires: Wires) {
    this.data = new DataPath({
      rttMs: (pair) => this.wires[pair === this.pairs.relay ? "relay" : "direct"].rttMs,
      isRelayed: (pair) => pair === this.pairs.relay,
    });
    this.pairs = {
      direct: this.data.learn(0, ADDRESSES.direct).pair,
      relay: this.data.learn(0, ADDRESSES.relay).pair,
    };
    this.wires = { direct: new Wire(wires.direct), relay: new Wire(wires.relay) };
  }
}

export class Transfer {
  readonly sides: Readonly<Record<Role, Side>>;
  readonly sender: Role;
  received = 0;
  isPouring = false;
  /** As a policy's decisions do, it comes between timeouts and what is sent. */
  #decide: () => void = () => {};
  readonly #client = new QuicEndpoint({ random: systemRandom });
  readonly #server: QuicEndpoint;
  readonly #buffer = new Uint8Array(256 * 1024);

  constructor(sender: Role, wires: Wires) {
    this.sender = sender;
    this.sides = { agent: new Side(wires), connector: new Side(wires) };
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

  /** The transfer may begin. */
  async open(): Promise<void> {
    const { agent, connector } = this.sides;
    await this.until(() => agent.connection?.state === "established", "established");
    agent.stream = agent.connection?.openStream() ?? null;
    agent.stream?.write(new Uint8Array(1));
    await this.until(() => connector.stream !== null, "the stream");
    await this.until(() => now() >= (agent.connection?.settledAt ?? Infinity), "settled");
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

  /** As often as it takes. */
  async validate(name: Name): Promise<void> {
    const { connection, data, pairs } = this.sides.agent;
    const slot = data.slots.bind(pairs[name], []) ?? 0;
    const { local, remote } = data.addresses(slot);
    if (!connection) throw new Error("there is no connection");
    let askAt = now();
    const ask = (): void => {
      if (now() < askAt || !data.mayProbe(now(), connection, slot)) return;
      try {
        connection.probePath(local, remote);
        askAt = now() + VALIDATION_TIMEOUT_MS;
      } catch (error) {
        if (!(error instanceof QuicError && error.code === "out-of-identifiers")) throw error; // they are on their way
      }
    };
    this.#decide = ask;
    await this.until(() => connection.isPathValidated(local, remote), "validated");
    this.#decide = () => {};
  }

  #turn(): void {
    const { agent, connector } = this.sides;
    this.#deliverAll(agent, connector);
    this.#deliverAll(connector, agent);
    for (const { data } of [agent, connector]) data.handleTimeout(now());
    this.#decide();
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
    if (sends) while (this.isPouring && (stream?.write(this.#buffer) ?? 0) > 0);
    else
      for (let read = stream?.read(this.#buffer); typeof read === "number"; read = stream?.read(this.#buffer))
        this.received += read;
  }

  /** In the order in which it came, however long the machine did something else. */
  #deliverAll(from: Side, to: Side): void {
    const arrivals = NAMES.flatMap((name) => from.wires[name].take().map((arrival) => ({ ...arrival, name })));
    arrivals.sort((a, b) => a.at - b.at);
    for (const { name, data } of arrivals) this.#deliver(to, name, data);
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
