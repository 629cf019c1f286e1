import type { Logger, Millis, SocketAddress, SocketId } from "@adit/core";
import type { TurnServer } from "./gatherer.ts";
import type { LocalSockets, OpenStream } from "./local-sockets.ts";

/** A TURN server that is reached by TCP or TLS. */
export interface StreamServer extends Omit<TurnServer, "address"> {
  readonly transport: "tcp" | "tls";
  /** Tried in turn. */
  readonly addresses: readonly SocketAddress[];
  /** The name in the certificate; null: it is named by its address. */
  readonly serverName: string | null;
  readonly checkCertificate: ((der: Uint8Array) => string | null) | null;
}

/** A lost or failed connection is made anew after this, which doubles with each failure in a row. */
const FIRST_PAUSE_MS: Millis = 1_000;
const LONGEST_PAUSE_MS: Millis = 60_000;

export interface TurnStreamEvents {
  /** Has an allocation to ask for. */
  readonly onOpen: (stream: OpenStream, server: TurnServer) => void;
  /** The first attempt came to nothing: nobody need wait. */
  readonly onFailed: () => void;
}

interface Line {
  readonly server: StreamServer;
  /** Of the stream that stands; null while there is none. */
  id: SocketId | null;
  /** In a row. */
  failures: number;
  attempts: number;
  timer: ReturnType<typeof setTimeout> | null;
}

/** Keeps one connection to each TURN server that is reached by a stream; each by itself, so that a dead one costs the others nothing. */
export class TurnStreams {
  readonly #lines: readonly Line[];
  readonly #sockets: Pick<LocalSockets, "connect">;
  readonly #events: TurnStreamEvents;
  readonly #log: Logger;
  readonly #abort = new AbortController();

  constructor(
    servers: readonly StreamServer[],
    sockets: Pick<LocalSockets, "connect">,
    events: TurnStreamEvents,
    log: Logger,
  ) {
    this.#lines = servers.map((server) => ({ server, id: null, failures: 0, attempts: 0, timer: null }));
    this.#sockets = sockets;
    this.#events = events;
    this.#log = log;
    for (const line of this.#lines) void this.#connect(line);
  }

  /** A stream ended by itself: it is made anew. False: it is none of these. */
  ended(id: SocketId): boolean {
    const line = this.#lines.find((one) => one.id === id);
    if (!line) return false;
    line.id = null;
    this.#retry(line);
    return true;
  }

  close(): void {
    this.#abort.abort();
    for (const { timer } of this.#lines) if (timer) clearTimeout(timer);
  }

  async #connect(line: Line): Promise<void> {
    const { addresses, transport, serverName, checkCertificate, ...server } = line.server;
    const address = addresses[line.attempts++ % addresses.length];
    if (!address) return;
    const tls = {
      ...(serverName === null ? {} : { serverName }),
      ...(checkCertificate === null ? {} : { checkCertificate }),
    };
    try {
      const { signal } = this.#abort;
      const stream = await this.#sockets.connect({ server: address, signal, ...(transport === "tls" ? { tls } : {}) });
      if (signal.aborted) return; // closed with the sockets
      line.id = stream.id;
      line.failures = 0;
      this.#events.onOpen(stream, { ...server, address, transport });
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      const message = error instanceof Error ? error.message : String(error);
      this.#log.info("ice-turn-unreachable", { server: address.key, transport, message });
      if (line.attempts === 1) this.#events.onFailed();
      this.#retry(line);
    }
  }

  #retry(line: Line): void {
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(line.failures++, 16));
    line.timer = setTimeout(() => void this.#connect(line), pauseMs);
  }
}
