import type { Logger, Millis } from "@adit/core";
import type { QuicConnection, QuicStream } from "@adit/quic";
import { ServiceRefusedError, SessionError } from "../errors.ts";
import { type HeadBytes, requestService } from "./service-streams.ts";
import { StreamCredit } from "./stream-credit.ts";

/** A peer that was heard within this time is there: bytes may follow a request that it has not accepted yet. */
const HEARD_JUST_NOW_MS = 200;

/** Of the streams of a session. */
const CONTROL_STREAMS = 1;

export interface ServiceOpenerOptions {
  /** For the log. */
  readonly session: string;
  readonly head: HeadBytes;
  readonly log: Logger;
  /** The connection of a session that is up, else null. */
  readonly connection: () => QuicConnection | null;
  readonly isOver: () => boolean;
  /** Somebody waits for the peer from now on: does the path still stand? */
  readonly onAsked: (now: Millis) => void;
}

/** Opens a session's streams to services, as long as the peer lets it. */
export class ServiceOpener {
  readonly #options: ServiceOpenerOptions;
  readonly #credit = new StreamCredit();
  #heardAt = Number.NEGATIVE_INFINITY;

  constructor(options: ServiceOpenerOptions) {
    this.#options = options;
  }

  /** Resolves when no more streams are opened for long; see {@link StreamCredit}. */
  get retiring(): Promise<void> {
    return this.#credit.retiring;
  }

  /** It has retired, and the last stream of the connection has ended. */
  isDone(connection: QuicConnection): boolean {
    return this.#credit.isRetiring && connection.streamCount <= CONTROL_STREAMS;
  }

  /** The peer was heard. */
  handleHeard(now: Millis): void {
    this.#heardAt = now;
  }

  /**
   * The stream, once the connector accepted. What left before that cannot be sent again when the session ends: so `onRequested`, for bytes
   * that follow the request at once, is only called where the peer was heard just now.
   * @throws ServiceRefusedError; SessionError `closed`, `timeout`.
   */
  async open(
    now: Millis,
    name: string,
    protocol: "tcp" | "udp",
    onRequested: (stream: QuicStream) => void = () => {},
  ): Promise<QuicStream> {
    const { session, head, log, isOver, onAsked } = this.#options;
    const connection = this.#options.connection();
    if (!connection) throw new SessionError("closed", "the session is not up");
    const stream = connection.openStream();
    onAsked(now);
    if (this.#credit.opened(connection)) log.info("session-retiring", { session });
    const follow = now < this.#heardAt + HEARD_JUST_NOW_MS ? onRequested : () => {};
    try {
      return await requestService(stream, { type: "open-service", name, protocol }, head, follow);
    } catch (cause) {
      if (cause instanceof ServiceRefusedError) throw cause;
      if (isOver()) throw new SessionError("closed", "the session ended", { cause });
      throw new SessionError("timeout", `the connector did not answer for the service ${name}`, { cause });
    }
  }
}
