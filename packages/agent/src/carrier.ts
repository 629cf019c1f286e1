import type { Socket } from "node:net";
import type { Logger } from "@adit/core";
import { type ByteStream, codeOf, type Streams, sentenceOf } from "@adit/program";
import { ServiceRefusedError } from "@adit/transport";
import { FirstBytes } from "./first-bytes.ts";
import { openOnSession, type UnknownServices } from "./open-on-session.ts";
import type { KeptSession } from "./session-keeper.ts";
import { StreamRoom } from "./stream-room.ts";

/** A session as far as a carrier is concerned; PeerSession is one. */
export interface CarryingSession extends KeptSession {
  readonly peer: { readonly id: string };
  /** `onRequested`: bytes may follow the request before it was accepted; they are void where it is refused. Not called where the peer was not heard lately. */
  openService(name: string, onRequested?: (stream: ByteStream) => void): Promise<ByteStream>;
}

export interface CarrierOptions {
  readonly session: (signal: AbortSignal) => Promise<CarryingSession>;
  readonly streams: Streams;
  readonly log: Logger;
  readonly unknown: UnknownServices;
  /** How long a connection waits for its stream, ms; 10 s. */
  readonly waitMs?: number;
}

/** DESIGN: early connections wait up to 10 s, then are reset. */
const CONNECTION_WAIT_MS = 10_000;

const ALL_IN_USE = "the session carries as many connections as it can, and none ended in time";

/** Takes a local connection, opens a stream to its service on the session that is up or comes up, and carries the bytes. */
export class Carrier {
  readonly #options: CarrierOptions;
  readonly #room = new StreamRoom();

  constructor(options: CarrierOptions) {
    this.#options = options;
  }

  /** Until the connection has ended. Never rejects. */
  async carry(socket: Socket, service: string): Promise<void> {
    const { streams, log, unknown } = this.#options;
    const abort = new AbortController();
    const onClose = (): void => abort.abort(new Error("the local connection was closed"));
    socket.once("close", onClose);
    const { waitMs = CONNECTION_WAIT_MS } = this.#options;
    const timer = setTimeout(
      () =>
        abort.abort(
          new Error(this.#room.isFull ? ALL_IN_USE : `the connector was not reached within ${waitMs / 1000} s`),
        ),
      waitMs,
    );
    const first = new FirstBytes(socket);
    try {
      const open = (session: CarryingSession): Promise<ByteStream> =>
        this.#room.open(() => openOnce(session, service, first), abort.signal);
      const { session, opened: stream } = await openOnSession(this.#options.session, open, abort.signal, dropStream);
      unknown.noteAccepted(service);
      clearTimeout(timer);
      socket.off("close", onClose);
      const head = first.release();
      await streams.carry(socket, stream, { peerId: session.peer.id, service, sentBytes: first.sentBytes, head });
      this.#room.noteEnded();
    } catch (error) {
      const reason = sentenceOf(error);
      const refused = error instanceof ServiceRefusedError;
      const message = refused
        ? `${service}: refused by the connector: ${reason}`
        : `${service}: connection reset: ${reason}`;
      log.warn(refused ? "service-refused" : "connection-reset", { service, code: codeOf(error), reason, message });
      socket.resetAndDestroy();
      if (refused && error.code === "service-unknown") unknown.noteUnknown(service, reason);
    } finally {
      clearTimeout(timer);
      socket.off("close", onClose);
    }
  }
}

/** @throws what the session throws; Error when it ended behind the first bytes: the service may have had them, so they are not sent again. */
async function openOnce(session: CarryingSession, service: string, first: FirstBytes): Promise<ByteStream> {
  try {
    return await session.openService(service, (stream) => first.follow(stream));
  } catch (cause) {
    if (first.sentBytes === 0 || codeOf(cause) !== "closed") throw cause;
    throw new Error("the session ended before the connector had answered", { cause });
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
