import { connect, type TLSSocket } from "node:tls";
import type { SocketAddress } from "@adit/core";
import { type Identity, peerIdFromCertificate } from "@adit/quic";
import { IDENTITY_SERVER_NAME, SIGNALING_ALPN } from "@adit/signaling";
import type { Carrier, CarrierEvent } from "./carrier.ts";

/** What was received and not read yet. Past it the socket is not read: TCP holds the other side back. */
const MAX_UNREAD_BYTES = 65_536;
/** What TCP has not taken yet. Past it nothing more is written: what waits then is bounded where it is made. */
const MAX_UNSENT_BYTES = 65_536;
/** What was written may take this long to go out after the end, ms. */
const LINGER_MS = 1_000;

export interface TlsDialOptions {
  readonly remote: SocketAddress;
  /** Which of our addresses to come from; the system chooses unless given. */
  readonly localIp: string | null;
  readonly identity: Identity;
  readonly wake: () => void;
}

/** Signaling over TLS on TCP, for networks that block UDP: the same bytes in the same frames as over QUIC. */
export class TlsCarrier implements Carrier {
  readonly kind = "tls";
  readonly remote: SocketAddress;
  readonly #socket: TLSSocket;
  readonly #wake: () => void;
  readonly #events: CarrierEvent[] = [];
  #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #ended = false;
  #gone = false;
  /** Why it ends, where more is known than that it does. */
  #reason: string | null = null;

  private constructor(socket: TLSSocket, remote: SocketAddress, wake: () => void) {
    this.#socket = socket;
    this.remote = remote;
    this.#wake = wake;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    socket.on("end", () => this.#end());
    socket.on("drain", wake);
    socket.on("error", (error: Error) => this.#fail(error.message));
    socket.once("close", () => {
      this.#gone = true;
      this.#events.push({ type: "closed", reason: this.#reason ?? "the other side closed the connection" });
      wake();
    });
  }

  /** Of a client whose handshake is over; `peerId`: whose certificate it showed. */
  static accepted(socket: TLSSocket, remote: SocketAddress, peerId: string, wake: () => void): TlsCarrier {
    const carrier = new TlsCarrier(socket, remote, wake);
    carrier.#events.push({ type: "established", peerId });
    return carrier;
  }

  /** Connects to an intermediate. Whether its key is the right one is the caller's to decide, when it is established. */
  static dial({ remote, localIp, identity, wake }: TlsDialOptions): TlsCarrier {
    const socket: TLSSocket = connect({
      host: remote.ip,
      port: remote.port,
      ...(localIp !== null && { localAddress: localIp }),
      cert: identity.certificatePem,
      key: identity.keyPem,
      servername: IDENTITY_SERVER_NAME,
      ALPNProtocols: [SIGNALING_ALPN],
      minVersion: "TLSv1.3",
      // The key is pinned; no authority vouches for it.
      rejectUnauthorized: false,
    });
    const carrier = new TlsCarrier(socket, remote, wake);
    socket.once("secureConnect", () => carrier.#handleSecure());
    return carrier;
  }

  get isGone(): boolean {
    return this.#gone;
  }

  get heldBytes(): number {
    return this.#unreadBytes + this.#socket.writableLength;
  }

  pollEvent(): CarrierEvent | null {
    return this.#events.shift() ?? null;
  }

  read(buffer: Uint8Array): number | "blocked" | "end" {
    const first = this.#unread[0];
    if (!first) return this.#ended ? "end" : "blocked";
    const taken = first.subarray(0, buffer.length);
    buffer.set(taken);
    if (taken.length === first.length) this.#unread.shift();
    else this.#unread[0] = first.subarray(taken.length);
    this.#unreadBytes -= taken.length;
    if (this.#unreadBytes === 0) this.#socket.resume();
    return taken.length;
  }

  write(data: Uint8Array): number {
    if (!this.#socket.writable || this.#socket.writableLength > MAX_UNSENT_BYTES) return 0;
    this.#socket.write(data);
    return data.length;
  }

  finish(): void {
    if (this.#gone) return;
    this.#socket.end();
    const linger = setTimeout(() => this.#socket.destroy(), LINGER_MS);
    this.#socket.once("close", () => clearTimeout(linger));
  }

  abort(): void {
    this.#socket.destroy();
  }

  /** TCP keeps its own clocks. */
  handleTimeout(): void {}

  pollTimeout(): null {
    return null;
  }

  #handleSecure(): void {
    const { alpnProtocol } = this.#socket;
    const { raw } = this.#socket.getPeerCertificate();
    const peerId = raw ? peerIdFromCertificate(raw) : null;
    if (alpnProtocol !== SIGNALING_ALPN || peerId === null) return this.#fail("what answers there is no intermediate");
    this.#events.push({ type: "established", peerId });
    this.#wake();
  }

  #fail(reason: string): void {
    this.#reason ??= reason;
    this.#socket.destroy();
  }

  #receive(chunk: Uint8Array): void {
    this.#unread.push(chunk);
    this.#unreadBytes += chunk.length;
    if (this.#unreadBytes > MAX_UNREAD_BYTES) this.#socket.pause();
    this.#wake();
  }

  #end(): void {
    this.#ended = true;
    this.#wake();
  }
}
