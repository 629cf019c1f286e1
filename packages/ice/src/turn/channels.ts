import type { Millis, SocketAddress } from "@adit/core";
import { MAX_CHANNEL_NUMBER, MIN_CHANNEL_NUMBER } from "./channel-data.ts";
import { Lease } from "./lease.ts";

/** RFC 8656 §12: "Channel bindings last for 10 minutes unless refreshed". */
const CHANNEL_LIFETIME_MS = 600_000;

/** Leaves room for a whole request (39.5 s) before the binding lapses. */
const CHANNEL_REFRESH_MS = 540_000;

/**
 * RFC 8656 §12: when a binding has expired, the client waits 5 minutes before it binds the number to another peer or the peer to
 * another number. Counted from when we stop refreshing, the binding itself may stand 10 minutes more.
 */
const RETIREMENT_MS = CHANNEL_LIFETIME_MS + 300_000;

/** Bindings at once, retired ones included: far below the 4096 numbers, so that a free one is found. Beyond it new ones are refused. */
const MAX_CHANNELS = 1024;

export interface ChannelBinding {
  readonly peer: SocketAddress;
  readonly number: number;
  readonly lease: Lease;
  /** Null while wanted; else when the number and the peer may be bound anew. */
  retiredUntil: Millis | null;
}

/** Which channel number stands for which peer. */
export class Channels {
  readonly #byPeer = new Map<string, ChannelBinding>();
  readonly #byNumber = new Map<number, ChannelBinding>();
  #next = MIN_CHANNEL_NUMBER;

  /** Returns null when there are too many. A peer that is there, retired or refused, keeps its number. */
  add(now: Millis, peer: SocketAddress): ChannelBinding | null {
    const old = this.#byPeer.get(peer.key);
    if (old) {
      if (old.retiredUntil !== null || old.lease.refused) {
        old.retiredUntil = null;
        old.lease.want(now);
      }
      return old;
    }
    if (this.#byPeer.size >= MAX_CHANNELS) this.#forgetRetired(now);
    if (this.#byPeer.size >= MAX_CHANNELS) return null;
    const lease = new Lease(now, CHANNEL_LIFETIME_MS, CHANNEL_REFRESH_MS);
    const binding = { peer, number: this.#freeNumber(), lease, retiredUntil: null };
    this.#byPeer.set(peer.key, binding);
    this.#byNumber.set(binding.number, binding);
    return binding;
  }

  /** The binding of a peer that is wanted. */
  get(peer: SocketAddress): ChannelBinding | null {
    const binding = this.#byPeer.get(peer.key);
    return binding && binding.retiredUntil === null ? binding : null;
  }

  /** The peer behind a number: from when the relay was asked, since its data may overtake its answer. */
  peerOf(number: number): SocketAddress | null {
    const binding = this.#byNumber.get(number);
    return binding && binding.retiredUntil === null ? binding.peer : null;
  }

  /** No longer refreshed; the number rests until the relay has forgotten it. */
  retire(now: Millis, peer: SocketAddress): void {
    const binding = this.get(peer);
    if (binding) binding.retiredUntil = now + RETIREMENT_MS;
  }

  retireIp(now: Millis, ip: string): void {
    for (const { peer } of this) if (peer.ip === ip) this.retire(now, peer);
  }

  /** The allocation is gone, and its bindings with it. */
  reset(now: Millis): void {
    this.#forgetRetired(Number.POSITIVE_INFINITY);
    for (const { lease } of this) lease.reset(now);
  }

  clear(): void {
    this.#byPeer.clear();
    this.#byNumber.clear();
  }

  /** Those that are wanted. */
  *[Symbol.iterator](): IterableIterator<ChannelBinding> {
    for (const binding of this.#byPeer.values()) if (binding.retiredUntil === null) yield binding;
  }

  #freeNumber(): number {
    while (this.#byNumber.has(this.#next)) this.#advance();
    const number = this.#next;
    this.#advance();
    return number;
  }

  #advance(): void {
    this.#next = this.#next === MAX_CHANNEL_NUMBER ? MIN_CHANNEL_NUMBER : this.#next + 1;
  }

  #forgetRetired(now: Millis): void {
    for (const [key, { number, retiredUntil }] of this.#byPeer) {
      if (retiredUntil === null || retiredUntil > now) continue;
      this.#byPeer.delete(key);
      this.#byNumber.delete(number);
    }
  }
}
