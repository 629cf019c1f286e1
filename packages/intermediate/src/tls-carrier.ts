/** A client's signaling over TLS on TCP, for networks that block UDP: the same bytes in the same frames. */
import type { TLSSocket } from "node:tls";
import type { SocketAddress } from "@adit/core";
import type { CarrierEvent, ClientCarrier } from "./client-carrier.ts";

/** What was received and not read yet. Past it the socket is not read: TCP holds the client back. */
const MAX_UNREAD_BYTES = 65_536;
/** What TCP has not taken yet. Past it nothing more is written: what waits then is bounded where it is made. */
const MAX_UNSENT_BYTES = 65_536;
/** What was written may take this long to go out after the end, ms. */
const LINGER_MS = 1_000;

export class TlsCarrier implements ClientCarrier {
  readonly kind = "tls";
  readonly remote: SocketAddress;
  readonly #socket: TLSSocket;
  readonly #wake: () => void;
  readonly #events: CarrierEvent[];
  #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #ended = false;
  #gone = false;

  /** `peerId`: whose certificate the client showed. */
  constructor(socket: TLSSocket, remote: SocketAddress, peerId: string, wake: () => void) {
    this.#socket = socket;
    this.remote = remote;
    this.#wake = wake;
    this.#events = [{ type: "established", peerId }];
    let reason = "the client closed the connection";
    socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    socket.on("end", () => this.#end());
    socket.on("drain", wake);
    socket.on("error", (error: Error) => {
      reason = error.message;
      socket.destroy();
    });
    socket.once("close", () => {
      this.#gone = true;
      this.#events.push({ type: "closed", reason });
      wake();
    });
  }

  get isGone(): boolean {
    return this.#gone;
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
