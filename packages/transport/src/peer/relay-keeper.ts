import {
  Backoff,
  type Deadline,
  earliest,
  type Logger,
  type Millis,
  type Random,
  type SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import type { ServerTimeouts } from "@adit/ice";
import type { TurnServer } from "@adit/signaling";
import type { UdpHandlers, UdpSocket } from "../udp/udp.ts";
import { type PermissionAnswer, Relay } from "./relay.ts";
import { TurnStream } from "./turn-stream.ts";

/** How the relay is reached. */
export type RelayWay =
  | { readonly kind: "udp"; readonly server: SocketAddress; readonly socket: SocketId }
  | { readonly kind: "tls"; readonly server: SocketAddress; readonly localIp: string | null; readonly peerId: string };

/** A relay that was replaced serves the sessions that are on it for so long at most; one that nobody uses goes sooner. */
const RETIRE_AFTER_MS = 60_000;
const RETIRE_CHECK_MS = 2_000;
/** Relays on their way out; past it the oldest is forgotten. */
const MAX_RETIRING = 3;
/** A TLS connection to the relay that failed or broke is made again. */
const RECONNECT = { initialMs: 500, maxMs: 10_000 };

export interface RelayKeeperOptions {
  readonly timeouts: ServerTimeouts;
  readonly random: Random;
  readonly log: Logger;
  /** A number that no relay had before. */
  readonly newId: () => SocketId;
  readonly addSocket: (open: (handlers: UdpHandlers) => UdpSocket) => SocketId;
  readonly removeSocket: (id: SocketId) => void;
  readonly now: () => Millis;
  readonly wake: () => void;
  /** Whether a session's packets go over that relay now. */
  readonly isInUse: (relay: SocketId) => boolean;
  readonly onAllocated: (now: Millis) => void;
  readonly onLost: (now: Millis, relay: SocketId) => void;
  readonly onPermission: (now: Millis, answer: PermissionAnswer) => void;
}

/** The relay at one intermediate, by the way that works now: over UDP from the program's own socket, or over TLS. */
export class RelayKeeper {
  readonly #options: RelayKeeperOptions;
  readonly #backoff = new Backoff(RECONNECT);
  #wanted: { readonly way: RelayWay; turn: TurnServer } | null = null;
  #current: Relay | null = null;
  /** Those that were replaced, oldest first. */
  #retiring: { readonly relay: Relay; readonly until: Millis }[] = [];
  /** Both: asked for with every datagram. */
  #all: readonly Relay[] = [];
  #retireCheckAt: Millis | null = null;
  /** Which connection is being made; a later one makes it void. */
  #opening = 0;
  #isOpening = false;
  #openAt: Millis | null = null;

  constructor(options: RelayKeeperOptions) {
    this.#options = options;
  }

  get current(): Relay | null {
    return this.#current;
  }

  get isGathering(): boolean {
    return this.#isOpening || (this.#current?.isAllocating ?? false);
  }

  /** Nothing is left to be said after {@link close}. */
  get isSilent(): boolean {
    return this.all().every((relay) => relay.isSilent);
  }

  /** The current one first. */
  all(): readonly Relay[] {
    return this.#all;
  }

  /** Has an allocation there, from now on with these credentials; null: none. */
  use(now: Millis, wanted: { readonly way: RelayWay; readonly turn: TurnServer } | null): void {
    const before = this.#wanted;
    this.#wanted = wanted;
    if (wanted && before && sameWay(wanted.way, before.way)) {
      this.#current?.renew(now, wanted.turn);
      return;
    }
    this.#opening++;
    this.#isOpening = false;
    this.#openAt = null;
    this.#retire(now);
    if (wanted) this.#open(now, wanted.way, wanted.turn);
  }

  handleTimeout(now: Millis): void {
    if (this.#openAt !== null && now >= this.#openAt && this.#wanted) {
      this.#openAt = null;
      this.#open(now, this.#wanted.way, this.#wanted.turn);
    }
    for (const relay of this.all()) relay.handleTimeout(now);
    if (this.#retireCheckAt !== null && now >= this.#retireCheckAt) this.#dismissRetiring(now);
  }

  pollTimeout(): Deadline | null {
    let next: Deadline | null = this.#openAt === null ? null : { at: this.#openAt, reason: "relay over TLS" };
    if (this.#retireCheckAt !== null) next = earliest(next, { at: this.#retireCheckAt, reason: "former relay" });
    for (const relay of this.all()) next = earliest(next, relay.pollTimeout());
    return next;
  }

  pollTransmit(): Transmit | null {
    for (const relay of this.all()) {
      const sent = relay.pollTransmit();
      if (sent) return sent;
    }
    return null;
  }

  pump(now: Millis): void {
    for (const relay of this.all()) relay.pump(now);
  }

  /** Gives all allocations back. */
  close(now: Millis): void {
    this.#wanted = null;
    this.#opening++;
    this.#openAt = null;
    for (const relay of this.all()) relay.close(now);
  }

  #open(now: Millis, way: RelayWay, turn: TurnServer): void {
    if (way.kind === "udp") this.#start(now, way, turn, way.socket);
    else this.#openStream(way, turn);
  }

  #start(now: Millis, way: RelayWay, turn: TurnServer, socket: SocketId): Relay {
    const { timeouts, random, log, newId, onAllocated, onLost, onPermission } = this.#options;
    const id = newId();
    const relay = new Relay(now, {
      server: way.server,
      transport: way.kind,
      turn,
      socket,
      id,
      timeouts,
      random,
      log,
      onAllocated,
      onLost: (at) => onLost(at, id),
      onPermission,
    });
    this.#current = relay;
    this.#list();
    return relay;
  }

  #openStream(way: Extract<RelayWay, { kind: "tls" }>, turn: TurnServer): void {
    const opening = ++this.#opening;
    const { log, addSocket, wake } = this.#options;
    this.#isOpening = true;
    let relay: Relay | null = null;
    const onClosed = (reason: string): void => {
      if (relay) this.#handleStreamLost(relay, reason);
    };
    TurnStream.open({ ...way, onClosed }).then(
      (stream) => {
        if (opening !== this.#opening) return stream.close();
        this.#isOpening = false;
        this.#backoff.reset();
        const socket = addSocket((handlers) => stream.attach(handlers));
        relay = this.#start(this.#options.now(), way, this.#wanted?.turn ?? turn, socket);
        wake();
      },
      (error: Error) => {
        if (opening !== this.#opening) return;
        this.#isOpening = false;
        log.warn("relay-failed", { server: way.server, code: null, reason: error.message });
        this.#openLater();
      },
    );
  }

  #openLater(): void {
    const { now, random, wake } = this.#options;
    this.#openAt = now() + this.#backoff.next(random.float());
    wake();
  }

  /** The allocation ends with its connection (RFC 8656 §3.1). */
  #handleStreamLost(relay: Relay, reason: string): void {
    const { log, now, onLost, removeSocket, wake } = this.#options;
    log.warn("relay-lost", { server: relay.server, reason });
    onLost(now(), relay.id);
    removeSocket(relay.socket);
    this.#retiring = this.#retiring.filter((one) => one.relay !== relay);
    if (relay === this.#current) {
      this.#current = null;
      if (this.#wanted) this.#openLater();
    }
    this.#list();
    wake();
  }

  /** Sessions may be on it: they get time to find another path. */
  #retire(now: Millis): void {
    if (!this.#current) return;
    this.#retiring.push({ relay: this.#current, until: now + RETIRE_AFTER_MS });
    this.#current = null;
    this.#retireCheckAt = now + RETIRE_CHECK_MS;
    const tooMany = this.#retiring.length > MAX_RETIRING ? this.#retiring.shift() : undefined;
    this.#list();
    if (!tooMany) return;
    this.#options.onLost(now, tooMany.relay.id);
    this.#forget(tooMany.relay);
  }

  #dismissRetiring(now: Millis): void {
    const { isInUse, onLost } = this.#options;
    for (const { relay, until } of this.#retiring) {
      if (relay.isClosed || (now < until && isInUse(relay.id))) continue;
      onLost(now, relay.id);
      relay.close(now);
    }
    for (const { relay } of this.#retiring) if (relay.isClosed && relay.isSilent) this.#forget(relay);
    this.#retiring = this.#retiring.filter(({ relay }) => !(relay.isClosed && relay.isSilent));
    this.#retireCheckAt = this.#retiring.length > 0 ? now + RETIRE_CHECK_MS : null;
    this.#list();
  }

  #list(): void {
    const retiring = this.#retiring.map(({ relay }) => relay);
    this.#all = this.#current ? [this.#current, ...retiring] : retiring;
  }

  /** The stream was this relay's alone. */
  #forget(relay: Relay): void {
    if (relay.transport === "tls") this.#options.removeSocket(relay.socket);
  }
}

function sameWay(a: RelayWay, b: RelayWay): boolean {
  if (a.kind !== b.kind || !a.server.equals(b.server)) return false;
  return a.kind === "udp" ? a.socket === (b as typeof a).socket : a.peerId === (b as typeof a).peerId;
}
