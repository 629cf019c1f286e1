/** A client, its intermediate, and a byte stream between them that takes time: all on virtual time. */
import { type Millis, parseSocketAddress, type Random, randomInt, seededRandom } from "@adit/core";
import {
  SignalingClient,
  type SignalingClientEvent,
  type SignalingClientOptions,
  type SignalingCommand,
  SignalingServerConnection,
  type SignalingServerEvent,
  type TurnServer,
} from "../src/index.ts";

export const CLIENT = "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkena";
export const CONNECTOR = "hvabpq7iioevvevxbktu2g36xsojqlgpf3cjndgazvk7ckxumyga";
export const INTERMEDIATE = "7ri43dtcdcq2hdnep3iaemhqlaebn3itxizqhlc55oirkseqqasq";
export const OBSERVED = parseSocketAddress("203.0.113.7:40111");
export const TURN: TurnServer = {
  address: parseSocketAddress("198.51.100.1:3478"),
  username: "1767225600:a1b2",
  password: "c2VjcmV0",
  realm: "adit",
  expiresInS: 3600,
};

/** Of one connection, each way: what has come, in the order in which it was sent. Null: still under way. */
interface Line {
  readonly toServer: (Uint8Array | null)[];
  readonly toClient: (Uint8Array | null)[];
}

/** When a packet without an acknowledgement is followed by three more, in round trips; then after twice as long. */
const AGAIN_ROUND_TRIPS = 1.5;
const PACKETS_AGAIN = 3;

interface Delivery {
  readonly at: Millis;
  readonly deliver: () => void;
}

export class Pair {
  now: Millis = 0;
  readonly client: SignalingClient;
  server: SignalingServerConnection | null = null;
  readonly clientEvents: SignalingClientEvent[] = [];
  readonly serverEvents: SignalingServerEvent[] = [];
  readonly commands: (SignalingCommand & { at: Millis })[] = [];
  /** One way, ms. */
  delayMs = 20;
  /** While false, attempts to connect are left without any answer. */
  reachable = true;
  /** While true, bytes vanish both ways although the connection stands. */
  silent = false;
  /** Whether the next packet gets lost. What is lost is sent again, as QUIC does it, and holds up what is behind it. */
  loses: (now: Millis, way: keyof Line) => boolean = () => false;
  /** Called for each message the server passes on. */
  onServerEvent: (event: SignalingServerEvent, server: SignalingServerConnection) => void = () => {};
  readonly #random: Random;
  #queue: Delivery[] = [];
  #line: Line | null = null;

  constructor(options: Partial<SignalingClientOptions> = {}, seed = 1) {
    this.#random = seededRandom(seed);
    this.client = new SignalingClient({ role: "agent", random: this.#random, ...options });
  }

  /** Runs until `until`, ms. */
  run(until: Millis): void {
    this.drain();
    for (let steps = 0; steps < 100_000; steps++) {
      const next = this.#nextAt();
      if (next > until) break;
      this.now = Math.max(this.now, next);
      this.#step();
    }
    this.now = until;
  }

  /** Takes what the machines have to say; call it after talking to one of them directly. */
  drain(): void {
    this.#drainClient();
    this.#drainServer();
  }

  eventTypes(): string[] {
    return this.clientEvents.map(({ type }) => type);
  }

  lastClientEvent<K extends SignalingClientEvent["type"]>(type: K): Extract<SignalingClientEvent, { type: K }> | null {
    const found = this.clientEvents.findLast((event) => event.type === type);
    return (found ?? null) as Extract<SignalingClientEvent, { type: K }> | null;
  }

  /** The connection breaks, and both sides' drivers notice at once. */
  breakConnection(reason: string): void {
    this.#queue = [];
    this.server?.handleDisconnected(reason);
    this.#drainServer();
    this.server = null;
    this.#line = null;
    this.client.handleDisconnected(this.now, reason);
    this.drain();
  }

  #nextAt(): Millis {
    const times = [this.client.pollTimeout()?.at, this.server?.pollTimeout()?.at, ...this.#queue.map(({ at }) => at)];
    return Math.min(...times.filter((at) => at !== undefined));
  }

  #step(): void {
    const due = this.#queue.filter(({ at }) => at <= this.now);
    this.#queue = this.#queue.filter(({ at }) => at > this.now);
    for (const { deliver } of due) {
      deliver();
      this.drain();
    }
    this.client.handleTimeout(this.now);
    this.server?.handleTimeout(this.now);
    this.drain();
  }

  #drainClient(): void {
    for (let bytes = this.client.pollBytes(); bytes; bytes = this.client.pollBytes()) {
      this.#carry(bytes, "toServer");
    }
    for (let command = this.client.pollCommand(); command; command = this.client.pollCommand()) {
      this.commands.push({ ...command, at: this.now });
      if (command.type === "connect") this.#connect();
      else this.#later(() => this.server?.handleDisconnected("the client closed"));
    }
    for (let event = this.client.pollEvent(); event; event = this.client.pollEvent()) this.clientEvents.push(event);
  }

  #drainServer(): void {
    const server = this.server;
    if (!server) return;
    for (let bytes = server.pollBytes(); bytes; bytes = server.pollBytes()) {
      this.#carry(bytes, "toClient");
    }
    for (let event = server.pollEvent(); event; event = server.pollEvent()) {
      this.serverEvents.push(event);
      this.onServerEvent(event, server);
      if (event.type === "close") {
        const { reason } = event;
        this.#later(() => this.server === server && this.client.handleDisconnected(this.now, `closed: ${reason}`));
      }
    }
  }

  #connect(): void {
    if (!this.reachable) return;
    this.#later(() => {
      this.server = new SignalingServerConnection({
        now: this.now,
        peerId: CLIENT,
        observed: OBSERVED,
        welcome: { peerId: INTERMEDIATE, turn: TURN },
        random: this.#random,
      });
      this.#line = { toServer: [], toClient: [] };
      this.client.handleConnected(this.now);
    });
  }

  #later(deliver: () => void): void {
    this.#queue.push({ at: this.now + this.delayMs, deliver });
  }

  /** Bytes to where they go, in pieces, on the connection that stands now. */
  #carry(bytes: Uint8Array, way: keyof Line): void {
    const line = this.#line;
    if (!line || !this.server || this.silent) return;
    const cut = randomInt(this.#random, bytes.length + 1);
    for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
      const index = line[way].push(null) - 1;
      this.#transmit(line, way, index, piece, 1, AGAIN_ROUND_TRIPS * 2 * this.delayMs);
    }
  }

  #transmit(line: Line, way: keyof Line, index: number, piece: Uint8Array, packets: number, againMs: Millis): void {
    let acknowledged = false;
    for (let i = 0; i < packets; i++) {
      if (this.loses(this.now, way)) continue;
      const acknowledges = !this.loses(this.now, way === "toServer" ? "toClient" : "toServer");
      acknowledged ||= acknowledges;
      this.#later(() => this.#arrive(line, way, index, piece, acknowledges));
    }
    if (acknowledged) return;
    this.#queue.push({
      at: this.now + againMs,
      deliver: () => {
        if (this.#line === line) this.#transmit(line, way, index, piece, PACKETS_AGAIN, 2 * againMs);
      },
    });
  }

  #arrive(line: Line, way: keyof Line, index: number, piece: Uint8Array, acknowledges: boolean): void {
    if (this.#line !== line || this.silent) return;
    const came = line[way];
    const known = came.indexOf(null);
    if (came[index] === null) came[index] = piece;
    if (acknowledges && way === "toServer") {
      this.#later(() => {
        if (this.#line === line && !this.silent) this.client.handleHeard(this.now);
      });
    }
    if (known === -1) return;
    for (const next of came.slice(known)) {
      if (next === null || this.#line !== line) return;
      if (way === "toServer") this.server?.handleData(this.now, next);
      else this.client.handleData(this.now, next);
    }
  }
}
