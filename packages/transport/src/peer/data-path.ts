import {
  Counters,
  type Deadline,
  earliest,
  type Millis,
  type SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import type { PairId } from "@adit/ice";
import type { QuicConnection } from "@adit/quic";
import { VALIDATION_TIMEOUT_MS } from "../path/actions.ts";
import { BASE_DATAGRAM_BYTES, DatagramSizes, MAX_DATAGRAM_BYTES } from "../path/datagram-size.ts";
import { Gates, gateKey } from "../path/gates.ts";
import { Lull } from "../path/lull.ts";
import { Ramp } from "../path/ramp.ts";
import { type SlotIndex, SlotTable } from "../path/slots.ts";
import type { PolicyView } from "../path/view.ts";
import { PacketBuffers } from "./packet-buffers.ts";

/** Where a pair leads. */
interface Route {
  readonly socket: SocketId;
  readonly remote: SocketAddress;
}

interface Learned {
  readonly pair: PairId;
  readonly evicted: PairId | null;
}

/** Who may give a pair that has none a slot, because a packet came on it. */
export interface Binding {
  mayBind(): boolean;
  /** The pairs that keep theirs. */
  keepPairs(): readonly (PairId | null)[];
}

export type DataPathDrop = "gate-closed" | "unproven-pair" | "no-slot" | "send-limit" | "unbound-slot";

/** Of routes; the one used longest ago goes first, but none that has a slot. */
const MAX_ROUTES = 200;

/** While packets come there in a stream, which is what a peer's move looks like from here, it is asked this often whether the path is validated, ms. */
const ASK_VALIDATED_EVERY_MS = 10;

/** What comes on a validated path that is not the active one may be a challenge, which is answered by the next packet that leaves there, ms. */
const RESPONSE_MS = 100;

/** A challenge that waits for a lull. */
interface Question {
  readonly connection: QuicConnection;
  readonly slot: SlotIndex;
  readonly pair: PairId;
  readonly data: Uint8Array;
}

/** What a data path has to know of a pair. */
export interface PairFacts {
  /** Its round trip as checks measure it, ms; null when it is not known. */
  rttMs(pair: PairId): Millis | null;
  isRelayed(pair: PairId): boolean;
}

/**
 * Carries one session's QUIC packets between its connections, which see slots, and the network, which sees addresses.
 * Nothing gets in or out but through the gates.
 */
export class DataPath {
  readonly gates = new Gates();
  readonly slots = new SlotTable();
  readonly sizes = new DatagramSizes();
  readonly drops = new Counters<DataPathDrop>();
  readonly #routes = new Map<PairId, Route>();
  /** Datagrams come in runs from one source: what {@link learn} said last is right for most of them. */
  #learned: { readonly socket: SocketId; readonly remote: SocketAddress; readonly known: Learned } | null = null;
  /** Until then packets are no longer than any path carries. */
  #baseUntil = Number.NEGATIVE_INFINITY;
  #challenged: { readonly slot: SlotIndex; readonly at: Millis } = { slot: -1, at: Number.NEGATIVE_INFINITY };
  readonly #buffers = new PacketBuffers(MAX_DATAGRAM_BYTES);
  readonly #facts: PairFacts;
  readonly #ramp = new Ramp();
  readonly #lull = new Lull();
  #question: Question | null = null;
  /** Of the last one. */
  #asked: { readonly slot: SlotIndex; readonly at: Millis } = { slot: -1, at: Number.NEGATIVE_INFINITY };
  /** The connection that sent last, where to, and the slots that it sent over before. */
  #sender: {
    readonly connection: QuicConnection;
    slot: SlotIndex | null;
    readonly used: Set<SlotIndex | null>;
  } | null = null;

  constructor(facts: PairFacts) {
    this.#facts = facts;
  }

  /** The pair that `remote` on `socket` is, if it is what {@link learn} was last asked for; null when it is not. */
  learned(socket: SocketId, remote: SocketAddress): PairId | null {
    const last = this.#learned;
    return last && last.socket === socket && last.remote === remote ? last.known.pair : null;
  }

  /** The pair that `remote` on `socket` is, remembered as the way there; `evicted`: the pair that was forgotten for it. */
  learn(socket: SocketId, remote: SocketAddress): Learned {
    const last = this.#learned;
    if (last && last.socket === socket && last.remote === remote) return last.known;
    const learned = this.#learn(socket, remote);
    this.#learned = { socket, remote, known: { pair: learned.pair, evicted: null } };
    return learned;
  }

  #learn(socket: SocketId, remote: SocketAddress): Learned {
    const pair = gateKey(socket, remote);
    const route = this.#routes.get(pair) ?? { socket, remote };
    // Re-inserted, so that the map's order is the order of use.
    this.#routes.delete(pair);
    this.#routes.set(pair, route);
    if (this.#routes.size <= MAX_ROUTES) return { pair, evicted: null };
    for (const evicted of this.#routes.keys()) {
      if (this.slots.slotOf(evicted) !== null) continue;
      this.#routes.delete(evicted);
      return { pair, evicted };
    }
    return { pair, evicted: null };
  }

  route(pair: PairId): Route | null {
    return this.#routes.get(pair) ?? null;
  }

  /**
   * Hands a packet that came on `pair` to the connection. One whose handshake goes on may have its first path here, which
   * QUIC validates by that; any other path gets a slot only after a round trip of ours on the pair, since
   * quiche takes a reused slot for validated. Returns whether it was handed on.
   */
  receive(now: Millis, connection: QuicConnection, pair: PairId, data: Uint8Array, binding: Binding): boolean {
    if (!this.gates.receive(now, pair, data.length)) return this.#drop("gate-closed");
    let slot = this.slots.slotOf(pair);
    if (slot === null) {
      if (!binding.mayBind()) return this.#drop("no-slot");
      if (connection.state !== "handshaking" && !this.gates.isAnswered(now, pair)) return this.#drop("unproven-pair");
      slot = this.slots.bind(pair, binding.keepPairs());
      if (slot === null) return this.#drop("no-slot");
    }
    if (slot !== this.slots.slotAt(connection.activePath.remote)) {
      if (this.#defers(now, { connection, slot, pair, data })) return true;
      this.#expectChallenge(now, connection, slot);
    }
    connection.recv(now, data, this.slots.local(slot), this.slots.remote(slot));
    return true;
  }

  /** Tells the connection what the path policy thinks of its active path, and which other one stands and has a slot. */
  suspectPath(now: Millis, connection: QuicConnection, policy: PolicyView): void {
    const { isSuspect } = policy;
    const spare = isSuspect ? policy.sparePair(now) : null;
    const slot = spare === null ? null : this.slots.slotOf(spare);
    connection.suspectPath(isSuspect, slot === null ? null : this.addresses(slot));
    if (isSuspect) this.#endLull(now);
  }

  /** False: not now, but after {@link pollTimeout}. What is asked on a relay that is to stand by waits until it does not disturb what flows. */
  mayProbe(now: Millis, connection: QuicConnection, slot: SlotIndex): boolean {
    const pair = this.slots.pairOf(slot);
    if (pair !== null && this.#facts.isRelayed(pair) && this.#beginLull(now, connection, pair)) return false;
    this.expectValidation(now);
    return true;
  }

  /** Whether a packet on another path than the active one is kept back. One that is more than a question is not, nor what comes behind one. */
  #defers(now: Millis, question: Question): boolean {
    if (this.#question) {
      this.#endLull(now);
      return false;
    }
    const { connection, slot, pair, data } = question;
    if (data.length < BASE_DATAGRAM_BYTES || connection.state !== "established" || !this.#facts.isRelayed(pair))
      return false;
    if (slot === this.#asked.slot && now < this.#asked.at + VALIDATION_TIMEOUT_MS) return false;
    this.#asked = { slot, at: now };
    if (connection.isPathValidated(this.slots.local(slot), this.slots.remote(slot))) return false;
    if (!this.#beginLull(now, connection, pair)) return false;
    this.#question = { ...question, data: data.slice() };
    return true;
  }

  #beginLull(now: Millis, connection: QuicConnection, pair: PairId): boolean {
    const slot = this.slots.slotAt(connection.activePath.remote);
    const active = slot === null ? null : this.slots.pairOf(slot);
    const [activeMs, otherMs] = [active === null ? null : this.#facts.rttMs(active), this.#facts.rttMs(pair)];
    return activeMs !== null && otherMs !== null && this.#lull.begin(now, activeMs, otherMs);
  }

  #endLull(now: Millis): void {
    this.#lull.stop();
    this.#hearQuestion(now);
  }

  #hearQuestion(now: Millis): void {
    const question = this.#question;
    if (!question) return;
    this.#question = null;
    const { connection, slot, pair, data } = question;
    if (this.slots.slotOf(pair) !== slot) return;
    this.#expectChallenge(now, connection, slot);
    connection.recv(now, data, this.slots.local(slot), this.slots.remote(slot));
  }

  /**
   * QUIC validates another path than the active one, or answers the peer who does. It makes a challenge and its response as long as packets may be,
   * which is what the active path carries: the other one may carry less, and would never be found valid. It is over when the connection moves.
   */
  expectValidation(now: Millis): void {
    this.#baseUntil = now + VALIDATION_TIMEOUT_MS;
  }

  /** The peer uses another path. As long as it is not validated here our own challenge goes with the response, and is repeated when it is lost. */
  #expectChallenge(now: Millis, connection: QuicConnection, slot: SlotIndex): void {
    if (slot === this.#challenged.slot && now < this.#challenged.at + ASK_VALIDATED_EVERY_MS) return;
    this.#challenged = { slot, at: now };
    const isValidated = connection.isPathValidated(this.slots.local(slot), this.slots.remote(slot));
    this.#baseUntil = Math.max(this.#baseUntil, now + (isValidated ? RESPONSE_MS : VALIDATION_TIMEOUT_MS));
  }

  /** The connection's next packet as a datagram; null when it has none. Those that may not leave are dropped: QUIC repeats them. */
  transmit(now: Millis, connection: QuicConnection): Transmit | null {
    this.#noticeMove(now, connection);
    const sizeBytes = now < this.#baseUntil ? BASE_DATAGRAM_BYTES : this.#sizeFor(connection);
    if (sizeBytes !== connection.maxPacketBytes) connection.limitPackets(sizeBytes);
    for (;;) {
      if ((this.#lull.isClosed && connection.state === "established") || this.#ramp.isSpent(now)) return null;
      const sent = connection.send(this.#buffers.next(connection.nextPacketBytes));
      if (!sent) return null;
      const slot = this.slots.slotAt(sent.remote);
      const pair = slot === null ? null : this.slots.pairOf(slot);
      const route = pair === null ? null : (this.#routes.get(pair) ?? null);
      if (pair === null || !route) {
        this.drops.add("unbound-slot");
        continue;
      }
      if (!this.gates.send(now, pair, sent.length)) {
        this.drops.add("send-limit");
        continue;
      }
      this.sizes.handleSent(pair, sent.length);
      this.#ramp.handleSent(sent.length);
      this.#lull.handleSent(now, slot === this.#sender?.slot, sent.length);
      return { data: this.#buffers.commit(sent.length), socket: route.socket, to: route.remote };
    }
  }

  handleTimeout(now: Millis): void {
    this.#ramp.handleTimeout(now);
    this.#lull.handleTimeout(now);
    if (!this.#lull.isClosed) this.#hearQuestion(now);
  }

  pollTimeout(): Deadline | null {
    return earliest(this.#ramp.pollTimeout(), this.#lull.pollTimeout());
  }

  addresses(slot: SlotIndex): { local: { host: string; port: number }; remote: { host: string; port: number } } {
    return { local: this.slots.local(slot), remote: this.slots.remote(slot) };
  }

  /** Each path but those that QUIC has never used begins slowly. */
  #noticeMove(now: Millis, connection: QuicConnection): void {
    const slot = this.slots.slotAt(connection.activePath.remote);
    const sender = this.#sender;
    if (sender?.connection !== connection) {
      this.#sender = { connection, slot, used: new Set([slot]) };
      return this.#ramp.stop();
    }
    if (sender.slot === slot) return;
    this.#endLull(now);
    this.#baseUntil = Number.NEGATIVE_INFINITY;
    const pair = slot === null ? null : this.slots.pairOf(slot);
    if (sender.used.has(slot) && pair !== null) this.#ramp.start(now, this.#facts.rttMs(pair) ?? 0);
    else this.#ramp.stop();
    sender.slot = slot;
    sender.used.add(slot);
  }

  /** What the pair carries over which the connection sends. */
  #sizeFor(connection: QuicConnection): number {
    const slot = this.slots.slotAt(connection.activePath.remote);
    const pair = slot === null ? null : this.slots.pairOf(slot);
    return pair === null ? BASE_DATAGRAM_BYTES : this.sizes.bytes(pair);
  }

  #drop(reason: DataPathDrop): false {
    this.drops.add(reason);
    return false;
  }
}
