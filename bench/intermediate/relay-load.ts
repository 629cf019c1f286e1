/** Clients of a relay and their peer, in one process: so many allocations, each with a channel, and an echo behind them. */
import { SocketAddress, systemRandom } from "@adit/core";
import { TurnClient } from "@adit/ice";
import { bindUdp, type UdpSocket } from "@adit/transport";

export interface LoadOptions {
  readonly server: SocketAddress;
  readonly allocations: number;
  readonly payloadBytes: number;
  /** Packets sent to the relay per second, all clients together; as many come back. */
  readonly rate: number;
  /** Without TURN: the bytes are sent as they are (the floor). */
  readonly plain: boolean;
}

/** One client: a socket, an allocation, and the datagram that it sends again and again. */
interface Client {
  readonly socket: UdpSocket;
  datagram: Uint8Array;
}

const BURST_MS = 4;

export class RelayLoad {
  /** What the peer received, and what came back to the clients: each is a packet relayed. */
  packets = 0;
  readonly #options: LoadOptions;
  readonly #peer: UdpSocket;
  readonly #clients: Client[] = [];
  #next = 0;

  private constructor(options: LoadOptions, peer: UdpSocket) {
    this.#options = options;
    this.#peer = peer;
  }

  /** The echo alone: the floor has to know its address before it starts. */
  static async echo(count: () => void): Promise<UdpSocket> {
    const socket: UdpSocket = await bindUdp({
      address: SocketAddress.of("127.0.0.1", 0),
      handlers: {
        onBatch: (batch) => {
          for (let i = 0; i < batch.length; i++) count();
          socket.send(batch.map(({ data, from }) => ({ data, to: from })));
        },
        onDrain: () => {},
      },
    });
    return socket;
  }

  static async start(options: LoadOptions, peer: UdpSocket): Promise<RelayLoad> {
    const load = new RelayLoad(options, peer);
    const payload = new Uint8Array(options.payloadBytes).fill(0x61);
    for (let i = 0; i < options.allocations; i++) {
      load.#clients.push(options.plain ? await load.#plainClient(payload) : await load.#turnClient(payload));
    }
    return load;
  }

  /** Sends for so long. */
  async run(ms: number): Promise<void> {
    const { rate, server } = this.#options;
    const startedAt = performance.now();
    for (let sent = 0; performance.now() - startedAt < ms; ) {
      const due = Math.floor(((performance.now() - startedAt) / 1000) * rate);
      for (; sent < due; sent++) {
        const client = this.#clients[this.#next++ % this.#clients.length];
        client?.socket.send([{ data: client.datagram, to: server }]);
      }
      await new Promise((resolve) => setTimeout(resolve, BURST_MS));
    }
    await new Promise((resolve) => setTimeout(resolve, 300)); // what is under way
  }

  /** Sends one packet of the first client, and waits until it has come back; how long that took, ms. */
  async roundTrip(): Promise<number> {
    const [client] = this.#clients;
    const before = this.packets;
    const startedAt = performance.now();
    client?.socket.send([{ data: client.datagram, to: this.#options.server }]);
    while (this.packets === before && performance.now() - startedAt < 1000) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    return performance.now() - startedAt;
  }

  close(): void {
    for (const { socket } of this.#clients) socket.close();
    this.#peer.close();
  }

  async #plainClient(payload: Uint8Array): Promise<Client> {
    const onBatch = (batch: readonly unknown[]): void => {
      this.packets += batch.length;
    };
    const handlers = { onBatch, onDrain: () => {} };
    return { socket: await bindUdp({ address: SocketAddress.of("127.0.0.1", 0), handlers }), datagram: payload };
  }

  async #turnClient(payload: Uint8Array): Promise<Client> {
    const { server } = this.#options;
    let turn: TurnClient | null = null;
    let ready = false;
    const client: { socket: UdpSocket | null; datagram: Uint8Array } = { socket: null, datagram: payload };
    const act = (work: (now: number) => void): void => {
      const now = performance.now();
      work(now);
      for (let out = turn?.pollTransmit(); out; out = turn?.pollTransmit()) client.socket?.send([out]);
    };
    const socket = await bindUdp({
      address: SocketAddress.of("127.0.0.1", 0),
      handlers: {
        onBatch: (batch) => {
          if (ready) this.packets += batch.length;
          else for (const { data } of batch) act((now) => turn?.handleDatagram(now, data));
        },
        onDrain: () => {},
      },
    });
    client.socket = socket;
    turn = new TurnClient({
      server,
      socket: 0,
      relaySocket: 1000,
      random: systemRandom,
      username: "u",
      password: "p",
    });
    const peer = this.#peer.address;
    act((now) => turn?.start(now));
    for (let asked = false; turn.channelOf(peer) === null; await new Promise((resolve) => setTimeout(resolve, 1))) {
      if (turn.state === "failed") throw new Error("the relay gave no allocation");
      act((now) => turn?.handleTimeout(now));
      if (asked || turn.state !== "allocated") continue;
      asked = true;
      act((now) => turn?.bindChannel(now, peer));
    }
    ready = true;
    return { socket, datagram: turn.send(peer, payload).slice() };
  }
}
