/** One TURN allocation: a relayed transport address or two, whom it may exchange packets with, and its channels (RFC 8656 §3.2). */
import type { IpFamily, Millis, SocketAddress, SocketId } from "@adit/core";
import type { StunBuildOptions } from "@adit/ice";
import type { Account } from "./accounts.ts";
import type { Holdings } from "./holdings.ts";
import { sourceKey } from "./ip-limits.ts";
import type { TurnOwner } from "./relay-policy.ts";
import type { Reservation } from "./relay-ports.ts";

/** RFC 8656 §9: "The Permission Lifetime MUST be 300 seconds". */
export const PERMISSION_LIFETIME_MS = 300_000;

/** RFC 8656 §12: "Channel bindings last for 10 minutes unless refreshed". */
export const CHANNEL_LIFETIME_MS = 600_000;

/** One allocation serves all sessions of a connector. Past these bounds a request gets 508. */
export const MAX_PERMISSIONS = 1024;
export const MAX_CHANNELS = 1024;

/** Stands for the tables of an allocation that has nothing in them, as most have: idle connectors' ones. Never written to. */
const NONE = new Map<never, never>();

/** An ICMP error comes within so long of its packet: a host that does not answer ARP is reported after 3 s. */
export const ICMP_DELAY_MS = 5_000;

/** Names a relayed address between the state machine and the driver. */
export type RelayId = number;

export interface Channel {
  readonly number: number;
  readonly peer: SocketAddress;
  expiresAt: Millis;
  /** The policy's last answer, and at which version of the policy it was given. */
  allowed: boolean;
  checkedAtVersion: number;
}

/** One relayed transport address of an allocation. */
export class Relay {
  readonly id: RelayId;
  readonly allocation: Allocation;
  readonly family: IpFamily;
  port: number;
  /** Sockets that were asked for so far. */
  tries = 0;
  /** Null until the driver has bound a socket. */
  bound: { readonly address: SocketAddress; readonly socket: SocketId } | null = null;
  /** The next port, kept for a RESERVATION-TOKEN. */
  reservation: Reservation | null = null;
  #lastPeer: SocketAddress | null = null;
  /** Since when all packets went to {@link #lastPeer}. */
  #lastPeerSince: Millis = Number.NEGATIVE_INFINITY;

  constructor(id: RelayId, allocation: Allocation, family: IpFamily, port: number) {
    this.id = id;
    this.allocation = allocation;
    this.family = family;
    this.port = port;
  }

  /** A packet goes to `peer`. */
  noteSent(now: Millis, peer: SocketAddress): void {
    if (this.#lastPeer === peer) return;
    if (!peer.equals(this.#lastPeer)) this.#lastPeerSince = this.#lastPeer ? now : Number.NEGATIVE_INFINITY;
    this.#lastPeer = peer;
  }

  /** The peer that an ICMP error which came now is about, if that is plain: no other one was sent to for a while. */
  errorPeer(now: Millis): SocketAddress | null {
    return now - this.#lastPeerSince > ICMP_DELAY_MS ? this.#lastPeer : null;
  }
}

export type AllocationState =
  /** Waits for the driver to bind sockets. */
  | { readonly kind: "binding"; readonly request: AllocateRequest }
  /** Retransmissions of the request get the same response, as long as they may come. */
  | { readonly kind: "live"; response: Uint8Array | null };

/** What the answer to an Allocate request will need. */
export interface AllocateRequest {
  readonly transactionId: Uint8Array;
  /** How the response is signed. */
  readonly sign: StunBuildOptions;
  readonly lifetimeMs: Millis;
  readonly port: WantedPort;
  /** One family, or two for ADDITIONAL-ADDRESS-FAMILY. */
  readonly families: readonly IpFamily[];
  /** Of a family that was asked for in addition, and is not given. */
  refused: { readonly family: IpFamily; readonly code: number } | null;
}

/** EVEN-PORT asks for an even port; with the R bit (`pair`) the next one is kept; RESERVATION-TOKEN asks for that one. */
export type WantedPort = "any" | "even" | "pair" | { readonly token: Uint8Array };

export class Allocation {
  readonly client: SocketAddress;
  /** Ours, that the client talks to: with `client` the 5-tuple, whose transport protocol it implies. */
  readonly clientSocket: SocketId;
  readonly owner: TurnOwner;
  /** The owner's: what is relayed is charged to it. */
  readonly account: Account;
  /** Of the request that made it: the same one again is a retransmission and gets the same answer. */
  readonly transaction: string;
  readonly createdAt: Millis;
  /** One, or one of each family. */
  relays: readonly Relay[] = [];
  state: AllocationState;
  expiresAt: Millis;
  /** Payload of its client's to peers, and of peers to it, that was passed on. */
  sentBytes = 0;
  receivedBytes = 0;
  /** IP address -> when the permission expires. */
  #permissions: Map<string, Millis> = NONE;
  #channels: Map<number, Channel> = NONE;
  #channelsByPeer: Map<string, Channel> = NONE;
  readonly #holdings: Holdings;

  constructor(o: {
    readonly client: SocketAddress;
    readonly clientSocket: SocketId;
    readonly owner: TurnOwner;
    readonly account: Account;
    readonly holdings: Holdings;
    readonly transaction: string;
    readonly request: AllocateRequest;
    readonly createdAt: Millis;
    readonly expiresAt: Millis;
  }) {
    this.client = o.client;
    this.clientSocket = o.clientSocket;
    this.owner = o.owner;
    this.account = o.account;
    this.#holdings = o.holdings;
    this.transaction = o.transaction;
    this.state = { kind: "binding", request: o.request };
    this.createdAt = o.createdAt;
    this.expiresAt = o.expiresAt;
  }

  /** The relayed address that exchanges packets with peers of this family. */
  relayOf(family: IpFamily): Relay | undefined {
    const [first, second] = this.relays;
    return first?.family === family ? first : second?.family === family ? second : undefined;
  }

  hasPermission(now: Millis, ip: string): boolean {
    const expiresAt = this.#permissions.get(ip);
    return expiresAt !== undefined && expiresAt > now;
  }

  /** Whether permissions for all of `ips` fit. */
  hasRoomFor(now: Millis, ips: ReadonlySet<string>): boolean {
    let fresh = 0;
    for (const ip of ips) if (!this.#permissions.has(ip)) fresh++;
    if (fresh === 0 || this.#mayHave(this.#permissions.size, fresh, MAX_PERMISSIONS)) return true;
    this.sweep(now);
    return this.#mayHave(this.#permissions.size, fresh, MAX_PERMISSIONS);
  }

  /** Installs or refreshes a permission; {@link hasRoomFor} was asked before. */
  permit(now: Millis, ip: string): void {
    if (this.#permissions === NONE) this.#permissions = new Map();
    if (!this.#permissions.has(ip)) this.#hold(1);
    this.#permissions.set(ip, now + PERMISSION_LIFETIME_MS);
  }

  /** The channel of that number, if it stands. */
  channel(now: Millis, number: number): Channel | undefined {
    const channel = this.#channels.get(number);
    return channel && channel.expiresAt > now ? channel : undefined;
  }

  channelTo(now: Millis, peer: SocketAddress): Channel | undefined {
    const channel = this.#channelsByPeer.get(peer.key);
    return channel && channel.expiresAt > now ? channel : undefined;
  }

  /**
   * Binds or refreshes a channel. RFC 8656 §12.2: a number stands for one peer and a peer has one number, as long as the
   * binding lasts; after that both are free.
   */
  bind(now: Millis, number: number, peer: SocketAddress, version: number): "ok" | "conflict" | "full" {
    const ofNumber = this.channel(now, number);
    const ofPeer = this.channelTo(now, peer);
    if (ofNumber !== ofPeer) return "conflict";
    if (ofNumber) {
      ofNumber.expiresAt = now + CHANNEL_LIFETIME_MS;
      return "ok";
    }
    if (!this.#mayHave(this.#channels.size, 1, MAX_CHANNELS)) this.sweep(now);
    if (!this.#mayHave(this.#channels.size, 1, MAX_CHANNELS)) return "full";
    if (this.#channels === NONE) [this.#channels, this.#channelsByPeer] = [new Map(), new Map()];
    this.#forget(this.#channels.get(number));
    this.#forget(this.#channelsByPeer.get(peer.key));
    const channel = { number, peer, expiresAt: now + CHANNEL_LIFETIME_MS, allowed: true, checkedAtVersion: version };
    this.#hold(1);
    this.#channels.set(number, channel);
    this.#channelsByPeer.set(peer.key, channel);
    return "ok";
  }

  /** Drops what has expired. Nothing else depends on it: expiry is looked at wherever something is used. */
  sweep(now: Millis): void {
    if (this.#permissions === NONE && this.#channels === NONE) return;
    for (const [ip, expiresAt] of this.#permissions) {
      if (expiresAt > now) continue;
      this.#permissions.delete(ip);
      this.#hold(-1);
    }
    for (const channel of this.#channels.values()) if (channel.expiresAt <= now) this.#forget(channel);
  }

  /** The allocation is over: what it held is free for others. */
  release(): void {
    this.#hold(-this.#permissions.size - this.#channels.size);
    [this.#permissions, this.#channels, this.#channelsByPeer] = [NONE, NONE, NONE];
  }

  #forget(channel: Channel | undefined): void {
    if (!channel || !this.#channels.delete(channel.number)) return;
    this.#hold(-1);
    this.#channelsByPeer.delete(channel.peer.key);
  }

  #mayHave(held: number, more: number, most: number): boolean {
    return this.#holdings.allows(sourceKey(this.client.ip), held, more, most);
  }

  #hold(more: number): void {
    if (more !== 0) this.#holdings.add(sourceKey(this.client.ip), more);
  }
}
