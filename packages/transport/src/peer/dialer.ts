import { type Clock, type Millis, type Random, randomU64, type SocketAddress, type SocketId } from "@adit/core";
import type { PeerId, QuicConfig, QuicEndpoint } from "@adit/quic";
import type { ConnectOptions } from "../endpoint.ts";
import { SessionError, type SessionErrorCode } from "../errors.ts";
import { ticketProof } from "../ticket.ts";
import { AgentSession } from "./agent-session.ts";
import { attemptTimeoutMs } from "./attempt-timeout.ts";
import type { Introductions } from "./introductions.ts";
import { type BoundSocket, hasAddress } from "./own-candidates.ts";
import type { Presences } from "./presences.ts";
import type { SessionHost } from "./session-host.ts";

/** An unknown name is asked for again this often while `waitMs` lasts. */
const NOT_FOUND_RETRY_MS = 500;
/**
 * What another attempt may change. `closed`: the way to the intermediate changed under the attempt, so that it does not know the session; or
 * this side is ending, which the wait for the intermediate says again.
 */
const TRANSIENT: ReadonlySet<SessionErrorCode> = new Set(["not-found", "timeout", "closed"]);

export interface DialerOptions {
  readonly host: SessionHost;
  readonly peerId: PeerId;
  readonly presences: Presences;
  readonly introductions: Introductions;
  readonly sockets: readonly BoundSocket[];
  readonly quic: QuicEndpoint;
  readonly config: QuicConfig;
  readonly random: Random;
  readonly clock: Clock;
  /** A session begins. */
  readonly onSession: (session: AgentSession) => void;
}

/** An agent's attempts to reach a connector. */
export class Dialer {
  readonly #options: DialerOptions;

  constructor(options: DialerOptions) {
    this.#options = options;
  }

  /** A session that is up. @throws SessionError */
  async connect(wanted: ConnectOptions): Promise<AgentSession> {
    const { presences, clock } = this.#options;
    const giveUpAt = clock.now() + wanted.waitMs;
    for (;;) {
      await presences.waitFor(giveUpAt - clock.now());
      const session = this.#open(wanted);
      try {
        await session.up;
        return session;
      } catch (error) {
        // Lost packets make a first attempt fail too: while there is time it is made again.
        const again = error instanceof SessionError && TRANSIENT.has(error.code);
        if (!again || clock.now() >= giveUpAt) throw error;
      }
      const pauseMs = Math.min(NOT_FOUND_RETRY_MS, giveUpAt - clock.now());
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  #open(wanted: ConnectOptions): AgentSession {
    const { host, peerId, presences, introductions, quic, config, random, clock, onSession } = this.#options;
    const now: Millis = clock.now();
    const rttMs = presences.preferred?.status().rttMs ?? 0;
    const session = new AgentSession(now, host, randomU64(random), {
      target: wanted.target,
      expectedPeer: wanted.expectedPeer ?? null,
      service: wanted.service,
      prove: (sessionId, ufrag) => {
        const { ticket } = wanted;
        if (!ticket) return null;
        return ticketProof(ticket, { agent: peerId, connector: ticket.connector, sessionId, ufrag });
      },
      timeoutMs: wanted.timeoutMs ?? attemptTimeoutMs(rttMs),
      // The way there and back leads to the intermediate twice; how far the connector is from it is not known.
      relayRttMs: 2 * rttMs,
      quic,
      config,
      socketTo: (address) => this.#socketTo(address),
      knowsUs: (from, address) => introductions.isKnownAt(from, address.ip),
    });
    onSession(session);
    if (!session.start(now)) session.close("the intermediate went out of reach");
    return session;
  }

  /** What reaches a relayed address: our own UDP socket, or where UDP is blocked, or not of that family, an allocation of ours that may. */
  #socketTo({ ip, family }: SocketAddress): SocketId | null {
    const { presences, sockets } = this.#options;
    if (presences.udpReach !== "blocked" && hasAddress(sockets, family))
      return sockets.find(({ address }) => address.family === family)?.id ?? null;
    for (const { relay } of presences) if (relay?.mayReach(ip)) return relay.id;
    return null;
  }
}
