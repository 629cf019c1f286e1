/**
 * The introductions: names, sessions, and what is passed on between the two parties of one. Sans-IO: messages in, messages out.
 *
 * It believes nobody about a session but its two parties, reads of what it passes on only what it needs (candidates, to repeat them
 * in StartPunching), and bounds what each key may make it remember. Framing, rate and direction of messages were checked before.
 */
import { Counters, type Deadline, type Logger, type Millis, nullLogger, SocketAddress } from "@adit/core";
import {
  type CandidateAnswer,
  type CandidateOffer,
  type Connect,
  type ErrorMessage,
  type IntermediateMessage,
  type PathReport,
  PEER_CONNECTED_ANEW,
  type PunchingResult,
  type Register,
  type Restart,
  type Role,
  type SessionEnd,
  type SessionMessage,
  type TrickledCandidate,
  type WireErrorCode,
} from "@adit/signaling";
import { Directory, type Registration } from "./directory.ts";
import { Registrar, type RegistrarOptions, type RegistrationRefusal } from "./registrar.ts";
import {
  addCandidate,
  type ConnectionId,
  connectionOf,
  otherParty,
  type Party,
  type Session,
  type SessionCounts,
  SessionTable,
  startGeneration,
} from "./session-table.ts";

/** StartPunching's delay lies in 0..1000 ms. */
const MAX_PUNCH_DELAY_MS = 1_000;

/** In Connected before the connector has answered. */
const UNSPECIFIED = { 4: SocketAddress.of("0.0.0.0", 0), 6: SocketAddress.of("::", 0) } as const;

const ABOUT_TO_STOP = "this intermediate is about to stop; try again";

export type RendezvousOutput =
  | { readonly type: "send"; readonly connection: ConnectionId; readonly message: IntermediateMessage }
  /** The same key registered anew over another connection: this one is to get Goodbye{replaced}. */
  | { readonly type: "replaced"; readonly connection: ConnectionId };

export type RendezvousRefusal =
  | RegistrationRefusal
  | "not-found"
  | "peer-changed"
  | "unknown-session"
  | "quota-sessions"
  | "ip-sessions"
  | "policy-connect"
  | "draining"
  | "absent-peer";

export interface RendezvousOptions extends RegistrarOptions {
  /** Whom a key may exchange relayed packets with has changed. */
  onSessionsChanged(): void;
  readonly log?: Logger;
}

/** A client that has said Hello. */
export interface Client {
  readonly connection: ConnectionId;
  /** Proved by its certificate. */
  readonly peerId: string;
  readonly role: Role;
  readonly observed: SocketAddress;
}

interface Connection extends Client {
  observed: SocketAddress;
  rttMs: Millis;
}

/** Messages that only count within a session, and are passed on to its other party. */
type InSession =
  | CandidateOffer
  | CandidateAnswer
  | TrickledCandidate
  | Restart
  | PathReport
  | PunchingResult
  | SessionEnd;

export class Rendezvous {
  /** What was refused or could not be passed on. */
  readonly counters = new Counters<RendezvousRefusal>();
  readonly #log: Logger;
  readonly #connections = new Map<ConnectionId, Connection>();
  readonly #directory: Directory<Connection>;
  readonly #sessions: SessionTable;
  readonly #output: RendezvousOutput[] = [];
  readonly #registrar: Registrar;
  #draining = false;

  constructor(options: RendezvousOptions) {
    this.#log = options.log ?? nullLogger;
    this.#registrar = new Registrar(options, this.counters, this.#log);
    this.#directory = new Directory(this.#log);
    this.#sessions = new SessionTable(() => options.onSessionsChanged());
  }

  /** A client said Hello. */
  handleHello(client: Client): void {
    const { connection, peerId, role, observed } = client;
    this.#connections.set(connection, { connection, peerId, role, observed, rttMs: 0 });
    this.#hintRestart(this.#sessions.adopt(role, peerId, connection, observed));
  }

  /**
   * The key came back on another connection: perhaps a new process, which knows nothing of its sessions. The other sides are told, who
   * verify it by checks.
   */
  #hintRestart(adopted: ReturnType<SessionTable["adopt"]>): void {
    for (const { session, other } of adopted) {
      this.#sendTo(other, { type: "session-end", sessionId: session.id, reason: PEER_CONNECTED_ANEW });
    }
  }

  handleMessage(now: Millis, id: ConnectionId, message: SessionMessage): void {
    const connection = this.#connections.get(id);
    if (!connection) return;
    switch (message.type) {
      case "register":
        return this.#register(now, connection, message);
      case "connect":
        return this.#connect(now, connection, message);
      case "error":
        return this.#handleError(connection, message);
      default:
        return this.#handleInSession(now, connection, message);
    }
  }

  /** The client's packets come from elsewhere now. */
  handleObserved(id: ConnectionId, observed: SocketAddress): void {
    const connection = this.#connections.get(id);
    if (!connection) return;
    connection.observed = observed;
    this.#sessions.observe(connection.peerId, id, observed);
  }

  handleRtt(id: ConnectionId, rttMs: Millis): void {
    const connection = this.#connections.get(id);
    if (connection) connection.rttMs = rttMs;
  }

  /**
   * The connection is gone, and its registration with it. Its sessions wait for the key to come back, unless the client said
   * Goodbye: then its program has ended, and the other parties hear of it.
   */
  handleClosed(now: Millis, id: ConnectionId, why: "broken" | "goodbye"): void {
    const connection = this.#connections.get(id);
    if (!connection) return;
    this.#connections.delete(id);
    this.#directory.remove(connection);
    if (why === "goodbye") this.#endSessions(now, connection);
    this.#sessions.detach(now, connection.peerId, id);
  }

  handleTimeout(now: Millis): void {
    this.#sessions.sweep(now);
  }

  /** An operator released or transferred names: who holds one that is not his any more, loses it. */
  handleNamesChanged(): void {
    for (const { name, client } of this.#directory.entries()) {
      if (this.#registrar.stillOwns(client.peerId, name)) continue;
      this.#log.info("name-lost", { name, peerId: client.peerId });
      this.#directory.remove(client);
      // An Error about the connection ends it. The connector comes back, and asks for the name like anybody else.
      this.#refuse(client, "name-taken", `the name "${name}" was released, or given to another key`, {});
    }
  }

  /** From now on nobody registers and no session is introduced; those that stand are served on. */
  drain(): void {
    this.#draining = true;
  }

  pollTimeout(): Deadline | null {
    const at = this.#sessions.sweepAt;
    return at === null ? null : { at, reason: "absent session parties" };
  }

  pollOutput(): RendezvousOutput | null {
    return this.#output.shift() ?? null;
  }

  /** Whether `ip` is where a session peer of this key was last seen: for the relay policy. */
  isSessionPeer(peerId: string, ip: string): boolean {
    return this.#sessions.isSessionPeer(peerId, ip);
  }

  registrations(): readonly Registration[] {
    return this.#directory.registrations();
  }

  /** How punching went. */
  get punches(): Pick<SessionTable, "punchSeconds" | "results"> {
    return this.#sessions;
  }

  sessionCounts(): SessionCounts {
    return this.#sessions.counts();
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  #register(now: Millis, connection: Connection, { requestId, name }: Register): void {
    if (this.#draining) {
      this.counters.add("draining");
      return this.#refuse(connection, "internal", ABOUT_TO_STOP, { requestId });
    }
    const refusal = this.#registrar.deny(now, connection, name);
    if (refusal) return this.#refuse(connection, refusal.code, refusal.message, { requestId });
    const older = this.#directory.of(connection.peerId);
    if (older && older !== connection) this.#replace(now, older, connection);
    this.#directory.enter(now, connection, name);
    this.#send(connection.connection, { type: "registered", requestId, name });
  }

  /** The same key registers anew: the newest wins, and the older one must not come back to win in turn. */
  #replace(now: Millis, older: Connection, newer: Connection): void {
    this.#log.info("peer-replaced", { peerId: older.peerId, address: older.observed.key, by: newer.observed.key });
    this.#hintRestart(
      this.#sessions.adopt("connector", newer.peerId, newer.connection, newer.observed, older.connection),
    );
    this.#output.push({ type: "replaced", connection: older.connection });
    this.handleClosed(now, older.connection, "broken");
  }

  #connect(now: Millis, agent: Connection, { sessionId, target, expectedPeer }: Connect): void {
    const refuse = (code: WireErrorCode, text: string) => this.#refuse(agent, code, text, { sessionId });
    if (this.#draining && !this.#sessions.get(sessionId)) {
      this.counters.add("draining");
      return refuse("internal", ABOUT_TO_STOP);
    }
    const connector = this.#directory.find(target);
    if (!connector) {
      this.counters.add("not-found");
      return refuse("not-found", `nobody is registered as "${target}"`);
    }
    if (expectedPeer !== null && expectedPeer !== connector.peerId) {
      this.counters.add("peer-changed");
      return refuse("peer-changed", `"${target}" belongs to ${connector.peerId}, not to ${expectedPeer}`);
    }
    if (!this.#mayConnect(agent, connector)) {
      this.counters.add("policy-connect");
      const said = `this intermediate's policy does not let ${agent.peerId} connect to "${target}"`;
      return refuse("not-allowed", `${said}; ask whoever runs it`);
    }
    if (connector.peerId === agent.peerId) return refuse("not-allowed", "agent and connector have the same key");
    const session = this.#openSession(now, agent, connector, sessionId);
    if (session === "taken") return refuse("unexpected-message", "this session id is in use");
    if (session === "full") {
      this.counters.add("quota-sessions");
      return refuse("too-many", "too many sessions; end some, or try later");
    }
    if (session === "ip-full") {
      this.counters.add("ip-sessions");
      return refuse("too-many", "too many sessions from your address; end some, or try later");
    }
    this.#log.debug("session-introduced", { sessionId, agent: agent.peerId, connector: connector.peerId });
    this.#tellConnected(session);
    const { peerId, observed: peerObserved } = agent;
    this.#send(connector.connection, { type: "incoming", sessionId, peerId, peerObserved });
  }

  /** Where a connector is, only those learn whom it has answered. */
  #tellConnected({ id: sessionId, agent, connector, answered }: Session): void {
    const { peerId, observed } = connector;
    const name = this.#directory.nameOf(peerId);
    const peerObserved = answered ? observed : UNSPECIFIED[observed.family];
    this.#sendTo(agent, { type: "connected", sessionId, peerId, name, peerObserved });
  }

  /** Of both: a connector whose key may not register any more is not dropped, but nobody is led to it. */
  #mayConnect(agent: Connection, { peerId }: Connection): boolean {
    const policy = this.#registrar.policy();
    const name = this.#directory.nameOf(peerId);
    return policy.mayConnect(agent.peerId, { name, peerId }) && (name === null || policy.mayRegister(peerId, name));
  }

  /** A new session, or the same one again: an agent whose signaling came back may say Connect anew with the same id. */
  #openSession(
    now: Millis,
    agent: Connection,
    connector: Connection,
    id: bigint,
  ): Session | "taken" | "full" | "ip-full" {
    const known = this.#sessions.get(id);
    if (!known) return this.#sessions.create(now, id, agent, connector, this.#registrar.accounts.limits);
    if (known.agent.peerId !== agent.peerId || known.connector.peerId !== connector.peerId) return "taken";
    this.#sessions.confirm(known, known.agent, agent.connection, agent.observed);
    return known;
  }

  #handleInSession(now: Millis, connection: Connection, message: InSession): void {
    const { sessionId } = message;
    const found = this.#partyOf(connection, sessionId);
    if (!found) {
      this.counters.add("unknown-session");
      // A late word about what is over is no mistake worth an answer.
      if (message.type === "session-end" || message.type === "punching-result") return;
      return this.#refuse(connection, "unknown-session", "you take part in no such session", { sessionId });
    }
    const { session, party } = found;
    this.#sessions.confirm(session, party, connection.connection, connection.observed);
    if (message.type === "punching-result") {
      const { outcome, detail } = message;
      this.#log.debug("punching-result", { sessionId, by: party.role, outcome, detail });
      return this.#sessions.setOutcome(now, session, party.role, outcome);
    }
    if (message.type === "candidate") {
      if (message.candidate) addCandidate(party, message.ufrag, message.candidate);
    } else if ("ice" in message) startGeneration(party, message.ice.ufrag, message.candidates);
    // Any word of the connector's but that it is over; its answer as a rule.
    if (party === session.connector && message.type !== "session-end" && this.#sessions.answer(session)) {
      this.#tellConnected(session);
    }
    this.#sendTo(otherParty(session, party), message);
    const isAnswer = message.type === "candidate-answer" || (message.type === "restart" && message.answer);
    if (isAnswer) this.#startPunching(session);
    if (message.type === "session-end") this.#sessions.endInPeace(now, session);
  }

  /** An Error about a session is for the other party: a connector refuses that way, and then the session is over. */
  #handleError(connection: Connection, message: ErrorMessage): void {
    const found = message.sessionId === null ? null : this.#partyOf(connection, message.sessionId);
    if (!found) return this.counters.add("unknown-session");
    this.#sendTo(otherParty(found.session, found.party), { ...message, requestId: null });
    this.#sessions.end(found.session);
  }

  #endSessions(now: Millis, connection: Connection): void {
    for (const session of [...this.#sessions.of(connection.peerId)]) {
      const party = session[connection.role];
      if (party.peerId !== connection.peerId || connectionOf(party) !== connection.connection) continue;
      const reason = `the ${connection.role} said goodbye to the intermediate`;
      this.#sendTo(otherParty(session, party), { type: "session-end", sessionId: session.id, reason });
      this.#sessions.endInPeace(now, session);
    }
  }

  /**
   * Both sides are to raise their pace at the same moment T, the earliest at which both can have heard of it: half the longer round
   * trip from now. Each is told T minus half of its own.
   */
  #startPunching(session: Session): void {
    const half = (party: Party) => (this.#connections.get(connectionOf(party) ?? -1)?.rttMs ?? 0) / 2;
    const target = Math.max(half(session.agent), half(session.connector));
    for (const party of [session.agent, session.connector]) {
      this.#sendTo(party, {
        type: "start-punching",
        sessionId: session.id,
        targetTimeMs: Math.round(Math.min(MAX_PUNCH_DELAY_MS, target - half(party))),
        peerCandidates: otherParty(session, party).candidates,
      });
    }
  }

  #partyOf(connection: Connection, sessionId: bigint): { session: Session; party: Party } | null {
    const session = this.#sessions.get(sessionId);
    const party = session?.[connection.role];
    return session && party?.peerId === connection.peerId ? { session, party } : null;
  }

  #sendTo(party: Party, message: IntermediateMessage): void {
    const id = connectionOf(party);
    // Not kept for later: what it says about addresses would be stale by then, and the sender has the control stream as well.
    if (id === null) this.counters.add("absent-peer");
    else this.#send(id, message);
  }

  #refuse(
    { connection, peerId, observed }: Connection,
    code: WireErrorCode,
    message: string,
    about: { readonly sessionId?: bigint; readonly requestId?: bigint },
  ): void {
    const { sessionId = null, requestId = null } = about;
    this.#log.debug("refused", { peerId, address: observed.key, code, message });
    this.#send(connection, { type: "error", code, message, sessionId, requestId });
  }

  #send(connection: ConnectionId, message: IntermediateMessage): void {
    this.#output.push({ type: "send", connection, message });
  }
}
