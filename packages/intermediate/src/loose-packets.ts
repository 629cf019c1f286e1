/** QUIC packets that belong to no connection: Retry, and stateless resets. */
import { Counters, type Millis, type SocketAddress, type SocketId, type Transmit } from "@adit/core";
import type { InitialHeader, QuicEndpoint } from "@adit/quic";
import type { FormerClient } from "./former-clients.ts";
import { TokenBucket } from "./token-bucket.ts";

/** Stateless resets a second: RFC 9000 §10.3 wants them limited. */
const RESETS_PER_SECOND = 1_000;

/** Packets that wait for the driver; past it they are dropped, and the client's next one asks again. */
const MAX_WAITING = 1_024;

/** Former clients told at a time: all of them come back, and a handshake costs half a millisecond. */
const FORMER_AT_ONCE = 20;
const FORMER_INTERVAL_MS = 50;

export class LoosePackets {
  readonly drops = new Counters<"loose-packets">();
  readonly #quic: QuicEndpoint;
  readonly #socketTo: (to: SocketAddress) => SocketId;
  readonly #waiting: Transmit[] = [];
  readonly #resets = new TokenBucket();
  /** Not told yet; bounded by the file they come from. */
  readonly #former: FormerClient[] = [];
  #nextFormerAt: Millis = 0;
  #retriesSent = 0;
  #resetsSent = 0;

  /** @param socketTo by which socket somebody is told who sent nothing. */
  constructor(quic: QuicEndpoint, socketTo: (to: SocketAddress) => SocketId) {
    this.#quic = quic;
    this.#socketTo = socketTo;
  }

  get retriesSent(): number {
    return this.#retriesSent;
  }

  get resetsSent(): number {
    return this.#resetsSent;
  }

  /** The client is to prove its address. */
  retry(now: Millis, header: InitialHeader, to: SocketAddress, socket: SocketId): void {
    this.#retriesSent++;
    this.#send(socket, to, this.#quic.retry(now, header, { host: to.ip, port: to.port }));
  }

  /** A packet of a connection that is over, perhaps since before this program was started: its client is to learn it now. */
  reset(now: Millis, from: SocketAddress, data: Uint8Array, socket: SocketId): void {
    const reset = this.#quic.resetFor(data);
    if (!reset || !this.#resets.take(now, 1, RESETS_PER_SECOND, RESETS_PER_SECOND)) return;
    this.#resetsSent++;
    this.#send(socket, from, reset);
  }

  /** Clients of a former life of this program, which ended without a word: they are told, some hundreds a second. */
  tellFormer(now: Millis, clients: readonly FormerClient[]): void {
    this.#former.push(...clients);
    this.#tellNext(now);
  }

  handleTimeout(now: Millis): void {
    if (this.#former.length > 0 && now >= this.#nextFormerAt) this.#tellNext(now);
  }

  get nextAt(): Millis | null {
    return this.#former.length > 0 ? this.#nextFormerAt : null;
  }

  pollTransmit(): Transmit | null {
    return this.#waiting.shift() ?? null;
  }

  #tellNext(now: Millis): void {
    for (const { connectionId, address } of this.#former.splice(0, FORMER_AT_ONCE)) {
      const reset = this.#quic.resetOf(connectionId);
      if (!reset) continue;
      this.#resetsSent++;
      this.#send(this.#socketTo(address), address, reset);
    }
    this.#nextFormerAt = now + FORMER_INTERVAL_MS;
  }

  #send(socket: SocketId, to: SocketAddress, data: Uint8Array): void {
    if (this.#waiting.length >= MAX_WAITING) return this.drops.add("loose-packets");
    this.#waiting.push({ data, socket, to });
  }
}
