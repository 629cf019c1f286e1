import { Counters, type Deadline, earliest, type Millis, type Transmit } from "@adit/core";
import type { LocalCandidateInit } from "@adit/ice";
import type { SessionSample } from "../sample.ts";
import type { SessionStatus, SessionTotals } from "../status.ts";
import { CheckBudget } from "./check-budget.ts";
import type { Session } from "./session.ts";

/** Sessions at once; more are refused with `too-many`. */
export const MAX_SESSIONS = 1_024;

/** The endpoint's sessions, and which of them have work: a turn looks at those alone. */
export class SessionSet {
  readonly #sessions = new Map<bigint, Session>();
  readonly #checks = new CheckBudget();
  /** Of sessions that are gone. */
  readonly #dropped = new Counters<string>();
  /** Those with work in this turn; and when each of them wants to be called by itself. */
  readonly #touched = new Set<Session>();
  readonly #deadlines = new Map<Session, Deadline>();
  /** Of those that were deleted. */
  #ended: SessionTotals = NOTHING;

  get size(): number {
    return this.#sessions.size;
  }

  get(id: bigint): Session | undefined {
    return this.#sessions.get(id);
  }

  /** In the order in which they began. */
  [Symbol.iterator](): IterableIterator<Session> {
    return this.#sessions.values();
  }

  /** Those that have not ended, the newest first. */
  status(): readonly SessionStatus[] {
    return [...this.#sessions.values()]
      .filter((session) => !session.isOver)
      .reverse()
      .map((session) => session.status());
  }

  /** Datagrams that sessions did not let in or out, those that are gone too, and what was dropped before it came to one. */
  dropped(before: Counters<string>): Readonly<Record<string, number>> {
    const all = new Counters<string>();
    for (const drops of [before, this.#dropped, this.#checks.drops]) all.addAll(drops);
    for (const session of this.#sessions.values()) all.addAll(session.data.drops);
    return all.toJSON();
  }

  /** Of those that are up, the `limit` that have been so longest. */
  samples(limit: number): readonly SessionSample[] {
    const samples: SessionSample[] = [];
    for (const session of this.#sessions.values()) {
      if (samples.length >= limit) break;
      if (session.isUp) samples.push(session.sample());
    }
    return samples;
  }

  totals(): SessionTotals {
    let totals = this.#ended;
    for (const session of this.#sessions.values()) totals = plus(totals, session);
    return totals;
  }

  add(session: Session): void {
    this.#sessions.set(session.sessionId, session);
    this.#touched.add(session);
  }

  /** The session has work: it is pumped and polled in the next turn. */
  touch(session: Session): void {
    this.#touched.add(session);
  }

  delete(session: Session): void {
    if (this.#sessions.delete(session.sessionId)) {
      this.#dropped.addAll(session.data.drops);
      this.#ended = plus(this.#ended, session);
    }
    this.#touched.delete(session);
    this.#deadlines.delete(session);
  }

  /** What is known of our own candidates; `complete`: no more come by themselves. */
  tellCandidates(now: Millis, candidates: readonly LocalCandidateInit[], complete: boolean): void {
    for (const session of this.#sessions.values()) {
      if (session.isOver) continue;
      session.setLocalCandidates(now, candidates);
      if (complete) session.endLocalCandidates(now);
    }
  }

  handleTimeout(now: Millis): void {
    for (const [session, { at }] of this.#deadlines) {
      if (at > now) continue;
      this.#touched.add(session);
      session.handleTimeout(now);
    }
  }

  pollTimeout(): Deadline | null {
    let next: Deadline | null = null;
    // A session's deadline changes only when it is touched; then it is due for a turn anyway.
    for (const deadline of this.#deadlines.values()) next = earliest(next, deadline);
    return next;
  }

  /** Those that were touched have their events and decisions carried out; `visit` sees each of them afterwards. */
  drain(now: Millis, visit: (session: Session) => void): void {
    for (const session of [...this.#touched]) {
      session.pump(now);
      visit(session);
      if (this.#sessions.has(session.sessionId)) this.#setDeadline(now, session);
    }
  }

  /** The next datagram that a session wants sent and `wrap` lets out. */
  pollTransmit(now: Millis, wrap: (sent: Transmit) => Transmit | null): Transmit | null {
    for (const session of this.#touched) {
      for (let sent = session.pollTransmit(now); sent; sent = session.pollTransmit(now)) {
        if (!this.#checks.allows(now, session, sent)) continue;
        const wrapped = wrap(sent);
        if (wrapped) return wrapped;
      }
      // Sending moved its timers.
      this.#setDeadline(now, session);
      this.#touched.delete(session);
    }
    return null;
  }

  #setDeadline(now: Millis, session: Session): void {
    const deadline = session.pollTimeout(now);
    if (deadline) this.#deadlines.set(session, deadline);
    else this.#deadlines.delete(session);
  }
}

const NOTHING: SessionTotals = {
  sessions: 0,
  handshakes: 0,
  migrations: 0,
  sentBytes: 0,
  receivedBytes: 0,
  packetsSent: 0,
  packetsReceived: 0,
  packetsLost: 0,
};

function plus(totals: SessionTotals, session: Session): SessionTotals {
  const { handshakes, migrations } = session.status();
  const { sentBytes, receivedBytes, packetsSent, packetsReceived, packetsLost } = session.sample();
  return {
    sessions: totals.sessions + (handshakes > 0 ? 1 : 0),
    handshakes: totals.handshakes + handshakes,
    migrations: totals.migrations + migrations,
    sentBytes: totals.sentBytes + sentBytes,
    receivedBytes: totals.receivedBytes + receivedBytes,
    packetsSent: totals.packetsSent + packetsSent,
    packetsReceived: totals.packetsReceived + packetsReceived,
    packetsLost: totals.packetsLost + packetsLost,
  };
}
