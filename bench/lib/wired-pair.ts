/** Two connections of ours in one process, and a link between them. */
import { seededRandom } from "@adit/core";
import { type Congestion, Identity, QuicConfig, type QuicConnection, QuicEndpoint, type QuicStream } from "@adit/quic";
import type { Link, Wire } from "./wire.ts";

const LOCAL = { host: "192.0.2.1", port: 1 };
const REMOTE = { host: "192.0.2.2", port: 1 };

export interface WiredPairOptions {
  readonly link: Link;
  readonly seed: number;
  readonly congestion: Congestion;
  /** Told to both, as a session tells it; without it they wait for the native library's timeouts. */
  readonly roundTripMs?: number | null;
  readonly onEstablished: (client: QuicConnection) => void;
  /** The client has opened it, and this is the server's end. */
  readonly onStream: (stream: QuicStream) => void;
  readonly onClosed: (reason: string) => void;
}

export class WiredPair {
  readonly #options: WiredPairOptions;
  readonly #serverEndpoint: QuicEndpoint;
  readonly #client: QuicConnection;
  #server: QuicConnection | null = null;
  readonly #room = new Uint8Array(1500);

  constructor(options: WiredPairOptions) {
    this.#options = options;
    const random = seededRandom(options.seed);
    const identity = Identity.generate(random);
    const config = (role: "client" | "server") =>
      QuicConfig.create({
        role,
        identity,
        alpn: "bench/1",
        maxIdleTimeoutMs: 60_000,
        handshakeTimeoutMs: 60_000,
        congestion: options.congestion,
        maxDatagramSizeBytes: 1400,
      });
    this.#serverEndpoint = new QuicEndpoint({ random, server: config("server") });
    const path = { local: LOCAL, remote: REMOTE };
    this.#client = new QuicEndpoint({ random }).connect(performance.now(), { config: config("client"), ...path });
  }

  tick(now: number): void {
    const { up, down } = this.#options.link;
    down.deliver(now);
    up.deliver(now);
    this.#drive(now, this.#client, up, this.#toServer);
    if (this.#server) this.#drive(now, this.#server, down, this.#toClient);
  }

  readonly #toClient = (data: Uint8Array): void => this.#client.recv(performance.now(), data, LOCAL, REMOTE);

  readonly #toServer = (data: Uint8Array): void => {
    const now = performance.now();
    const route = this.#serverEndpoint.route(data);
    if (route.kind === "connection") route.connection.recv(now, data, REMOTE, LOCAL);
    if (route.kind !== "initial" || this.#server) return;
    this.#server = this.#serverEndpoint.accept(now, route.header, REMOTE, LOCAL);
    this.#server?.recv(now, data, REMOTE, LOCAL);
  };

  #drive(now: number, connection: QuicConnection, wire: Wire, to: (data: Uint8Array) => void): void {
    const { roundTripMs = null, onEstablished, onStream, onClosed } = this.#options;
    connection.roundTripMs = roundTripMs;
    const deadline = connection.pollTimeout(now);
    if (deadline && deadline.at <= now) connection.handleTimeout(now);
    for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
      if (event.type === "established" && connection === this.#client) onEstablished(connection);
      if (event.type === "stream") onStream(event.stream);
      if (event.type === "closed") onClosed(event.reason);
    }
    for (let sent = connection.send(this.#room); sent; sent = connection.send(this.#room)) {
      wire.send(now, this.#room.slice(0, sent.length), to);
    }
    while (connection.pollEvent()) {}
  }
}
