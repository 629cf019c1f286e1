import type { SocketAddress, SocketId } from "@adit/core";
import type { LocalCandidateInit } from "./agent-types.ts";
import {
  type Candidate,
  candidatePriority,
  canPair,
  Foundations,
  type LocalCandidate,
  localPreferenceOf,
  MAX_LOCAL_PREFERENCE,
  MAX_RELAY_LOCAL_PREFERENCE,
  type TcpType,
  tcpLocalPreference,
  unusableRemote,
} from "./candidate.ts";

/** Beyond it a candidate is refused: nobody has so many interfaces that matter. */
export const MAX_LOCAL_CANDIDATES = 64;
/** Local addresses that only answers told us; a NAT that maps each destination anew shows one for each. Beyond it they go unnamed. */
const MAX_LOCAL_PRFLX = 32;
/** Signalled by the peer; beyond it candidates are refused. */
export const MAX_REMOTE_CANDIDATES = 100;
/** Learned from the source addresses of authenticated checks; beyond it such checks are answered, but no pair is formed. */
export const MAX_REMOTE_PRFLX = 32;

/** The candidates of both sides: no address twice, all bounded. */
export class CandidateStore {
  #locals: LocalCandidate[] = [];
  readonly #remotes = new Map<string, Candidate>();
  readonly #foundations = new Foundations();
  #remotePrflxCount = 0;

  get locals(): readonly LocalCandidate[] {
    return this.#locals;
  }

  get remotes(): Iterable<Candidate> {
    return this.#remotes.values();
  }

  get sockets(): ReadonlySet<SocketId> {
    return new Set(this.#locals.map(({ socket }) => socket));
  }

  remote(address: SocketAddress): Candidate | null {
    return this.#remotes.get(address.key) ?? null;
  }

  /** The peer-reflexive candidate of a TCP connection that is closed: nothing will come from its port again. */
  forgetConnection(address: SocketAddress): void {
    if (this.#remotes.get(tcpKey(address))?.type !== "prflx") return;
    this.#remotes.delete(tcpKey(address));
    this.#remotePrflxCount--;
  }

  /** What `socket` is used for; null: UDP, or not known. */
  tcpTypeOf(socket: SocketId): TcpType | null {
    return this.#locals.find((one) => one.socket === socket)?.tcpType ?? null;
  }

  /** Null: redundant (§5.1.3), or the bound is reached. A peer-reflexive candidate with the same address becomes this one. */
  addLocal(init: LocalCandidateInit): LocalCandidate | null {
    const known = this.#locals.findIndex((one) => one.socket === init.socket && one.address.equals(init.address));
    if (known >= 0 && this.#locals[known]?.type !== "prflx") return null;
    // §5.1.1.2: "If a relayed candidate is identical to a host candidate ..., the relayed candidate MUST be discarded."
    const isHost = (one: LocalCandidate) => one.type === "host" && one.transport === "udp";
    if (init.type === "relay" && this.#locals.some((one) => isHost(one) && one.address.equals(init.address)))
      return null;
    const own = this.#locals.filter(({ type }) => type !== "prflx");
    if (own.length >= MAX_LOCAL_CANDIDATES) return null;
    const base = init.base ?? (init.type === "srflx" ? this.#baseOf(init) : init.address);
    const transport = init.tcpType ? "tcp" : "udp";
    const candidate: LocalCandidate = {
      foundation: this.#foundations.of(init.type, base.ip, init.server?.ip ?? null, transport),
      component: 1,
      transport,
      ...(init.tcpType ? { tcpType: init.tcpType } : {}),
      priority: candidatePriority(init.type, init.localPreference ?? this.#defaultPreference(init)),
      address: init.address,
      type: init.type,
      related: init.related ?? (init.type === "srflx" ? base : null),
      socket: init.socket,
      base,
    };
    if (known >= 0) this.#locals[known] = candidate;
    else this.#locals.push(candidate);
    return candidate;
  }

  /** The local candidate with the address that an answer showed; made peer-reflexive when it is new (§7.2.5.3.1). Null at the bound. */
  mapped(sent: LocalCandidate, address: SocketAddress): LocalCandidate | null {
    const known = this.#locals.find((one) => one.socket === sent.socket && one.address.equals(address));
    if (known) return known;
    if (this.#locals.filter(({ type }) => type === "prflx").length >= MAX_LOCAL_PRFLX) return null;
    const candidate: LocalCandidate = {
      foundation: this.#foundations.of("prflx", sent.base.ip, null, sent.transport),
      component: 1,
      transport: sent.transport,
      ...(sent.tcpType ? { tcpType: sent.tcpType } : {}),
      priority: candidatePriority("prflx", localPreferenceOf(sent.priority)),
      address,
      type: "prflx",
      related: sent.base,
      socket: sent.socket,
      base: sent.base,
    };
    this.#locals.push(candidate);
    return candidate;
  }

  /** An address that is ours no more; peer-reflexive ones, which only answers show, stay. */
  removeLocal({ type, socket, address }: LocalCandidateInit): void {
    this.#locals = this.#locals.filter(
      (one) => one.type !== type || one.socket !== socket || !one.address.equals(address),
    );
  }

  removeSocket(socket: SocketId): void {
    this.#locals = this.#locals.filter((one) => one.socket !== socket);
  }

  /** The best local candidate of a socket that pairs with `remote`; reflexive ones count as their base, which is the same socket (§6.1.2.4). */
  bestLocal(socket: SocketId, remote: Candidate): LocalCandidate | null {
    let best: LocalCandidate | null = null;
    for (const one of this.#locals) {
      if (one.socket !== socket || !canPair(one, remote)) continue;
      if (best === null || one.priority > best.priority) best = one;
    }
    return best;
  }

  /** False: unusable, known already, or the bound is reached. A signalled candidate takes the place of a peer-reflexive one (§7.3.1.3). */
  addRemote(candidate: Candidate): boolean {
    if (!isSane(candidate) || unusableRemote(candidate.address) !== null) return false;
    const key = keyOf(candidate);
    const known = this.#remotes.get(key);
    if (known && known.type !== "prflx") return false;
    if (known) this.#remotePrflxCount--;
    if (this.#remotes.size - this.#remotePrflxCount >= MAX_REMOTE_CANDIDATES) return false;
    this.#remotes.set(key, candidate);
    return true;
  }

  /**
   * The candidate that an authenticated check came from, made peer-reflexive when it is new (§7.3.1.3). Null at the bound. What
   * comes over a TCP connection comes from the other end's kind of candidate: who connected is active.
   */
  learnRemote(socket: SocketId, address: SocketAddress, priority: number): Candidate | null {
    const ours = this.tcpTypeOf(socket);
    const known = this.#remotes.get(ours ? tcpKey(address) : address.key);
    if (known) return known;
    if (this.#remotePrflxCount >= MAX_REMOTE_PRFLX || unusableRemote(address) !== null) return null;
    // §7.3.1.3: "The foundation is an arbitrary value, different from the foundations of all other remote candidates": "/" and
    // the address are not what agents make foundations of.
    const candidate: Candidate = {
      foundation: `/${address.key}`,
      component: 1,
      transport: ours ? "tcp" : "udp",
      ...(ours ? { tcpType: ours === "passive" ? "active" : "passive" } : {}),
      priority,
      address,
      type: "prflx",
      related: null,
    };
    this.#remotes.set(keyOf(candidate), candidate);
    this.#remotePrflxCount++;
    return candidate;
  }

  clearRemotes(): void {
    this.#remotes.clear();
    this.#remotePrflxCount = 0;
  }

  #baseOf(init: LocalCandidateInit): SocketAddress {
    if (init.related) return init.related;
    const host = this.#locals.find(
      (one) => one.socket === init.socket && one.type === "host" && one.address.family === init.address.family,
    );
    return host?.address ?? init.address;
  }

  /** §5.1.2.1: "the local preference MUST be unique for each one" of a type; the ones added first are preferred. */
  #defaultPreference({ type, tcpType }: LocalCandidateInit): number {
    const taken = new Set<number>();
    for (const one of this.#locals) if (one.type === type) taken.add(localPreferenceOf(one.priority));
    const highest = type === "relay" ? MAX_RELAY_LOCAL_PREFERENCE : MAX_LOCAL_PREFERENCE;
    const at = (rank: number) => (tcpType ? tcpLocalPreference(tcpType, rank) : highest - rank);
    // Not by their number: where one has gone, the next would get the preference of one that stays.
    let rank = 0;
    while (taken.has(at(rank))) rank++;
    return at(rank);
  }
}

/** A TCP candidate may have the address of a UDP one. */
const keyOf = ({ transport, address }: Candidate): string => (transport === "tcp" ? tcpKey(address) : address.key);

const tcpKey = (address: SocketAddress): string => `tcp|${address.key}`;

function isSane(candidate: Candidate): boolean {
  const { component, transport, tcpType, priority, foundation } = candidate;
  if (component !== 1 || (transport === "tcp") !== (tcpType !== undefined)) return false;
  if (!Number.isInteger(priority) || priority < 1 || priority > 2 ** 31 - 1) return false;
  return foundation.length >= 1 && foundation.length <= 32;
}
