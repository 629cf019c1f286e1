import type { Logger } from "@adit/core";
import { type CloseReason, ConnectionClosedError, QuicError } from "./errors.ts";
import type { NativeConnection } from "./native.ts";
import { closeNative, INTERNAL_ERROR, NO_ERROR, nativeCloseReason } from "./native-close.ts";
import type { QuicConnectionState } from "./types.ts";

type State =
  | { is: "handshaking"; deadline: number }
  | { is: "established" }
  | { is: "closing"; close: CloseReason; flushing: boolean } // flushing: CONNECTION_CLOSE waits for what was written before
  | { is: "draining"; close: CloseReason }
  | { is: "closed"; close: CloseReason };

/** Who learns of a connection's end, in this order. */
export interface LifecycleListener<Connection> {
  /** It ends: what is written from now on is refused. */
  readonly onEnding: (connection: Connection, error: ConnectionClosedError) => void;
  /** Everyone is told, once. */
  readonly onTold: (connection: Connection, close: CloseReason, error: ConnectionClosedError) => void;
  /** No packet is expected any more. */
  readonly onClosed: (connection: Connection) => void;
}

/** The states of a connection, from its handshake to its end, and who ended it. */
export class Lifecycle<Connection extends { readonly id: string }> {
  readonly #native: NativeConnection;
  readonly #connection: Connection;
  readonly #listener: LifecycleListener<Connection>;
  readonly #log: Logger;
  #state: State;
  #isTold = false;

  /** @param connection what the listener is told about. */
  constructor(
    connection: Connection,
    listener: LifecycleListener<Connection>,
    options: { readonly native: NativeConnection; readonly log: Logger; readonly handshakeDeadline: number },
  ) {
    this.#native = options.native;
    this.#connection = connection;
    this.#listener = listener;
    this.#log = options.log;
    this.#state = { is: "handshaking", deadline: options.handshakeDeadline };
  }

  get state(): QuicConnectionState {
    return this.#state.is;
  }

  /** Why it is over; null while it is not. */
  get closeReason(): CloseReason | null {
    return "close" in this.#state ? this.#state.close : null;
  }

  /** When the handshake is given up; null once it is over. */
  get handshakeDeadline(): number | null {
    return this.#state.is === "handshaking" ? this.#state.deadline : null;
  }

  /** @throws QuicError `not-established`, `closed`. */
  mustBeEstablished(): void {
    if (this.#state.is === "established") return;
    if (this.closeReason) throw new ConnectionClosedError(this.closeReason);
    throw new QuicError("not-established", "the handshake is not over; wait for the event `established`");
  }

  established(): void {
    this.#state = { is: "established" };
  }

  /** The application ends it; what was written before goes first, if the handshake is over. */
  close(code: number, reason: string): void {
    const close: CloseReason = { by: "local", isApp: true, code, reason };
    const flushing = this.#state.is === "established";
    if (!flushing) this.#closeNative(true, code, reason);
    this.#end({ is: "closing", close, flushing });
  }

  /** The sentence stays here; the peer learns the alert, once the flight that lets it read 1-RTT packets has left. */
  refuse(code: number, reason: string): void {
    this.#end({ is: "closing", close: { by: "local", isApp: false, code, reason }, flushing: true });
  }

  /** The native library failed at something that it cannot go on from. Does nothing if TLS has set a better error. */
  fail(): void {
    this.#closeNative(false, INTERNAL_ERROR, "");
  }

  handleTimeout(now: number): void {
    if (this.#state.is !== "handshaking" || this.#state.deadline > now) return;
    this.#closeNative(false, NO_ERROR, "handshake timeout");
    const close: CloseReason = { by: "timeout", isApp: false, code: NO_ERROR, reason: "the handshake took too long" };
    this.#end({ is: "closing", close, flushing: false });
  }

  /** All that was written before a close has left. True when CONNECTION_CLOSE is to follow it now. */
  flushed(): boolean {
    if (this.#state.is !== "closing" || !this.#state.flushing) return false;
    const { close } = this.#state;
    this.#state = { is: "closing", close, flushing: false };
    this.#closeNative(close.isApp, close.code, close.isApp ? close.reason : "");
    return true;
  }

  /** Looks whether the native connection has come to its end. */
  pump(): void {
    const native = this.#native;
    if (this.#state.is === "closed") return;
    const nativeClosed = native.isClosed();
    if (!("close" in this.#state)) {
      if (!nativeClosed && !native.isDraining() && !native.localError()) return;
      this.#end({ is: "draining", close: nativeCloseReason(native) });
    }
    const close = this.closeReason;
    if (!close) return;
    this.#tell(close);
    if (nativeClosed) this.#forget(close);
  }

  /** Nothing is sent any more, not even a CONNECTION_CLOSE. */
  abandon(why: CloseReason): void {
    const close = this.closeReason ?? why;
    if (!this.closeReason) this.#end({ is: "draining", close });
    this.#tell(close);
    this.#forget(close);
  }

  #tell(close: CloseReason): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#listener.onTold(this.#connection, close, new ConnectionClosedError(close));
  }

  #forget(close: CloseReason): void {
    this.#state = { is: "closed", close };
    this.#listener.onClosed(this.#connection);
  }

  #end(state: State & { close: CloseReason }): void {
    this.#state = state;
    this.#listener.onEnding(this.#connection, new ConnectionClosedError(state.close));
  }

  #closeNative(isApp: boolean, code: number, reason: string): void {
    const error = closeNative(this.#native, isApp, code, reason);
    if (error !== null) this.#log.debug("quic-close-error", { connection: this.#connection.id, error });
  }
}
