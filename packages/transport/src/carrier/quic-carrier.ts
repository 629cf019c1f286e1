import type { Deadline, Millis, SocketAddress, SocketId, Transmit } from "@adit/core";
import {
  type QuicConfig,
  type QuicConnection,
  type QuicEndpoint,
  type QuicStream,
  useHandshakeRoundTrip,
} from "@adit/quic";
import { PacketBuffers } from "../peer/packet-buffers.ts";
import type { Carrier, CarrierEvent } from "./carrier.ts";

const PACKET_BYTES = 1500;
/** Application close code: nothing is wrong. */
const DONE = 0;

export interface QuicDialOptions {
  readonly quic: QuicEndpoint;
  readonly config: QuicConfig;
  readonly remote: SocketAddress;
  /** Our socket, and its own address. */
  readonly socket: { readonly id: SocketId; readonly address: SocketAddress };
  readonly wake: () => void;
}

/** Signaling over QUIC, on a client's side: the connection to the intermediate, and the one stream on it. */
export class QuicCarrier implements Carrier {
  readonly kind = "quic";
  readonly heldBytes = 0;
  readonly remote: SocketAddress;
  readonly connection: QuicConnection;
  readonly #local: { readonly host: string; readonly port: number };
  readonly #socket: SocketId;
  readonly #wake: () => void;
  readonly #buffers = new PacketBuffers(PACKET_BYTES);
  #stream: QuicStream | null = null;
  /** There may be something to read: it is asked for in each of the driver's rounds, whoever's datagrams those are about. */
  #mayRead = false;
  /** Why the connection closes as soon as what was written has left. */
  #finishing: string | null = null;

  /** @throws QuicError when the endpoint takes no more connections. */
  constructor(now: Millis, { quic, config, remote, socket, wake }: QuicDialOptions) {
    this.remote = remote;
    this.#socket = socket.id;
    this.#local = { host: socket.address.ip, port: socket.address.port };
    this.#wake = wake;
    this.connection = quic.connect(now, {
      config,
      local: this.#local,
      remote: { host: remote.ip, port: remote.port },
    });
    this.connection.onWork = wake;
  }

  get isGone(): boolean {
    return this.connection.state === "closed";
  }

  /** As QUIC takes it, which counts in whole milliseconds; null below one. */
  get rttMs(): Millis | null {
    return this.connection.pathStats()[0]?.rttMs || null;
  }

  /**
   * True: the intermediate sent it. Also takes one of no connection of ours: a stateless reset (RFC 9000 §10.3) is known by the token at its end alone.
   */
  handleDatagram(now: Millis, data: Uint8Array): boolean {
    const before = this.connection.stats().packetsReceived;
    this.connection.recv(now, data, this.#local, { host: this.remote.ip, port: this.remote.port });
    return this.connection.stats().packetsReceived > before;
  }

  pollTransmit(): Transmit | null {
    const packet = this.#packet();
    if (packet || this.#finishing === null || this.connection.state !== "established") return packet;
    this.connection.close(DONE, this.#finishing);
    return this.#packet();
  }

  pollEvent(): CarrierEvent | null {
    for (let event = this.connection.pollEvent(); event; event = this.connection.pollEvent()) {
      if (event.type === "established") {
        useHandshakeRoundTrip(this.connection);
        this.#stream = this.connection.openStream();
        this.#stream.onReadable = this.#onReadable;
        this.#stream.onWritable = this.#wake;
        return event;
      }
      if (event.type === "closed") {
        return { type: "closed", reason: event.reason || `the connection was closed by ${event.by}` };
      }
    }
    return null;
  }

  read(buffer: Uint8Array): number | "blocked" | "end" {
    if (!this.#stream || !this.#mayRead) return "blocked";
    const read = this.#stream.read(buffer);
    if (read === "blocked") this.#mayRead = false;
    return read;
  }

  write(data: Uint8Array): number {
    return this.#stream?.write(data) ?? 0;
  }

  finish(reason: string): void {
    if (this.connection.state === "handshaking") return this.abort(DONE, reason);
    this.#finishing = reason;
    this.#wake();
  }

  abort(code: number, reason: string): void {
    this.connection.close(code, reason);
    this.#wake();
  }

  handleTimeout(now: Millis): void {
    const due = this.connection.pollTimeout(now);
    if (due && due.at <= now) this.connection.handleTimeout(now);
  }

  pollTimeout(now: Millis): Deadline | null {
    return this.connection.pollTimeout(now);
  }

  readonly #onReadable = (): void => {
    this.#mayRead = true;
    this.#wake();
  };

  #packet(): Transmit | null {
    const sent = this.connection.send(this.#buffers.next());
    return sent && { data: this.#buffers.commit(sent.length), socket: this.#socket, to: this.remote };
  }
}
