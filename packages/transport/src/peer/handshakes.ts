import type { Millis } from "@adit/core";
import type { PairId } from "@adit/ice";
import type { PeerId, QuicConfig, QuicConnection, QuicEndpoint } from "@adit/quic";
import { CLOSE_CODE } from "./close-code.ts";
import type { DataPath } from "./data-path.ts";
import { sessionTag } from "./session-tag.ts";

/** One of the connections of a session before one has won. */
export interface Racer {
  readonly connection: QuicConnection;
  readonly pair: PairId;
}

export interface HandshakesOptions {
  readonly sessionId: bigint;
  readonly data: DataPath;
  readonly quic: QuicEndpoint;
  readonly config: QuicConfig;
  /** A connection was made, and has its first packet to send. */
  readonly onConnection: (connection: QuicConnection) => void;
}

/** The QUIC handshakes that an agent's session runs, each over a pair of its own; the first complete one carries the session. */
export class Handshakes {
  readonly #options: HandshakesOptions;
  /** At most two: {@link HandshakeRace} starts no more. */
  readonly #racers: Racer[] = [];
  /** Theirs: asked for with every packet. */
  #connections: readonly QuicConnection[] = [];

  constructor(options: HandshakesOptions) {
    this.#options = options;
  }

  get connections(): readonly QuicConnection[] {
    return this.#connections;
  }

  get pairs(): readonly PairId[] {
    return this.#racers.map((racer) => racer.pair);
  }

  get allFailed(): boolean {
    return this.#racers.every((racer) => racer.connection.closeReason);
  }

  /** @throws QuicError when the endpoint takes no more connections. */
  start(now: Millis, pair: PairId, rttMs: Millis | null, expectedPeerId: PeerId): void {
    const { sessionId, data, quic, config, onConnection } = this.#options;
    const slot = data.slots.bind(pair, this.pairs);
    if (slot === null) return;
    const sourceIdSuffix = sessionTag(sessionId);
    const connection = quic.connect(now, { config, ...data.addresses(slot), expectedPeerId, sourceIdSuffix, rttMs });
    this.#racers.push({ connection, pair });
    this.#list();
    onConnection(connection);
  }

  /** The handshake completed: the others end. The pair that it went over; null for a connection of nobody's. */
  choose(connection: QuicConnection): PairId | null {
    const winner = this.#racers.find((racer) => racer.connection === connection);
    if (!winner) return null;
    for (const other of this.#racers) {
      if (other !== winner) other.connection.close(CLOSE_CODE.superseded, "another connection was first");
    }
    if (this.#racers.length > 1) this.#options.data.slots.keepOnly(winner.pair);
    return winner.pair;
  }

  forget(connection: QuicConnection): void {
    const index = this.#racers.findIndex((racer) => racer.connection === connection);
    if (index < 0) return;
    this.#racers.splice(index, 1);
    this.#list();
  }

  #list(): void {
    this.#connections = this.#racers.map((racer) => racer.connection);
  }
}
