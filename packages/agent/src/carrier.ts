import type { Socket } from "node:net";
import type { Logger } from "@adit/core";
import { type ByteStream, codeOf, ExitError, type Streams, sentenceOf } from "@adit/program";
import { ServiceRefusedError } from "@adit/transport";
import type { KeptSession } from "./session-keeper.ts";

/** A session as far as a carrier is concerned; PeerSession is one. */
export interface CarryingSession extends KeptSession {
  readonly peer: { readonly id: string };
  openService(name: string): Promise<ByteStream>;
}

export interface CarrierOptions {
  readonly session: (signal: AbortSignal) => Promise<CarryingSession>;
  readonly streams: Streams;
  readonly log: Logger;
  /** Every service that a listener leads to. */
  readonly services: readonly string[];
  /** The connector has none of the services: there is nothing left to do here. */
  readonly onUseless: (error: ExitError) => void;
  /** How long a connection waits for its stream, ms; 10 s. */
  readonly waitMs?: number;
}

/** DESIGN: early connections wait up to 10 s, then are reset. */
const CONNECTION_WAIT_MS = 10_000;

/** Takes a local connection, opens a stream to its service on the session that is up or comes up, and carries the bytes. */
export class Carrier {
  readonly #options: CarrierOptions;
  /** Services that the connector said it does not have, since it last accepted or was asked anew. */
  readonly #unknown = new Set<string>();

  constructor(options: CarrierOptions) {
    this.#options = options;
  }

  /** Until the connection has ended. Never rejects. */
  async carry(socket: Socket, service: string): Promise<void> {
    const { streams, log } = this.#options;
    const abort = new AbortController();
    const onClose = (): void => abort.abort(new Error("the local connection was closed"));
    socket.once("close", onClose);
    const timer = setTimeout(
      () => abort.abort(new Error("no stream could be opened in time")),
      this.#options.waitMs ?? CONNECTION_WAIT_MS,
    );
    try {
      const { session, stream } = await this.#open(service, abort.signal);
      clearTimeout(timer);
      socket.off("close", onClose);
      await streams.carry(socket, stream, { peerId: session.peer.id, service });
    } catch (error) {
      const reason = sentenceOf(error);
      const refused = error instanceof ServiceRefusedError;
      const message = refused
        ? `${service}: refused by the connector: ${reason}`
        : `${service}: connection reset: ${reason}`;
      log.warn(refused ? "service-refused" : "connection-reset", { service, code: codeOf(error), reason, message });
      socket.resetAndDestroy();
      if (refused && error.code === "service-unknown") this.#noteUnknown(service, reason);
    } finally {
      clearTimeout(timer);
      socket.off("close", onClose);
    }
  }

  /** A session may end while a stream is being opened: nothing was sent yet, so the next session is asked. */
  async #open(service: string, signal: AbortSignal): Promise<{ session: CarryingSession; stream: ByteStream }> {
    for (;;) {
      const session = await this.#options.session(signal);
      try {
        const stream = await orAbort(session.openService(service), signal, dropStream);
        this.#unknown.delete(service);
        return { session, stream };
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (codeOf(error) !== "closed") throw error;
        // Its `closed` settles first, so that the keeper has noticed before it is asked again.
        await orAbort(session.closed, signal, () => {});
      }
    }
  }

  #noteUnknown(service: string, reason: string): void {
    this.#unknown.add(service);
    if (this.#options.services.every((name) => this.#unknown.has(name))) {
      this.#options.onUseless(new ExitError("refused", `the connector refuses ${service}: ${reason}`));
    }
  }
}

const ABANDONED = 2;

/** Nobody waits for this stream any more. */
function dropStream(stream: ByteStream): void {
  try {
    stream.reset(ABANDONED);
    stream.stopSending(ABANDONED);
  } catch {
    // it is gone already
  }
}

/** What `promise` gives, or the signal's reason; what comes too late goes to `drop`. */
function orAbort<T>(promise: Promise<T>, signal: AbortSignal, drop: (late: T) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason);
      promise.then(drop, () => {});
    };
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(
      (value) => {
        signal.removeEventListener("abort", onAbort);
        if (!signal.aborted) resolve(value);
      },
      (error) => {
        signal.removeEventListener("abort", onAbort);
        reject(error);
      },
    );
    if (signal.aborted) onAbort();
  });
}
