/** A signaling server whose clients come over TLS, on virtual time: neither sockets nor handshakes, so that many are cheap. */
import { EventEmitter } from "node:events";
import type { TLSSocket } from "node:tls";
import { type Millis, nullLogger, type Random, SocketAddress } from "@adit/core";
import { Identity } from "@adit/quic";
import { FrameReader, PROTOCOL_VERSION, type SignalingMessage, signalingCodec } from "@adit/signaling";
import { Credentials } from "../src/credentials.ts";
import { SignalingServer } from "../src/signaling-server.ts";
import { SERVER, TURN_ADDRESS } from "./signaling-kit.ts";

/** What the server sees of a client whose handshake is over. */
export class FakeTls extends EventEmitter {
  readonly writable = true;
  /** False: what the server writes stays with the server. */
  reads = true;
  /** A real socket says later that it is closed. */
  closesAtOnce = true;
  isOpen = true;
  /** What the server said. */
  readonly heard: SignalingMessage[] = [];
  readonly #raw: Uint8Array;
  readonly #frames = new FrameReader();

  constructor(certificate: Uint8Array) {
    super();
    this.#raw = certificate;
  }

  get writableLength(): number {
    return this.reads ? 0 : 65_537;
  }

  getPeerCertificate = () => ({ raw: this.#raw });
  setNoDelay(): void {}
  pause(): void {}
  resume(): void {}

  write(data: Uint8Array): void {
    for (const payload of this.#frames.frames(data)) this.heard.push(signalingCodec.decode(payload));
  }

  end(): void {
    this.destroy();
  }

  destroy(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    if (this.closesAtOnce) this.emit("close");
  }

  says(...messages: readonly SignalingMessage[]): this {
    for (const message of messages) this.emit("data", signalingCodec.encodeFrame(message));
    return this;
  }
}

export const hello = (role: "agent" | "connector"): SignalingMessage => ({
  type: "hello",
  version: PROTOCOL_VERSION,
  agent: "fuzz/1",
  role,
});

export class TlsStage {
  now: Millis = 0;
  readonly server: SignalingServer;
  #port = 0;

  constructor(random: Random, options: { readonly maxHeldBytes?: number } = {}) {
    this.server = new SignalingServer({
      identity: Identity.generate(),
      sockets: [{ socket: 0, address: SERVER }],
      admit: () => true,
      credentials: new Credentials({ realm: "adit", random, unixSeconds: () => 1_000_000 }),
      turnAddress: () => TURN_ADDRESS,
      onSessionsChanged: () => {},
      wake: () => {},
      random,
      log: nullLogger,
      ...options,
    });
  }

  open(certificate: Uint8Array, ip: string): FakeTls {
    const socket = new FakeTls(certificate);
    this.#port = (this.#port % 60_000) + 1;
    this.server.handleTls(socket as unknown as TLSSocket, SocketAddress.of(ip, this.#port));
    this.turn();
    return socket;
  }

  /** As the driver does behind each turn: nothing leaves over UDP, but clients' deadlines are set. Without it they have none. */
  transmit(): void {
    while (this.server.pollTransmit());
  }

  turn(): void {
    const due = this.server.pollTimeout();
    if (due && due.at <= this.now) this.server.handleTimeout(this.now);
    this.server.drain(this.now);
  }
}
