/** A signaling server and clients of it in one process: packets are passed by hand, no socket in between. */
import { type Millis, nullLogger, SocketAddress, systemRandom } from "@adit/core";
import { Identity, QuicConfig, type QuicConnection, QuicEndpoint, type QuicStream } from "@adit/quic";
import {
  type ClientMessage,
  type IntermediateMessage,
  type Role,
  SIGNALING_ALPN,
  SignalingClient,
  type SignalingClientEvent,
} from "@adit/signaling";
import { Accounts } from "../src/accounts.ts";
import { Credentials } from "../src/credentials.ts";
import { DEFAULT_LIMITS, type Limits } from "../src/limits.ts";
import { SignalingServer } from "../src/signaling-server.ts";

export const SERVER = SocketAddress.of("198.41.0.4", 4433);
export const TURN_ADDRESS = SocketAddress.of("0.0.0.0", 3478);

export class SignalingKit {
  readonly identity = Identity.generate();
  server: SignalingServer;
  readonly credentials: Credentials;
  readonly peers: Peer[] = [];
  sessionChanges = 0;
  /** Added to the real clock, which QUIC's own timers run on. */
  skewMs = 0;

  limits: Limits = DEFAULT_LIMITS;
  readonly accounts = new Accounts({ limits: () => this.limits });
  readonly #options: { readonly allow?: ReadonlySet<string> };

  constructor(options: { readonly allow?: ReadonlySet<string> } = {}) {
    this.#options = options;
    this.credentials = new Credentials({ realm: "adit", random: systemRandom, unixSeconds: () => Date.now() / 1000 });
    this.server = this.#startServer();
  }

  /** The server's process dies without a word, and another one takes its place: same key, same address. */
  restartServer(): void {
    this.server = this.#startServer();
  }

  #startServer(): SignalingServer {
    return new SignalingServer({
      identity: this.identity,
      sockets: [{ socket: 0, address: SERVER }],
      admit: (peerId) => this.#options.allow?.has(peerId) ?? true,
      credentials: this.credentials,
      turnAddress: () => TURN_ADDRESS,
      onSessionsChanged: () => this.sessionChanges++,
      accounts: this.accounts,
      resetKey: new Uint8Array(32).fill(9),
      wake: () => {},
      random: systemRandom,
      log: nullLogger,
    });
  }

  get now(): Millis {
    return performance.now() + this.skewMs;
  }

  join(role: Role, o: JoinOptions = {}): Peer {
    const address = SocketAddress.of(o.ip ?? "8.8.8.8", o.port ?? 1000 + this.peers.length);
    const peer = new Peer(role, address, o.identity ?? Identity.generate(), o);
    this.peers.push(peer);
    return peer;
  }

  /** Passes packets until nothing moves. */
  pump(): void {
    for (let round = 0; round < 100; round++) {
      if (!this.#round()) return;
    }
    throw new Error("they never come to rest");
  }

  /** Pumps until `done`, while QUIC's real timers run. What is to come in time says so; else `timeoutMs` is against hanging for ever, on loaded machines too. */
  async until(what: string, done: () => boolean, timeoutMs = 30_000): Promise<void> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      this.pump();
      if (done()) return;
      if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  #round(): boolean {
    const { now } = this;
    let moved = false;
    for (const peer of this.peers) {
      for (const data of peer.turn(now)) {
        this.server.entrance.handleDatagram(now, peer.address, data);
        moved = true;
      }
    }
    const due = this.server.pollTimeout();
    if (due && due.at <= now) this.server.handleTimeout(now);
    this.server.drain(now);
    for (let transmit = this.server.pollTransmit(); transmit; transmit = this.server.pollTransmit()) {
      const { to, data } = transmit;
      this.peers.find((peer) => peer.address.equals(to))?.receive(now, data.slice());
      moved = true;
    }
    return moved;
  }
}

export interface JoinOptions {
  readonly name?: string;
  readonly ip?: string;
  readonly port?: number;
  readonly identity?: Identity;
  /** Sent instead of what the client would say. */
  readonly firstBytes?: Uint8Array;
}

/** A client: SignalingClient over a QUIC connection. */
export class Peer {
  readonly identity: Identity;
  readonly client: SignalingClient;
  readonly events: SignalingClientEvent[] = [];
  /** Where its packets seem to come from: a NAT may change it without the client's noticing. */
  address: SocketAddress;
  connection: QuicConnection | null = null;
  /** False: a client that is gone without a word. */
  alive = true;
  receivedBytes = 0;
  readonly #quic = new QuicEndpoint({ random: systemRandom });
  readonly #config: QuicConfig;
  readonly #local = { host: "192.168.1.2", port: 40_000 };
  readonly #firstBytes: Uint8Array | null;
  #stream: QuicStream | null = null;

  constructor(role: Role, address: SocketAddress, identity: Identity, { name, firstBytes }: JoinOptions) {
    this.#firstBytes = firstBytes ?? null;
    this.identity = identity;
    this.address = address;
    this.client = new SignalingClient({ role, random: systemRandom, ...(name === undefined ? {} : { name }) });
    this.#config = QuicConfig.create({ role: "client", identity, alpn: SIGNALING_ALPN, maxIdleTimeoutMs: 30_000 });
  }

  say(now: Millis, message: ClientMessage): void {
    if (!this.client.send(now, message)) throw new Error(`${message.type} could not be sent`);
  }

  /** Ends its stream, as a client does that gives the connection up to make another. */
  endStream(): void {
    this.#stream?.finish();
  }

  /** The messages of that type that came. */
  got<K extends IntermediateMessage["type"]>(type: K): Extract<IntermediateMessage, { type: K }>[] {
    return this.events.flatMap((event) =>
      event.type === "message" && event.message.type === type
        ? [event.message as Extract<IntermediateMessage, { type: K }>]
        : [],
    );
  }

  event<K extends SignalingClientEvent["type"]>(type: K): Extract<SignalingClientEvent, { type: K }> | undefined {
    return this.events.find((event) => event.type === type) as Extract<SignalingClientEvent, { type: K }> | undefined;
  }

  receive(now: Millis, data: Uint8Array): void {
    if (!this.alive) return;
    this.receivedBytes += data.length;
    const route = this.#quic.route(data);
    // A packet for no connection may be a stateless reset: as the transport does, the connection is asked.
    if (route.kind === "drop") return this.connection?.recv(now, data, this.#local, at(SERVER));
    if (route.kind !== "connection") return;
    route.connection.recv(now, data, this.#local, at(SERVER));
  }

  /** Works, and returns what it wants sent. */
  turn(now: Millis): Uint8Array[] {
    if (!this.alive) return [];
    this.client.handleTimeout(now);
    for (let command = this.client.pollCommand(); command; command = this.client.pollCommand()) {
      if (command.type === "disconnect") {
        this.#write();
        this.connection?.close(0, command.reason);
        this.connection = null;
        this.#stream = null;
      } else {
        this.connection = this.#quic.connect(now, {
          config: this.#config,
          local: this.#local,
          remote: at(SERVER),
        });
      }
    }
    this.#pumpConnection(now);
    this.#write();
    for (let event = this.client.pollEvent(); event; event = this.client.pollEvent()) this.events.push(event);
    const out: Uint8Array[] = [];
    for (const connection of this.#quic.connections()) {
      const due = connection.pollTimeout(now);
      if (due && due.at <= now) connection.handleTimeout(now);
      if (connection !== this.connection) while (connection.pollEvent());
      const packet = new Uint8Array(1500);
      for (let sent = connection.send(packet); sent; sent = connection.send(packet)) {
        out.push(packet.slice(0, sent.length));
      }
    }
    return out;
  }

  #pumpConnection(now: Millis): void {
    const { connection } = this;
    if (!connection) return;
    for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
      if (event.type === "established") {
        this.#stream = connection.openStream();
        this.client.handleConnected(now);
        if (this.#firstBytes) {
          this.#stream.write(this.#firstBytes);
          while (this.client.pollBytes());
        }
      } else if (event.type === "closed") {
        this.#read(now);
        this.connection = null;
        this.#stream = null;
        this.client.handleDisconnected(now, event.reason);
        return;
      }
    }
    this.#read(now);
  }

  #read(now: Millis): void {
    const buffer = new Uint8Array(4096);
    try {
      for (let read = this.#stream?.read(buffer); typeof read === "number"; read = this.#stream?.read(buffer)) {
        this.client.handleData(now, buffer.subarray(0, read));
      }
    } catch {
      // Reset or closed: the connection's own event tells.
    }
  }

  #write(): void {
    try {
      for (let bytes = this.client.pollBytes(); bytes; bytes = this.client.pollBytes()) this.#stream?.write(bytes);
    } catch {
      // As above.
    }
  }
}

const at = (address: SocketAddress) => ({ host: address.ip, port: address.port });
