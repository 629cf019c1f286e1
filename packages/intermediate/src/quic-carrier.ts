/** A client's signaling over QUIC: its connection, and the one stream on it. */
import { type Deadline, type Millis, SocketAddress } from "@adit/core";
import { type QuicConnection, type QuicEvent, type QuicStream, useHandshakeRoundTrip } from "@adit/quic";
import type { Carrier, CarrierEvent } from "@adit/transport/internal";

/** QUIC application close code: nothing is wrong, or the signaling message before it says what. */
const CLOSE_CODE = 0;

/** What the client does on a second stream: nothing that we know of. */
const UNEXPECTED_STREAM = 1;

export class QuicCarrier implements Carrier {
  readonly kind = "quic";
  readonly quic: QuicConnection;
  readonly heldBytes = 0;
  readonly #origin: SocketAddress;
  readonly #wake: () => void;
  #stream: QuicStream | null = null;
  #closing = false;

  constructor(quic: QuicConnection, origin: SocketAddress, wake: () => void) {
    this.quic = quic;
    this.#origin = origin;
    this.#wake = wake;
    quic.onWork = wake;
  }

  get remote(): SocketAddress {
    const active = this.quic.pathStats().find((path) => path.active);
    return active ? SocketAddress.of(active.remote.host, active.remote.port) : this.#origin;
  }

  get isGone(): boolean {
    return this.quic.state === "closed";
  }

  pollEvent(): CarrierEvent | null {
    for (let event = this.quic.pollEvent(); event; event = this.quic.pollEvent()) {
      const told = this.#tell(event);
      if (told) return told;
    }
    return null;
  }

  read(buffer: Uint8Array): number | "blocked" | "end" {
    return this.#stream?.read(buffer) ?? "blocked";
  }

  write(data: Uint8Array): number {
    return this.#stream?.write(data) ?? 0;
  }

  finish(reason: string): void {
    try {
      this.#stream?.finish();
    } catch {
      // The stream was over already: what matters is the close below.
    }
    this.abort(CLOSE_CODE, reason);
  }

  abort(code: number, reason: string): void {
    this.#closing = true;
    this.quic.close(code, reason);
  }

  handleTimeout(now: Millis): void {
    this.quic.handleTimeout(now);
  }

  pollTimeout(now: Millis): Deadline | null {
    return this.quic.pollTimeout(now);
  }

  #tell(event: QuicEvent): CarrierEvent | null {
    switch (event.type) {
      case "established":
        useHandshakeRoundTrip(this.quic);
        return event;
      case "stream":
        this.#takeStream(event.stream);
        return null;
      case "path":
        if (event.event !== "peer-migrated") return null;
        return { type: "moved", to: SocketAddress.of(event.remote.host, event.remote.port) };
      case "closed":
        return { type: "closed", reason: event.reason };
      case "datagram":
        return null; // not announced, so never sent
    }
  }

  /** The first stream that the client opens is the one; others are refused. */
  #takeStream(stream: QuicStream): void {
    if (this.#stream || this.#closing) {
      stream.stopSending(UNEXPECTED_STREAM);
      stream.reset(UNEXPECTED_STREAM);
      return;
    }
    this.#stream = stream;
    stream.onReadable = this.#wake;
    stream.onWritable = this.#wake;
  }
}
