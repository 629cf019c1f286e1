/** Cheap signaling clients, thousands in one process: no transport, no timers of their own, a few sockets for all. */
import { SocketAddress, systemRandom } from "@adit/core";
import type { QuicConfig, QuicConnection, QuicStream } from "@adit/quic";
import { QuicEndpoint } from "@adit/quic";
import { SignalingClient, type TurnServer } from "@adit/signaling";
import { bindUdp, type UdpSocket } from "@adit/transport";

const room = new Uint8Array(4096);
const out = new Uint8Array(1500);

/** One client: a connection, its stream, and the signaling on it. */
export class LoadClient {
  readonly signaling: SignalingClient;
  readonly quic: QuicConnection;
  readonly socket: UdpSocket;
  readonly startedAt: number;
  /** How long signing up took; null while it is under way. */
  doneMs: number | null = null;
  isClosed = false;
  /** Welcome came, with credentials of the relay. */
  onUp: ((turn: TurnServer | null) => void) | null = null;
  #stream: QuicStream | null = null;

  constructor(
    now: number,
    endpoint: QuicEndpoint,
    config: QuicConfig,
    name: string,
    socket: UdpSocket,
    to: SocketAddress,
  ) {
    this.startedAt = now;
    this.socket = socket;
    this.signaling = new SignalingClient({ role: "connector", name, random: systemRandom });
    this.signaling.handleTimeout(now); // asks for a connection, which is made below
    const local = { host: socket.address.ip, port: socket.address.port };
    this.quic = endpoint.connect(now, { config, local, remote: { host: to.ip, port: to.port } });
  }

  pump(now: number): void {
    for (let event = this.quic.pollEvent(); event; event = this.quic.pollEvent()) {
      if (event.type === "closed") {
        this.#stream = null;
        this.isClosed = true;
      }
      if (event.type !== "established") continue;
      this.#stream = this.quic.openStream();
      this.signaling.handleConnected(now);
    }
    if (this.#stream) this.#converse(now, this.#stream);
    for (let event = this.signaling.pollEvent(); event; event = this.signaling.pollEvent()) {
      if (event.type === "up") this.onUp?.(event.turn);
      if (event.type === "registered") this.doneMs ??= now - this.startedAt;
    }
  }

  #converse(now: number, stream: QuicStream): void {
    for (let read = stream.read(room); typeof read === "number"; read = stream.read(room)) {
      this.signaling.handleData(now, room.subarray(0, read));
    }
    for (let bytes = this.signaling.pollBytes(); bytes; bytes = this.signaling.pollBytes()) stream.write(bytes);
  }
}

/** The clients of a process, and their sockets. */
export class LoadClients {
  readonly #to: SocketAddress;
  readonly #endpoint: QuicEndpoint;
  readonly #sockets: readonly UdpSocket[];
  readonly #clients: Map<QuicConnection, LoadClient>;

  private constructor(
    to: SocketAddress,
    endpoint: QuicEndpoint,
    sockets: readonly UdpSocket[],
    clients: Map<QuicConnection, LoadClient>,
  ) {
    this.#to = to;
    this.#endpoint = endpoint;
    this.#sockets = sockets;
    this.#clients = clients;
  }

  static async open(to: SocketAddress, maxClients: number, sockets = 8): Promise<LoadClients> {
    const endpoint = new QuicEndpoint({ random: systemRandom, maxConnections: maxClients });
    const clients = new Map<QuicConnection, LoadClient>();
    const bound: UdpSocket[] = [];
    const load = new LoadClients(to, endpoint, bound, clients);
    for (let i = 0; i < sockets; i++) bound.push(await load.#bind(`127.2.0.${i + 1}`));
    return load;
  }

  get size(): number {
    return this.#clients.size;
  }

  start(config: QuicConfig, name: string): LoadClient {
    const socket = this.#sockets[this.#clients.size % this.#sockets.length];
    if (!socket) throw new Error("no socket is open");
    const client = new LoadClient(performance.now(), this.#endpoint, config, name, socket, this.#to);
    this.#clients.set(client.quic, client);
    this.#flush(client);
    return client;
  }

  /** Says goodbye, or goes without a word. */
  end(client: LoadClient, politely: boolean): void {
    if (!politely) {
      this.#clients.delete(client.quic);
      return;
    }
    client.signaling.stop(performance.now());
    this.#flush(client);
    client.quic.close(0, "done");
    this.#flush(client);
  }

  /** Retransmissions and keepalives that are due. */
  tick(): void {
    const now = performance.now();
    for (const client of this.#clients.values()) {
      const due = client.quic.pollTimeout(now);
      const signaling = client.signaling.pollTimeout();
      if (signaling && signaling.at <= now) client.signaling.handleTimeout(now);
      else if (!due || due.at > now) continue;
      if (due && due.at <= now) client.quic.handleTimeout(now);
      this.#flush(client);
    }
  }

  #flush(client: LoadClient): void {
    client.pump(performance.now());
    for (let packet = client.quic.send(out); packet; packet = client.quic.send(out)) {
      client.socket.send([{ data: out.slice(0, packet.length), to: this.#to }]);
    }
    if (client.isClosed) this.#clients.delete(client.quic);
  }

  async #bind(ip: string): Promise<UdpSocket> {
    const remote = { host: this.#to.ip, port: this.#to.port };
    const socket: UdpSocket = await bindUdp({
      address: SocketAddress.of(ip, 0),
      handlers: {
        onBatch: (batch) => {
          const touched = new Set<LoadClient>();
          const local = { host: socket.address.ip, port: socket.address.port };
          for (const { data } of batch) {
            const route = this.#endpoint.route(data);
            const client = route.kind === "connection" ? this.#clients.get(route.connection) : undefined;
            if (!client) continue;
            client.quic.recv(performance.now(), data, local, remote);
            touched.add(client);
          }
          for (const client of touched) this.#flush(client);
        },
        onDrain: () => {},
      },
    });
    return socket;
  }
}
