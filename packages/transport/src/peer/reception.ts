import type { Logger, Millis, SocketAddress } from "@adit/core";
import type { PeerId } from "@adit/quic";
import type { Incoming } from "@adit/signaling";
import type { IncomingService } from "../endpoint.ts";
import { ConnectorSession } from "./connector-session.ts";
import type { Presence } from "./presence.ts";
import type { ServiceStream } from "./service-streams.ts";
import type { SessionHost } from "./session-host.ts";
import { MAX_SESSIONS, type SessionSet } from "./session-set.ts";

export interface ReceptionOptions {
  readonly host: SessionHost;
  readonly sessions: SessionSet;
  readonly log: Logger;
  /** Who is let in. */
  readonly admit: (peerId: PeerId) => boolean;
  /** Whether there is a service of that name. */
  readonly offers: (service: string) => boolean;
  readonly onService: ((request: IncomingService) => void) | undefined;
  /** Whether a relay has not said yet if it lets the session's agent in. */
  readonly isPermissionPending: (session: ConnectorSession) => boolean;
  readonly refuse: (at: Presence, session: bigint, code: string, message: string) => void;
  /** A session begins. */
  readonly onSession: (session: ConnectorSession) => void;
  /** It was announced there, for the first time or again. */
  readonly onIncoming: (now: Millis, at: Presence, session: ConnectorSession, peerObserved: SocketAddress) => void;
}

/** A connector's front door: agents that are announced, and the services that they ask for. */
export class Reception {
  readonly #options: ReceptionOptions;

  constructor(options: ReceptionOptions) {
    this.#options = options;
  }

  handleIncoming(now: Millis, at: Presence, { sessionId, peerId, peerObserved }: Incoming): void {
    const { host, sessions, log, admit, offers, isPermissionPending, refuse, onSession, onIncoming } = this.#options;
    const known = sessions.get(sessionId);
    if (known) {
      // Introduced by another intermediate too, or again: to a new one, or from a new address. Its relay may let the agent in now.
      if (known instanceof ConnectorSession && !known.isOver && known.peer.id === peerId) {
        onIncoming(now, at, known, peerObserved);
      }
      return;
    }
    if (!admit(peerId)) {
      log.warn("peer-not-allowed", { peerId, observed: peerObserved, hint: `--allow ${peerId}` });
      const sentence = `the connector does not allow ${peerId}; on its host, add --allow ${peerId}`;
      return refuse(at, sessionId, "not-allowed", sentence);
    }
    if (sessions.size >= MAX_SESSIONS) {
      return refuse(at, sessionId, "too-many", `the connector has ${MAX_SESSIONS} sessions, which is its limit`);
    }
    const session: ConnectorSession = new ConnectorSession(now, host, sessionId, {
      peerId,
      isPermissionPending: () => isPermissionPending(session),
      admit,
      offers,
      onService: (from, request) => this.#handleService(from, request),
    });
    onSession(session);
    onIncoming(now, at, session, peerObserved);
  }

  #handleService(session: ConnectorSession, { stream, name, protocol }: ServiceStream): void {
    const { onService } = this.#options;
    if (!onService) return void session.refuseService(stream, "service-unknown", "this connector offers no services");
    onService({
      session,
      name,
      protocol,
      accept: () => session.acceptService(stream),
      acceptFlow: () => session.acceptFlow(stream),
      refuse: (code, reason) => session.refuseService(stream, code, reason),
    });
  }
}
