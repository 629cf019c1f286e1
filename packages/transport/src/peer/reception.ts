import type { LogFields, Logger, Millis, SocketAddress } from "@adit/core";
import type { PeerId } from "@adit/quic";
import { ANY_SERVICE, type CandidateOffer, type Incoming } from "@adit/signaling";
import type { IncomingService } from "../endpoint.ts";
import { checkTicketProof } from "../ticket.ts";
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
  /** Milliseconds since 1970. */
  readonly wallClock: () => number;
  /** A session begins. */
  readonly onSession: (session: ConnectorSession) => void;
  /** It was announced there, for the first time or again. */
  readonly onIncoming: (now: Millis, at: Presence, session: ConnectorSession, peerObserved: SocketAddress) => void;
}

/** Lines a minute about strangers who were turned away: anybody can be one, as often as the intermediate lets him. */
const WARNINGS_PER_MINUTE = 30;

/** Agents that are on no list, and may send a ticket with their offer; the oldest give way. */
const MAX_STRANGERS = 64;

interface Stranger {
  readonly peerId: PeerId;
  readonly peerObserved: SocketAddress;
}

/** A connector's front door: agents that are announced, and the services that they ask for. */
export class Reception {
  readonly #options: ReceptionOptions;
  /** Announced, not let in yet: nothing is sent to them. */
  readonly #strangers = new Map<bigint, Stranger>();
  #warnings = { since: Number.NEGATIVE_INFINITY, count: 0 };
  /** Of sessions that a ticket let in, what it opens. */
  readonly #opened = new WeakMap<ConnectorSession, ReadonlySet<string>>();

  constructor(options: ReceptionOptions) {
    this.#options = options;
  }

  handleIncoming(now: Millis, at: Presence, { sessionId, peerId, peerObserved }: Incoming): void {
    const { sessions, admit, onIncoming } = this.#options;
    const known = sessions.get(sessionId);
    if (known) {
      // Introduced by another intermediate too, or again: to a new one, or from a new address. Its relay may let the agent in now.
      if (known instanceof ConnectorSession && !known.isOver && known.peer.id === peerId) {
        onIncoming(now, at, known, peerObserved);
      }
      return;
    }
    if (admit(peerId)) return void this.#begin(now, at, sessionId, { peerId, peerObserved });
    this.#strangers.set(sessionId, { peerId, peerObserved });
    for (const oldest of this.#strangers.keys()) {
      if (this.#strangers.size <= MAX_STRANGERS) break;
      this.#strangers.delete(oldest);
    }
  }

  /** An offer for a session that does not exist: of a stranger with a ticket, or without. */
  handleOffer(now: Millis, at: Presence, offer: CandidateOffer): void {
    const { sessionId } = offer;
    const stranger = this.#strangers.get(sessionId);
    if (!stranger || !this.#strangers.delete(sessionId)) return;
    const { host, log, refuse, wallClock } = this.#options;
    const { peerId, peerObserved } = stranger;
    if (offer.ticket === null) {
      this.#warn(now, "peer-not-allowed", { peerId, observed: peerObserved, hint: `--allow ${peerId}` });
      const sentence = `the connector does not allow ${peerId}; on its host, add --allow ${peerId}`;
      return refuse(at, sessionId, "not-allowed", sentence);
    }
    const use = { agent: peerId, connector: host.peerId, sessionId, ufrag: offer.ice.ufrag };
    const verdict = checkTicketProof(offer.ticket, use, wallClock());
    if (verdict.kind === "refused") {
      this.#warn(now, "ticket-refused", { peerId, observed: peerObserved, reason: verdict.reason });
      return refuse(at, sessionId, "not-allowed", TICKET_WORDS[verdict.reason]);
    }
    const { services } = verdict;
    const { serviceId } = offer;
    if (services.length > 0 && serviceId !== ANY_SERVICE && !services.includes(serviceId)) {
      return refuse(at, sessionId, "service-unknown", notOpened(serviceId, services));
    }
    const session = this.#begin(now, at, sessionId, stranger);
    if (!session) return;
    log.info("ticket-accepted", { peerId, observed: peerObserved, services: services.length > 0 ? services : "all" });
    if (services.length > 0) this.#opened.set(session, new Set(services));
    host.touch(session);
    session.handleSignaling(now, offer);
  }

  /** What was not said in one minute is told with the first line of a later one. */
  #warn(now: Millis, event: string, fields: LogFields): void {
    const { since, count } = this.#warnings;
    if (now < since + 60_000) {
      this.#warnings.count++;
      if (count >= WARNINGS_PER_MINUTE) return;
      return this.#options.log.warn(event, fields);
    }
    const suppressed = Math.max(0, count - WARNINGS_PER_MINUTE);
    this.#warnings = { since: now, count: 1 };
    this.#options.log.warn(event, suppressed > 0 ? { ...fields, suppressed } : fields);
  }

  #begin(now: Millis, at: Presence, sessionId: bigint, { peerId, peerObserved }: Stranger): ConnectorSession | null {
    const { host, sessions, offers, isPermissionPending, refuse, onSession, onIncoming } = this.#options;
    if (sessions.size >= MAX_SESSIONS) {
      refuse(at, sessionId, "too-many", `the connector has ${MAX_SESSIONS} sessions, which is its limit`);
      return null;
    }
    const session: ConnectorSession = new ConnectorSession(now, host, sessionId, {
      peerId,
      isPermissionPending: () => isPermissionPending(session),
      offers,
      onService: (from, request) => this.#handleService(from, request),
    });
    onSession(session);
    onIncoming(now, at, session, peerObserved);
    return session;
  }

  #handleService(session: ConnectorSession, { stream, name, protocol }: ServiceStream): void {
    const { onService } = this.#options;
    if (!onService) return void session.refuseService(stream, "service-unknown", "this connector offers no services");
    const opened = this.#opened.get(session);
    if (opened && !opened.has(name)) {
      return void session.refuseService(stream, "service-unknown", notOpened(name, [...opened]));
    }
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

const TICKET_WORDS = {
  malformed: "the ticket is damaged, or of another version of this program",
  foreign: "the ticket was signed by another connector",
  expired: "the ticket has expired by the connector's clock; ask for a new one",
  "not-the-holder": "the ticket was not used by its holder",
} as const;

const notOpened = (service: string, services: readonly string[]): string =>
  `the ticket does not open ${service}; it opens ${services.join(", ")}`;
