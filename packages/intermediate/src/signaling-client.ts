/** One client of the intermediate: what carries its bytes, and the signaling spoken on it. */
import { type Deadline, earliest, type Millis, type SocketAddress } from "@adit/core";
import type { SignalingServerConnection } from "@adit/signaling";
import type { Carrier } from "@adit/transport/internal";
import type { ConnectionId } from "./session-table.ts";

/** How long a client that is being closed may take to read the last words. */
const LAST_WORDS_MS = 1_000;

const READ_BYTES = 16_384;

type State =
  /** The certificate is not known yet. */
  | { readonly is: "handshaking" }
  | { readonly is: "open"; readonly signaling: SignalingServerConnection }
  | {
      readonly is: "closing";
      readonly signaling: SignalingServerConnection;
      readonly reason: string;
      readonly until: Millis;
    }
  | { readonly is: "closed" };

export class SignalingClientConnection {
  readonly id: ConnectionId;
  readonly carrier: Carrier;
  /** Where its first packet came from: what the bound per address counts. */
  readonly origin: SocketAddress;
  /** When its TURN credentials are due for renewal; null when it has none. */
  renewAt: Millis | null = null;
  /** Whether its address has been charged with the handshake. */
  isCharged: boolean;
  #state: State = { is: "handshaking" };
  #pending: Uint8Array | null = null;

  constructor(id: ConnectionId, carrier: Carrier, origin: SocketAddress, isCharged: boolean) {
    this.id = id;
    this.carrier = carrier;
    this.origin = origin;
    this.isCharged = isCharged;
  }

  get isHandshaking(): boolean {
    return this.#state.is === "handshaking";
  }

  /** Null before the handshake is over, and after the end. */
  get signaling(): SignalingServerConnection | null {
    return this.#state.is === "open" ? this.#state.signaling : null;
  }

  /** What is kept in memory because it reads slowly, or speaks slowly. */
  get heldBytes(): number {
    if (this.#state.is !== "open" && this.#state.is !== "closing") return 0;
    return this.#state.signaling.heldBytes + this.carrier.heldBytes + (this.#pending?.length ?? 0);
  }

  open(signaling: SignalingServerConnection): void {
    this.#state = { is: "open", signaling };
  }

  /** Hands what has arrived to the signaling connection. */
  read(now: Millis): void {
    if (this.#state.is !== "open") return;
    const { signaling } = this.#state;
    try {
      while (!signaling.isClosed) {
        const read = this.carrier.read(buffer);
        if (read === "blocked") return;
        if (read === "end") return signaling.handleDisconnected("the client ended the stream");
        signaling.handleData(now, buffer.subarray(0, read));
      }
    } catch (error) {
      signaling.handleDisconnected(error instanceof Error ? error.message : String(error));
    }
  }

  /** The signaling connection is over: what it still has to say is written, then the connection closes. */
  beginClose(now: Millis, reason: string): void {
    if (this.#state.is !== "open") return;
    this.#state = { is: "closing", signaling: this.#state.signaling, reason, until: now + LAST_WORDS_MS };
  }

  /** Writes what the stream takes, and closes the connection when that was the last. */
  write(now: Millis): void {
    if (this.#state.is !== "open" && this.#state.is !== "closing") return;
    const done = this.#writeAll(this.#state.signaling);
    if (this.#state.is === "closing" && (done || this.#state.until <= now)) this.#finish(this.#state.reason);
  }

  /** The connection is over by itself. */
  handleCarrierClosed(): void {
    this.#state = { is: "closed" };
  }

  pollTimeout(now: Millis): Deadline | null {
    const carrier = this.carrier.pollTimeout(now);
    switch (this.#state.is) {
      case "open": {
        const renewal = this.renewAt === null ? null : { at: this.renewAt, reason: "TURN credentials" };
        return earliest(earliest(carrier, this.#state.signaling.pollTimeout()), renewal);
      }
      case "closing":
        return earliest(carrier, { at: this.#state.until, reason: "last words" });
      default:
        return carrier;
    }
  }

  /** True when nothing is left to write. Without a stream the last words wait for one, as long as closing may take. */
  #writeAll(signaling: SignalingServerConnection): boolean {
    try {
      for (;;) {
        this.#pending ??= signaling.pollBytes();
        if (!this.#pending) return true;
        const taken = this.carrier.write(this.#pending);
        this.#pending = taken < this.#pending.length ? this.#pending.subarray(taken) : null;
        if (this.#pending) return false;
      }
    } catch {
      return true; // reset by the client, or over: the carrier's own event tells
    }
  }

  #finish(reason: string): void {
    this.#state = { is: "closed" };
    this.carrier.finish(reason);
  }
}

/** Shared: what is read is handed on before the next read. */
const buffer = new Uint8Array(READ_BYTES);
