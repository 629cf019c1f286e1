/**
 * The sessions that this intermediate introduced: who takes part, from where, and how it went.
 *
 * A session belongs to two keys, not to two connections: a signaling connection breaks when a laptop changes networks while the
 * session goes on, and what the relay lets through follows from this table. So a party may be absent for a while.
 */
import { Counters, type Millis, type SocketAddress } from "@adit/core";
import { Histogram } from "@adit/program";
import type { PunchingResult, Role, SignaledCandidate } from "@adit/signaling";
import { SourceCounts, sourceKey } from "./ip-limits.ts";
import type { Limits } from "./limits.ts";

/** Names one signaling connection. */
export type ConnectionId = number;

/** How long a party may be without a signaling connection before the session is forgotten: as long as peers keep a suspended one. */
export const ABSENCE_LIMIT_MS = 600_000;

/** Sessions at one time; per key of a connector. Past them, or past the agent's own limit, Connect gets `too-many`. */
export const MAX_SESSIONS = 16_384;
export const MAX_SESSIONS_PER_CONNECTOR = 1024;

/**
 * How long a session may wait for the connector's first word. Until then it is the agent's wish alone, and makes way where a bound is reached:
 * whoever asks for a connector and offers nothing must not keep others from it.
 */
export const UNANSWERED_LIMIT_MS = 30_000;

/** Candidates kept per party for StartPunching: as many as a message may carry. */
const MAX_CANDIDATES = 64;

const SWEEP_MS = 5_000;
/** The relay lets the last packets of a session that ended pass for so long: QUIC's close, and its repetitions. */
export const FAREWELL_MS = 2_000;
/** Ended sessions that may still do that; past them the oldest is cut off at once. */
const MAX_FAREWELLS = 1_024;

/** Bounds of the histogram of the time to a direct path, seconds. */
const PUNCH_SECONDS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60];

export interface Party {
  readonly role: Role;
  readonly peerId: string;
  observed: SocketAddress;
  presence: Presence;
  /** The generation that `candidates` belong to. */
  ufrag: string | null;
  candidates: SignaledCandidate[];
}

/** `silent`: the connection came after the session did, and has not spoken of it yet; perhaps the program was started anew. */
export type Presence =
  | { readonly kind: "present"; readonly connection: ConnectionId }
  | { readonly kind: "silent"; readonly connection: ConnectionId }
  | { readonly kind: "absent"; readonly until: Millis };

export interface Session {
  readonly id: bigint;
  readonly agent: Party;
  readonly connector: Party;
  readonly introducedAt: Millis;
  /** What the agent came from, as {@link sourceKey} has it: charged with the session as long as that lasts. */
  readonly source: string;
  /** Whether the connector has spoken of it. Before that the agent learns nothing of where the connector is, nor does the relay lead there. */
  answered: boolean;
  /** Whether its first direct path was told of. */
  punched: boolean;
  /** The last PunchingResult; the agent's word counts before the connector's. */
  outcome: { readonly is: PunchingResult["outcome"]; readonly by: Role } | null;
}

export interface SessionCounts {
  /** Introduced since start. */
  readonly total: number;
  /** Of these, the last result said direct. */
  readonly direct: number;
  /** Of these, the last result said relay. */
  readonly relayed: number;
  readonly failed: number;
  /** In the table now. */
  readonly active: number;
}

export class SessionTable {
  readonly #sessions = new Map<bigint, Session>();
  readonly #byPeer = new Map<string, Set<Session>>();
  /** The oldest first. */
  readonly #unanswered = new Set<Session>();
  readonly #perSource = new SourceCounts();
  /** How many sessions let `peerId` exchange packets with `ip`, by `peerId|ip`. */
  readonly #reach = new Map<string, number>();
  /** From the introduction of a session until a party tells of its first direct path, seconds. */
  readonly punchSeconds = new Histogram(PUNCH_SECONDS);
  /** Results that agents told, by outcome; a session may have several. */
  readonly results = new Counters<PunchingResult["outcome"]>();
  readonly #outcomes = { direct: 0, relay: 0, failed: 0 };
  #total = 0;
  /** When absent parties are looked for among all sessions; null when there are none. */
  #scanAt: Millis | null = null;
  /** Ended, and not cut off yet; the oldest first. */
  readonly #farewells: { readonly session: Session; readonly until: Millis }[] = [];
  readonly #onChange: () => void;

  /** `onChange` is called whenever {@link isSessionPeer} may answer differently. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  get(id: bigint): Session | undefined {
    return this.#sessions.get(id);
  }

  of(peerId: string): ReadonlySet<Session> {
    return this.#byPeer.get(peerId) ?? EMPTY;
  }

  /** Whether `ip` is where the other party of a session with `peerId` was last seen. */
  isSessionPeer(peerId: string, ip: string): boolean {
    return this.#reach.has(`${peerId}|${ip}`);
  }

  /** `full`, `ip-full`: a bound is reached, the key's or the table's, or that of the agent's address. */
  create(now: Millis, id: bigint, agent: NewParty, connector: NewParty, limits: Limits): Session | "full" | "ip-full" {
    const source = sourceKey(agent.observed.ip);
    if (!this.#perSource.hasRoom(source, limits.sessionsPerIp)) return "ip-full";
    if (!this.#makeRoom()) return "full";
    if (!this.#makeRoomFor(agent.peerId, limits.sessionsPerKey, isSilent)) return "full";
    if (!this.#makeRoomFor(connector.peerId, MAX_SESSIONS_PER_CONNECTOR, isUnwanted)) return "full";
    const session: Session = {
      id,
      agent: newParty("agent", agent),
      connector: newParty("connector", connector),
      introducedAt: now,
      source,
      answered: false,
      punched: false,
      outcome: null,
    };
    this.#unanswered.add(session);
    this.#perSource.add(source, 1);
    this.#sessions.set(id, session);
    for (const party of [session.agent, session.connector]) {
      const sessions = this.#byPeer.get(party.peerId) ?? new Set();
      this.#byPeer.set(party.peerId, sessions.add(session));
    }
    this.#countReach(session, 1);
    this.#total++;
    this.#onChange();
    return session;
  }

  /** The connector has spoken of it: the agent may be led to it. True the first time. */
  answer(session: Session): boolean {
    if (session.answered || this.#sessions.get(session.id) !== session) return false;
    this.#countReach(session, -1);
    session.answered = true;
    this.#unanswered.delete(session);
    this.#countReach(session, 1);
    this.#onChange();
    return true;
  }

  /** The relay lets nothing of the session pass any more. */
  end(session: Session): void {
    if (this.#remove(session)) this.#cutOff(session);
  }

  /** One of its parties said that it is over: their last packets may still be under way. */
  endInPeace(now: Millis, session: Session): void {
    if (!this.#remove(session)) return;
    const oldest = this.#farewells.length >= MAX_FAREWELLS ? this.#farewells.shift() : undefined;
    if (oldest) this.#cutOff(oldest.session);
    this.#farewells.push({ session, until: now + FAREWELL_MS });
  }

  #remove(session: Session): boolean {
    if (!this.#sessions.delete(session.id)) return false;
    this.#unanswered.delete(session);
    this.#perSource.add(session.source, -1);
    for (const party of [session.agent, session.connector]) {
      const sessions = this.#byPeer.get(party.peerId);
      sessions?.delete(session);
      if (sessions?.size === 0) this.#byPeer.delete(party.peerId);
    }
    return true;
  }

  #cutOff(session: Session): void {
    this.#countReach(session, -1);
    this.#onChange();
  }

  /** The party spoke of the session over this connection. */
  confirm(session: Session, party: Party, connection: ConnectionId, observed: SocketAddress): void {
    if (party.presence.kind !== "present" || party.presence.connection !== connection) {
      party.presence = { kind: "present", connection };
    }
    this.#setObserved(session, party, observed);
  }

  /** A new connection of a key that has sessions takes over those whose own connection is gone, or is `from`: these, with the other party. */
  adopt(
    role: Role,
    peerId: string,
    connection: ConnectionId,
    observed: SocketAddress,
    from?: ConnectionId,
  ): { readonly session: Session; readonly other: Party }[] {
    const adopted: { session: Session; other: Party }[] = [];
    for (const session of this.of(peerId)) {
      const party = session[role];
      if (party.peerId !== peerId) continue;
      if (party.presence.kind !== "absent" && party.presence.connection !== from) continue;
      party.presence = { kind: "silent", connection };
      this.#setObserved(session, party, observed);
      adopted.push({ session, other: session[role === "agent" ? "connector" : "agent"] });
    }
    return adopted;
  }

  /** The connection is gone. */
  detach(now: Millis, peerId: string, connection: ConnectionId): void {
    for (const session of this.of(peerId)) {
      for (const party of [session.agent, session.connector]) {
        if (party.presence.kind === "absent" || party.presence.connection !== connection) continue;
        party.presence = { kind: "absent", until: now + ABSENCE_LIMIT_MS };
        this.#scanAt ??= now + SWEEP_MS;
      }
    }
  }

  /** The peer is seen at another address now. */
  observe(peerId: string, connection: ConnectionId, observed: SocketAddress): void {
    for (const session of this.of(peerId)) {
      for (const party of [session.agent, session.connector]) {
        if (party.presence.kind === "absent" || party.presence.connection !== connection) continue;
        this.#setObserved(session, party, observed);
      }
    }
  }

  setOutcome(now: Millis, session: Session, by: Role, is: PunchingResult["outcome"]): void {
    if (by === "agent") this.results.add(is);
    if (is === "direct" && !session.punched) {
      session.punched = true;
      this.punchSeconds.add((now - session.introducedAt) / 1000);
    }
    if (session.outcome?.by === "agent" && by !== "agent") return;
    if (session.outcome) this.#outcomes[session.outcome.is]--;
    session.outcome = { is, by };
    this.#outcomes[is]++;
  }

  counts(): SessionCounts {
    const { direct, relay, failed } = this.#outcomes;
    return { total: this.#total, direct, relayed: relay, failed, active: this.#sessions.size };
  }

  get sweepAt(): Millis | null {
    const [unanswered] = this.#unanswered;
    const at = Math.min(
      this.#scanAt ?? Number.POSITIVE_INFINITY,
      this.#farewells[0]?.until ?? Number.POSITIVE_INFINITY,
      unanswered ? unanswered.introducedAt + UNANSWERED_LIMIT_MS : Number.POSITIVE_INFINITY,
    );
    return at === Number.POSITIVE_INFINITY ? null : at;
  }

  /**
   * Forgets sessions that were never answered, and those with a party that stayed away. The other party is not told: between the two it may
   * well go on. It costs as much as there is to forget: strangers decide how often it is called.
   */
  sweep(now: Millis): void {
    while (this.#farewells[0] && this.#farewells[0].until <= now) {
      const over = this.#farewells.shift();
      if (over) this.#cutOff(over.session);
    }
    for (const session of this.#unanswered) {
      if (session.introducedAt + UNANSWERED_LIMIT_MS > now) break;
      this.end(session);
    }
    if (this.#scanAt !== null && now >= this.#scanAt) this.#scanAt = this.#forgetAbsent(now) ? now + SWEEP_MS : null;
  }

  /** True when some are absent still. */
  #forgetAbsent(now: Millis): boolean {
    let absent = false;
    for (const session of [...this.#sessions.values()]) {
      for (const party of [session.agent, session.connector]) {
        if (party.presence.kind !== "absent") continue;
        if (party.presence.until <= now) this.end(session);
        else absent = true;
      }
    }
    return absent;
  }

  /** Room for one more: at the bound the oldest one that no connector has answered makes way. */
  #makeRoom(): boolean {
    if (this.#sessions.size < MAX_SESSIONS) return true;
    const [oldest] = this.#unanswered;
    if (oldest) this.end(oldest);
    return oldest !== undefined;
  }

  /** Room for one more session of this key: at the bound the oldest one that may make way does. */
  #makeRoomFor(peerId: string, limit: number, mayGo: (session: Session, own: Party) => boolean): boolean {
    const sessions = this.of(peerId);
    if (sessions.size < limit) return true;
    for (const session of sessions) {
      if (!mayGo(session, session.agent.peerId === peerId ? session.agent : session.connector)) continue;
      this.end(session);
      return true;
    }
    return false;
  }

  #setObserved(session: Session, party: Party, observed: SocketAddress): void {
    if (party.observed.ip === observed.ip) {
      party.observed = observed;
      return;
    }
    this.#countReach(session, -1);
    party.observed = observed;
    this.#countReach(session, 1);
    this.#onChange();
  }

  #countReach({ agent, connector, answered }: Session, by: 1 | -1): void {
    this.#countWay(connector.peerId, agent.observed.ip, by);
    if (answered) this.#countWay(agent.peerId, connector.observed.ip, by);
  }

  #countWay(peerId: string, ip: string, by: 1 | -1): void {
    const key = `${peerId}|${ip}`;
    const count = (this.#reach.get(key) ?? 0) + by;
    if (count > 0) this.#reach.set(key, count);
    else this.#reach.delete(key);
  }
}

/** Nobody vouched for it since its connection broke. */
const isSilent = (_: Session, own: Party): boolean => own.presence.kind !== "present";
const isUnwanted = (session: Session, own: Party): boolean => !session.answered || isSilent(session, own);

export interface NewParty {
  readonly peerId: string;
  readonly connection: ConnectionId;
  readonly observed: SocketAddress;
}

const EMPTY: ReadonlySet<Session> = new Set();

function newParty(role: Role, { peerId, connection, observed }: NewParty): Party {
  return { role, peerId, observed, presence: { kind: "present", connection }, ufrag: null, candidates: [] };
}

/** A new ICE generation of this party: offer, answer or restart. */
export function startGeneration(party: Party, ufrag: string, candidates: readonly SignaledCandidate[]): void {
  party.ufrag = ufrag;
  party.candidates = candidates.slice(0, MAX_CANDIDATES);
}

/** A trickled candidate; one of another generation, or past the bound, is not kept. */
export function addCandidate(party: Party, ufrag: string, candidate: SignaledCandidate): void {
  if (party.ufrag === ufrag && party.candidates.length < MAX_CANDIDATES) party.candidates.push(candidate);
}

export const otherParty = (session: Session, party: Party): Party =>
  party === session.agent ? session.connector : session.agent;

export const connectionOf = (party: Party): ConnectionId | null =>
  party.presence.kind === "absent" ? null : party.presence.connection;
