import { Backoff, type Deadline, type Logger, type Millis, type Random, type SocketAddress } from "@adit/core";
import type { Connect, Connected, ErrorMessage, IntermediateMessage } from "@adit/signaling";
import { AgentSession } from "./agent-session.ts";
import { ConnectorSession } from "./connector-session.ts";
import type { Presence } from "./presence.ts";
import type { Presences } from "./presences.ts";
import type { PermissionAnswer } from "./relay.ts";
import type { Session } from "./session.ts";
import type { SessionSignal } from "./session-host.ts";
import type { SessionSet } from "./session-set.ts";

/** A session that stands is introduced again to an intermediate that did not know it, or its connector, after so long. */
const RETRY = { initialMs: 2_000, maxMs: 30_000, jitter: 0.2 };
/** An intermediate that does not know the connector is not the last word while another one may: for so long. */
const GRACE_MS = 1_000;
/** An intermediate that is asked for a peer and says nothing for so long is gone: half of an attempt is left to find it again. */
const ANSWER_TIMEOUT_MS = 2_500;

/** What an intermediate says of itself; another one may know better. Everything else is the connector's word, or final. */
const NOT_HERE: ReadonlySet<string> = new Set(["not-found", "unknown-session", "internal"]);

/** One session at one intermediate. */
interface Introduction {
  readonly at: Presence;
  readonly session: Session;
  state: "asked" | "known" | "refused";
  /** Where the other side is seen from there: whom the relay has to let in. */
  peerObserved: SocketAddress | null;
  permission: "pending" | "settled";
  readonly backoff: Backoff;
  retryAt: Millis | null;
}

export interface IntroductionsOptions {
  readonly presences: Presences;
  readonly sessions: SessionSet;
  readonly random: Random;
  readonly log: Logger;
}

/**
 * Which sessions are known where. A session is introduced at every intermediate that its two sides share, from the beginning: each
 * forwards its signaling, and each relay lets its packets through. So none of them is missed when it dies: its relay is one pair
 * among others, and the path policy moves.
 */
export class Introductions {
  readonly #options: IntroductionsOptions;
  /** As many entries as sessions, each with as many as intermediates. */
  readonly #bySession = new Map<bigint, Map<Presence, Introduction>>();
  /** Those with a {@link Introduction.retryAt}. */
  readonly #retrying = new Set<Introduction>();
  /** What an attempt fails with unless another intermediate brings it forward. */
  readonly #verdicts = new Map<AgentSession, { readonly at: Millis; readonly message: ErrorMessage }>();

  constructor(options: IntroductionsOptions) {
    this.#options = options;
  }

  /** To the other side, by every intermediate that knows the session. False when none could be told. */
  signal(now: Millis, message: SessionSignal): boolean {
    const { presences, sessions } = this.#options;
    let sent = false;
    if (message.type === "connect") {
      const session = sessions.get(message.sessionId);
      if (!session) return false;
      for (const at of presences) {
        if (!at.isUp) continue;
        sent = this.#ask(now, this.#of(session, at), message) || sent;
        at.link.client.probe(now, ANSWER_TIMEOUT_MS);
      }
      return sent;
    }
    for (const { at, state } of this.#bySession.get(message.sessionId)?.values() ?? []) {
      if (state !== "refused") sent = at.link.send(now, message) || sent;
    }
    return sent;
  }

  /** An agent is announced there; its session begins, or goes on. */
  handleIncoming(now: Millis, at: Presence, session: ConnectorSession, peerObserved: SocketAddress): void {
    session.handleIncoming();
    this.#know(now, this.#of(session, at), peerObserved);
    // Until it hears from us, the intermediate leads the agent nowhere.
    if (session.answer) at.link.send(now, session.answer);
  }

  /** The intermediate is a new one perhaps, or sees us come from another address, which the connector's relay has to let in. */
  handleUp(now: Millis, at: Presence): void {
    for (const session of this.#options.sessions) {
      if (!(session instanceof AgentSession) || session.isOver) continue;
      this.#ask(now, this.#of(session, at), session.introduction);
    }
  }

  /** Whether a message from there is for the session to see. */
  admits(now: Millis, at: Presence, session: Session, message: IntermediateMessage): boolean {
    const introduction = this.#bySession.get(session.sessionId)?.get(at);
    if (!introduction) return false;
    if (!(session instanceof AgentSession)) return true;
    if (message.type === "connected") return this.#handleConnected(now, introduction, message);
    if (message.type === "error") return this.#handleError(now, session, introduction, message);
    return introduction.state === "known";
  }

  /** Our relay there has an address now: it is to let the other sides in. */
  handleRelay(now: Millis, at: Presence): void {
    for (const introductions of this.#bySession.values()) {
      const introduction = introductions.get(at);
      if (introduction && !introduction.session.isOver) this.#permit(now, introduction);
    }
  }

  /** The relay there let that IP address in, or refused. */
  handlePermission(now: Millis, at: Presence, { ip, ok, code }: PermissionAnswer): void {
    if (!ok) this.#noteRefused(at, ip, code);
    for (const introductions of this.#bySession.values()) {
      const introduction = introductions.get(at);
      if (!introduction) continue;
      const { session } = introduction;
      if (introduction.peerObserved?.ip === ip) introduction.permission = "settled";
      if (session instanceof AgentSession) session.launch(now);
      else if (session instanceof ConnectorSession && !this.isPermissionPending(session)) session.handlePermission(now);
    }
  }

  /** Whether a relay has not said yet if it lets the other side in. */
  isPermissionPending(session: Session): boolean {
    const introductions = [...(this.#bySession.get(session.sessionId)?.values() ?? [])];
    return introductions.some(({ permission }) => permission === "pending");
  }

  /** Whether the session is known at the intermediate with that address. */
  isKnownAt(session: Session, ip: string): boolean {
    const introductions = [...(this.#bySession.get(session.sessionId)?.values() ?? [])];
    return introductions.some(({ at, state }) => state === "known" && at.link.remote?.ip === ip);
  }

  forget(session: Session): void {
    for (const introduction of this.#bySession.get(session.sessionId)?.values() ?? [])
      this.#retrying.delete(introduction);
    this.#bySession.delete(session.sessionId);
    if (session instanceof AgentSession) this.#verdicts.delete(session);
  }

  handleTimeout(now: Millis): void {
    for (const introduction of this.#retrying) {
      if (introduction.retryAt !== null && now >= introduction.retryAt) this.#introduceAgain(now, introduction);
    }
    for (const [session, { at, message }] of this.#verdicts) {
      if (now < at) continue;
      this.#verdicts.delete(session);
      if (!session.isUp && !this.#isKnownAnywhere(session)) session.handleSignaling(now, message);
    }
  }

  pollTimeout(): Deadline | null {
    let at = Number.POSITIVE_INFINITY;
    for (const { retryAt } of this.#retrying) at = Math.min(at, retryAt ?? at);
    for (const verdict of this.#verdicts.values()) at = Math.min(at, verdict.at);
    return at === Number.POSITIVE_INFINITY ? null : { at, reason: "introductions" };
  }

  #of(session: Session, at: Presence): Introduction {
    const introductions = this.#bySession.get(session.sessionId) ?? new Map<Presence, Introduction>();
    this.#bySession.set(session.sessionId, introductions);
    let introduction = introductions.get(at);
    if (!introduction) {
      introduction = {
        at,
        session,
        state: "refused",
        peerObserved: null,
        permission: "settled",
        backoff: new Backoff(RETRY),
        retryAt: null,
      };
      introductions.set(at, introduction);
    }
    return introduction;
  }

  #ask(now: Millis, introduction: Introduction, message: Connect): boolean {
    introduction.state = "asked";
    introduction.retryAt = null;
    this.#retrying.delete(introduction);
    return introduction.at.link.send(now, message);
  }

  #introduceAgain(now: Millis, introduction: Introduction): void {
    const { session, at } = introduction;
    introduction.retryAt = null;
    this.#retrying.delete(introduction);
    // When the intermediate is back, it is introduced there anyway.
    if (session.isOver || !at.isUp) return;
    if (session instanceof AgentSession) this.#ask(now, introduction, session.introduction);
  }

  #retry(introduction: Introduction, at: Millis): void {
    introduction.retryAt = at;
    this.#retrying.add(introduction);
  }

  #handleConnected(now: Millis, introduction: Introduction, { peerId, peerObserved }: Connected): boolean {
    const { session, at } = introduction;
    const { id, name } = session.peer;
    // The same name may be another key's at another intermediate. Who was found first counts.
    if (id !== "" && id !== peerId && this.#isHopeful(session, introduction)) {
      this.#options.log.warn("name-differs", { intermediate: at.name, name, peerId, expected: id });
      introduction.state = "refused";
      return false;
    }
    introduction.backoff.reset();
    this.#know(now, introduction, peerObserved);
    if (session instanceof AgentSession) session.handleReachable(now);
    return true;
  }

  #handleError(now: Millis, session: AgentSession, introduction: Introduction, message: ErrorMessage): boolean {
    if (message.code === "session-gone") return true;
    introduction.state = "refused";
    if (NOT_HERE.has(message.code)) {
      this.#retry(introduction, now + introduction.backoff.next(this.#options.random.float()));
      if (!session.isUp && this.#isHopeful(session, introduction)) {
        this.#verdicts.set(session, { at: now + GRACE_MS, message });
        return false;
      }
    }
    return !session.isUp;
  }

  /** Whether another intermediate may still bring the two together. */
  #isHopeful(session: Session, but: Introduction): boolean {
    const introductions = [...(this.#bySession.get(session.sessionId)?.values() ?? [])];
    return introductions.some((introduction) => introduction !== but && introduction.state !== "refused");
  }

  #isKnownAnywhere(session: Session): boolean {
    const introductions = [...(this.#bySession.get(session.sessionId)?.values() ?? [])];
    return introductions.some(({ state }) => state === "known");
  }

  /** Of a session that ended while the relay was asked the intermediate knows nothing any more: that is as it should be. */
  #noteRefused(at: Presence, ip: string, code: number | null): void {
    const all = [...this.#bySession.values()].map((introductions) => introductions.get(at));
    const isWanted = all.some((one) => one?.peerObserved?.ip === ip && !one.session.isOver);
    this.#options.log[isWanted ? "warn" : "debug"]("relay-permission-refused", { intermediate: at.name, ip, code });
  }

  #know(now: Millis, introduction: Introduction, peerObserved: SocketAddress): void {
    introduction.state = "known";
    introduction.peerObserved = peerObserved.port === 0 ? null : peerObserved;
    this.#permit(now, introduction);
  }

  /**
   * The relay there is to let in what comes from where the other side is seen, and from the relay itself: a peer without UDP sends
   * from an allocation of its own.
   */
  #permit(now: Millis, introduction: Introduction): void {
    const { at, session, peerObserved } = introduction;
    const { relay } = at;
    if (!relay || !peerObserved) return;
    const verdict = relay.permit(now, peerObserved.ip, session.sessionId);
    introduction.permission = verdict === "pending" ? "pending" : "settled";
    const own = relay.relayedAddress?.ip;
    if (own !== undefined && own !== peerObserved.ip) relay.permit(now, own, session.sessionId);
  }
}
