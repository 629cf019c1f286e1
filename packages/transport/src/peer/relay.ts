import {
  type Deadline,
  earliest,
  type Logger,
  type Millis,
  type Random,
  type SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import { type LocalCandidateInit, type ServerTimeouts, TurnClient } from "@adit/ice";
import type { TurnServer } from "@adit/signaling";

/** A relay that failed without saying when to come again is asked again after this long, ms. */
const RETRY_MS = 5_000;
/** Silence asks whether the allocation still stands, at most this often, ms. */
const PROBE_INTERVAL_MS = 1_000;

export interface RelayOptions {
  readonly server: SocketAddress;
  readonly turn: TurnServer;
  readonly transport: "udp" | "tls";
  /** The UDP socket that reaches the server, or the stream that does. */
  readonly socket: SocketId;
  readonly id: SocketId;
  /** How long the server takes to answer. */
  readonly timeouts: ServerTimeouts;
  readonly random: Random;
  readonly log: Logger;
  readonly onAllocated: (now: Millis) => void;
  readonly onLost: (now: Millis) => void;
  readonly onPermission: (now: Millis, answer: PermissionAnswer) => void;
}

/** The relay answered about an IP address: let in, or not. `code`: why not; null where it did not answer. */
export interface PermissionAnswer {
  readonly ip: string;
  readonly ok: boolean;
  readonly code: number | null;
}

/** The program's allocation on one relay, shared by its sessions: kept, re-made when lost, with a permission per peer address. */
export class Relay {
  readonly id: SocketId;
  readonly socket: SocketId;
  readonly transport: "udp" | "tls";
  readonly #client: TurnClient;
  readonly #options: RelayOptions;
  /** Who needs the permission for an IP address. As many entries as sessions, at most. */
  readonly #users = new Map<string, Set<bigint>>();
  #retryAt: Millis | null = null;
  #probedAt = Number.NEGATIVE_INFINITY;

  constructor(now: Millis, options: RelayOptions) {
    this.#options = options;
    this.id = options.id;
    this.socket = options.socket;
    this.transport = options.transport;
    const { username, password, realm } = options.turn;
    this.#client = new TurnClient({
      server: options.server,
      transport: options.transport,
      followAlternate: true,
      // Reached over IPv6, it is to join us with those who have IPv4 alone too. The other way round they see to it: see Presence.
      ...(options.server.family === 6 ? { family: "both" as const } : {}),
      socket: options.socket,
      relaySocket: options.id,
      username,
      password,
      realm,
      timeouts: options.timeouts,
      random: options.random,
      log: options.log,
    });
    this.#client.start(now);
  }

  /** Where it is: the server that was asked, or the one that it sent us to. */
  get server(): SocketAddress {
    return this.#client.server;
  }

  /** Null unless allocated. */
  get relayedAddress(): SocketAddress | null {
    return this.#client.relayedAddress;
  }

  get isAllocating(): boolean {
    return this.#client.state === "allocating";
  }

  get isClosed(): boolean {
    return this.#client.state === "closed";
  }

  /** Nothing is left to be said after {@link close}. */
  get isSilent(): boolean {
    return this.#client.pollTimeout() === null;
  }

  /** One of a family. */
  get candidates(): readonly LocalCandidateInit[] {
    const { relayedAddress, additionalAddress, mappedAddress } = this.#client;
    const addresses = [relayedAddress, additionalAddress].filter((address) => address !== null);
    return addresses.map((address) => ({
      type: "relay",
      address,
      socket: this.id,
      server: this.server,
      ...(mappedAddress ? { related: mappedAddress } : {}),
    }));
  }

  renew(now: Millis, turn: TurnServer): void {
    this.#client.setCredentials(now, { username: turn.username, password: turn.password });
    if (this.#client.state === "failed") this.#client.start(now);
    // The intermediate that hands them out may be a new one, which knows no allocation of ours.
    else this.#client.probe(now);
  }

  /** Lets that address in for a session. `none`: there is no allocation to wait for. */
  permit(now: Millis, ip: string, session: bigint): "pending" | "granted" | "none" {
    const users = this.#users.get(ip);
    if (users) users.add(session);
    else this.#users.set(ip, new Set([session]));
    this.#client.addPermission(now, ip);
    if (this.#client.hasPermission(ip)) return "granted";
    return this.#client.state === "failed" || this.#client.state === "closed" ? "none" : "pending";
  }

  /** Whether the relay lets packets to and from there through. */
  mayReach(ip: string): boolean {
    return this.#client.hasPermission(ip);
  }

  /** The session needs no permission any more. */
  release(session: bigint): void {
    for (const [ip, users] of this.#users) {
      if (!users.delete(session) || users.size > 0) continue;
      this.#users.delete(ip);
      this.#client.removePermission(ip);
    }
  }

  bindChannel(now: Millis, peer: SocketAddress): void {
    if (this.#client.channelOf(peer) === null) this.#client.bindChannel(now, peer);
  }

  /** Wrapped for the relay; null where the relay would drop it, having no permission for that address. */
  wrap(to: SocketAddress, data: Uint8Array): Transmit | null {
    if (!this.#client.hasPermission(to.ip)) return null;
    return { data: this.#client.send(to, data), socket: this.socket, to: this.server };
  }

  /** What a peer sent through the relay, if that is what the datagram is. */
  handleDatagram(now: Millis, data: Uint8Array): { peer: SocketAddress; data: Uint8Array } | null {
    return this.#client.handleDatagram(now, data);
  }

  probe(now: Millis): void {
    if (now < this.#probedAt + PROBE_INTERVAL_MS || this.#client.state !== "allocated") return;
    this.#probedAt = now;
    this.#client.probe(now);
  }

  handleTimeout(now: Millis): void {
    if (this.#retryAt !== null && now >= this.#retryAt) {
      this.#retryAt = null;
      this.#client.start(now);
    }
    this.#client.handleTimeout(now);
  }

  pollTimeout(): Deadline | null {
    const retry = this.#retryAt === null ? null : { at: this.#retryAt, reason: "relay retry" };
    return earliest(retry, this.#client.pollTimeout());
  }

  pollTransmit(): Transmit | null {
    return this.#client.pollTransmit();
  }

  pump(now: Millis): void {
    const { log } = this.#options;
    for (let event = this.#client.pollEvent(); event; event = this.#client.pollEvent()) {
      switch (event.type) {
        case "allocated":
          this.#options.onAllocated(now);
          break;
        case "failed":
          log.warn("relay-failed", { server: this.server, code: event.code, reason: event.reason });
          this.#retryAt = now + (event.retryAfterMs ?? RETRY_MS);
          break;
        case "lost":
          log.warn("relay-lost", { server: this.server, reason: event.reason });
          this.#options.onLost(now);
          break;
        case "permission":
          this.#options.onPermission(now, event);
          break;
        case "channel":
          log.debug("relay-channel", { peer: event.peer, ok: event.ok, code: event.code });
          break;
      }
    }
  }

  /** Gives the allocation back. */
  close(now: Millis): void {
    this.#retryAt = null;
    this.#client.close(now);
  }
}
