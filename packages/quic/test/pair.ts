import { type Random, seededRandom } from "@adit/core";
import {
  type CloseReason,
  type ConnectOptions,
  Identity,
  QuicConfig,
  type QuicConfigOptions,
  type QuicConnection,
  QuicEndpoint,
  type QuicEvent,
  type QuicStream,
  type VirtualAddress,
} from "../src/index.ts";

export const now = (): number => performance.now();
export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Certificates and keys are made once: they cost more than a handshake. */
export const alice = Identity.generate(seededRandom(1));
export const bob = Identity.generate(seededRandom(2));
export const mallory = Identity.generate(seededRandom(3));

export const config = (role: "client" | "server", options: Partial<QuicConfigOptions> = {}): QuicConfig =>
  QuicConfig.create({
    role,
    identity: role === "client" ? alice : bob,
    alpn: "test/1",
    maxIdleTimeoutMs: 30_000,
    ...options,
  });

/** Slot `i` by its two names: what the client calls its local address, the server calls its remote one. */
export const clientSlot = (i: number): VirtualAddress => ({ host: "192.0.2.1", port: 1000 + i });
export const serverSlot = (i: number): VirtualAddress => ({ host: "192.0.2.2", port: 2000 + i });

export interface Packet {
  readonly up: boolean;
  readonly slot: number;
  readonly data: Uint8Array;
}

export interface PairOptions {
  readonly client?: Partial<QuicConfigOptions>;
  readonly server?: Partial<QuicConfigOptions>;
  readonly connect?: Partial<ConnectOptions>;
  readonly seed?: number;
  readonly clientConfig?: QuicConfig;
  readonly serverConfig?: QuicConfig;
  /** Whom the server lets in; anybody unless given. */
  readonly check?: Pick<ConnectOptions, "expectedPeerId" | "admit">;
  readonly maxConnections?: number;
  readonly resetKey?: Uint8Array;
}

/** A client and a server, and a network between them that is a function call. */
export class Pair {
  readonly random: Random;
  readonly clientEndpoint: QuicEndpoint;
  readonly serverEndpoint: QuicEndpoint;
  readonly client: QuicConnection;
  /** Null until the first Initial has arrived. */
  server: QuicConnection | null = null;
  readonly clientEvents: QuicEvent[] = [];
  readonly serverEvents: QuicEvent[] = [];
  onServerStream: (stream: QuicStream) => void = () => {};
  onClientStream: (stream: QuicStream) => void = () => {};
  /** What happens to a packet on its way: the packets that arrive instead, by default itself. */
  network: (packet: Packet) => readonly Packet[] = (packet) => [packet];
  /** Called at the start of each turn; whether something is still on its way. */
  beforeTurn: () => boolean = () => false;
  packets = 0;
  /** What the client's driver sends before it listens again. */
  clientPacketsPerTurn = Number.POSITIVE_INFINITY;
  readonly #out = new Uint8Array(2048);
  readonly #check: NonNullable<PairOptions["check"]>;

  constructor(options: PairOptions = {}) {
    this.#check = options.check ?? {};
    this.random = seededRandom(options.seed ?? 7);
    this.clientEndpoint = new QuicEndpoint({ random: this.random });
    this.serverEndpoint = new QuicEndpoint({
      random: this.random,
      server: options.serverConfig ?? config("server", options.server),
      ...(options.maxConnections === undefined ? {} : { maxConnections: options.maxConnections }),
      ...(options.resetKey === undefined ? {} : { resetKey: options.resetKey }),
    });
    this.client = this.clientEndpoint.connect(now(), {
      config: options.clientConfig ?? config("client", options.client),
      local: clientSlot(0),
      remote: serverSlot(0),
      ...options.connect,
    });
  }

  /** The server's connection, which must be there. */
  get peer(): QuicConnection {
    if (!this.server) throw new Error("no Initial has reached the server");
    return this.server;
  }

  /** One step of both drivers. Whether anything moved. */
  turn(): boolean {
    let moved = this.beforeTurn();
    for (const connection of [this.client, this.server]) {
      if (!connection) continue;
      const deadline = connection.pollTimeout(now());
      if (deadline && deadline.at <= now()) connection.handleTimeout(now());
      moved = this.#events(connection) || moved;
      const up = connection === this.client;
      for (let left = up ? this.clientPacketsPerTurn : Number.POSITIVE_INFINITY; left > 0; left--) {
        const sent = connection.send(this.#out);
        if (!sent) break;
        moved = true;
        const slot = up ? sent.local.port - 1000 : sent.local.port - 2000;
        for (const packet of this.network({ up, slot, data: this.#out.slice(0, sent.length) })) this.deliver(packet);
      }
      moved = this.#events(connection) || moved;
    }
    return moved;
  }

  deliver({ up, slot, data }: Packet): void {
    this.packets++;
    const [local, remote] = up ? [serverSlot(slot), clientSlot(slot)] : [clientSlot(slot), serverSlot(slot)];
    const route = (up ? this.serverEndpoint : this.clientEndpoint).route(data);
    if (route.kind === "connection") route.connection.recv(now(), data, local, remote);
    if (route.kind !== "initial") return;
    const connection = this.serverEndpoint.accept(now(), route.header, local, remote, this.#check);
    connection?.recv(now(), data, local, remote);
    if (this.server)
      while (connection?.pollEvent()) {} // a stranger's: nobody else drives it
    else this.server = connection;
  }

  /** Turns until nothing moves at this moment. */
  exchange(): void {
    for (let i = 0; i < 100_000; i++) if (!this.turn()) return;
    throw new Error("the pair never comes to rest");
  }

  /** Exchanges, letting the native timers run, until `done`. Time is only waited for, never trusted to be enough. */
  async until(done: () => boolean, what: string, timeoutMs = 10_000): Promise<void> {
    const end = now() + timeoutMs;
    for (;;) {
      this.exchange();
      if (done()) return;
      if (now() > end) throw new Error(`gave up waiting: ${what}`);
      await sleep(1);
    }
  }

  /** Like {@link until}, but looks after every turn. */
  async steps(done: () => boolean, what: string, timeoutMs = 10_000): Promise<void> {
    const end = now() + timeoutMs;
    while (!done()) {
      if (now() > end) throw new Error(`gave up waiting: ${what}`);
      if (!this.turn()) await sleep(1);
    }
  }

  handshake(): this {
    this.exchange();
    if (this.client.state !== "established" || this.server?.state !== "established") {
      throw new Error(`no handshake: ${this.client.state}, ${this.server?.state}`);
    }
    return this;
  }

  #events(connection: QuicConnection): boolean {
    const atClient = connection === this.client;
    let any = false;
    for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
      any = true;
      (atClient ? this.clientEvents : this.serverEvents).push(event);
      if (event.type === "stream") (atClient ? this.onClientStream : this.onServerStream)(event.stream);
    }
    return any;
  }
}

export const closed = (events: readonly QuicEvent[]): CloseReason | null =>
  events.find((event) => event.type === "closed") ?? null;

export const types = (events: readonly QuicEvent[]): string[] => events.map((event) => event.type);

/** What the transport's control stream does: each side learns how the other has ended its streams, whatever gets lost. */
export function tellEnded(pair: Pair): void {
  for (const [from, to] of [
    [pair.client, pair.server],
    [pair.server, pair.client],
  ]) {
    for (let ending = from?.takeEnded(); ending; ending = from?.takeEnded()) to?.expectEnd(ending);
  }
}

/** Everything the peer sends on a stream, collected as it comes. */
export class Sink {
  readonly chunks: Uint8Array[] = [];
  length = 0;
  ended = false;
  error: unknown = null;
  readonly stream: QuicStream;

  constructor(stream: QuicStream) {
    this.stream = stream;
    stream.onReadable = () => this.#drain();
  }

  get bytes(): Uint8Array {
    const out = new Uint8Array(this.length);
    let at = 0;
    for (const chunk of this.chunks) {
      out.set(chunk, at);
      at += chunk.length;
    }
    return out;
  }

  #drain(): void {
    const buffer = new Uint8Array(65_536);
    try {
      for (;;) {
        const result = this.stream.read(buffer);
        if (result === "blocked") return;
        if (result === "end") {
          this.ended = true;
          return;
        }
        this.chunks.push(buffer.slice(0, result));
        this.length += result;
      }
    } catch (error) {
      this.error = error;
    }
  }
}

/** Writes `data` and FIN as fast as the stream takes it. */
export function pour(stream: QuicStream, data: Uint8Array): { sent: number } {
  const state = { sent: 0 };
  const go = () => {
    while (state.sent < data.length) {
      const taken = stream.write(data.subarray(state.sent, state.sent + 65_536));
      state.sent += taken;
      if (taken === 0) return;
    }
    stream.onWritable = null;
    stream.finish();
  };
  stream.onWritable = go;
  go();
  return state;
}

/** `length` bytes of which no two stretches are alike. */
export function pattern(length: number, seed = 1): Uint8Array {
  const data = new Uint8Array(length);
  let x = seed | 1;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    data[i] = x >>> 24;
  }
  return data;
}

/** A slot as the client names it. */
export const slot = (i: number) => [clientSlot(i), serverSlot(i)] as const;

/** The slot that quiche sends on. */
export const activeSlot = (connection: QuicConnection): number =>
  (connection.pathStats().find(({ active }) => active)?.local.port ?? Number.NaN) % 1000;

export const pathEvents = (events: readonly QuicEvent[]): string[] =>
  events.flatMap((event) => (event.type === "path" ? [`${event.event} ${event.local.port % 1000}`] : []));

/** Probes a slot until it is validated on both sides. */
export async function probe(pair: Pair, i: number): Promise<void> {
  pair.client.probePath(...slot(i));
  await pair.until(
    () => pair.client.isPathValidated(...slot(i)) && pair.peer.isPathValidated(serverSlot(i), clientSlot(i)),
    `slot ${i} validated`,
  );
}
