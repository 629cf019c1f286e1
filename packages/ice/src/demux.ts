import type { SocketAddress, SocketId } from "@adit/core";
import type { IceAgent } from "./agent.ts";
import { localUfragOf } from "./checks.ts";
import { type PairId, pairId } from "./pair.ts";
import { isStun, transactionKey } from "./stun/message.ts";

/** Sessions that share sockets; beyond it {@link IceDemux.add} refuses. */
export const MAX_SESSIONS = 65_536;
/** Requests whose answers find their session at once; the oldest give way, as answers that old are not waited for. */
const MAX_REQUESTS = 65_536;

const TRANSACTION_ID_AT = 8;
const HEADER_BYTES = 20;

/**
 * Finds, of many sessions on the same sockets, the one that a datagram is for: a check by the username fragment that it is addressed
 * to, an answer by the transaction that it answers, anything else by the path that it came by. Each in constant time, and nothing
 * that a stranger sends makes it grow.
 */
export class IceDemux<Session> {
  readonly #agents = new Map<Session, { readonly agent: IceAgent; ufrags: readonly string[] }>();
  readonly #byUfrag = new Map<string, Session>();
  readonly #byTransaction = new Map<string, Session>();
  readonly #byPath = new Map<PairId, Set<Session>>();

  /** How many sessions there are. */
  get size(): number {
    return this.#agents.size;
  }

  /** False: too many, or it is there already. */
  add(session: Session, agent: IceAgent): boolean {
    if (this.#agents.has(session) || this.#agents.size >= MAX_SESSIONS) return false;
    this.#agents.set(session, { agent, ufrags: [] });
    this.refresh(session);
    return true;
  }

  /** To be called after a restart: other username fragments are its own now. */
  refresh(session: Session): void {
    const entry = this.#agents.get(session);
    if (!entry) return;
    this.#disown(session, entry.ufrags);
    entry.ufrags = entry.agent.localUfrags;
    for (const ufrag of entry.ufrags) this.#byUfrag.set(ufrag, session);
  }

  /** To be called with each datagram that the session's agent wants sent: answers come back here. */
  noteTransmit(session: Session, data: Uint8Array): void {
    const isBindingRequest = data.length >= HEADER_BYTES && data[0] === 0 && data[1] === 1;
    if (!isBindingRequest || !this.#agents.has(session)) return;
    const key = keyIn(data);
    this.#byTransaction.delete(key); // to the end: the map is in order of use
    this.#byTransaction.set(key, session);
    if (this.#byTransaction.size <= MAX_REQUESTS) return;
    for (const oldest of this.#byTransaction.keys()) {
      this.#byTransaction.delete(oldest);
      return;
    }
  }

  /** Data that comes by a pair is the session's: for `pair-valid`, and for a check that the agent took as authentic. */
  claimPath(session: Session, path: PairId): void {
    if (!this.#agents.has(session)) return;
    const sessions = this.#byPath.get(path);
    if (sessions) sessions.add(session);
    else this.#byPath.set(path, new Set([session]));
  }

  /** For `pair-expired`. */
  releasePath(session: Session, path: PairId): void {
    const sessions = this.#byPath.get(path);
    if (sessions?.delete(session) && sessions.size === 0) this.#byPath.delete(path);
  }

  /** Forgets a session, with its paths and transactions; none that is there is no error. */
  delete(session: Session): void {
    const entry = this.#agents.get(session);
    if (!entry) return;
    this.#agents.delete(session);
    this.#disown(session, entry.ufrags);
    for (const [key, owner] of this.#byTransaction) if (owner === session) this.#byTransaction.delete(key);
    for (const path of [...this.#byPath.keys()]) this.releasePath(session, path);
  }

  /**
   * Null: nobody's. Data on a path that several sessions share is nobody's either: what stands above ICE must tell them apart
   * (QUIC by connection IDs), and finds them with {@link sessionsOn}.
   */
  route(socket: SocketId, from: SocketAddress, data: Uint8Array): Session | null {
    if (isStun(data)) {
      const ufrag = localUfragOf(data);
      if (ufrag !== null) return this.#byUfrag.get(ufrag) ?? null;
      return this.#byTransaction.get(keyIn(data)) ?? null;
    }
    const sessions = this.#byPath.get(pairId(socket, from));
    if (sessions?.size !== 1) return null;
    for (const session of sessions) return session;
    return null;
  }

  /** The sessions that have claimed that path ({@link claimPath}); none, or several where peers share an address. */
  sessionsOn(socket: SocketId, from: SocketAddress): readonly Session[] {
    return [...(this.#byPath.get(pairId(socket, from)) ?? [])];
  }

  #disown(session: Session, ufrags: readonly string[]): void {
    for (const ufrag of ufrags) if (this.#byUfrag.get(ufrag) === session) this.#byUfrag.delete(ufrag);
  }
}

const keyIn = (data: Uint8Array): string => transactionKey(data.subarray(TRANSACTION_ID_AT, HEADER_BYTES));
