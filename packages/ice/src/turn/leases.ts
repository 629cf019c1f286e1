import type { Millis, SocketAddress } from "@adit/core";
import { STUN_ERROR } from "../stun/tables.ts";
import { type ChannelBinding, Channels } from "./channels.ts";
import type { TurnEvent } from "./events.ts";
import type { Lease } from "./lease.ts";
import { Permissions } from "./permissions.ts";
import { isCredentialError, type TurnOperation, type TurnOutcome, type TurnRequests } from "./requests.ts";

/** Requests for permissions and channels under way at once; more wait for these. Leaves room for the allocation's own. */
const MAX_LEASES_IN_FLIGHT = 32;

/** What the relay could not give at the moment (5xx, or 401 as long as it does not know our credentials) is asked for again after this. */
const RETRY_MS = 30_000;

/** "lost": the relay does not know the allocation any more. */
export type LeaseVerdict = "kept" | "lost";

/**
 * The permissions and channel bindings that are wished for on top of the allocation: they are asked for when it stands, kept
 * refreshed, and asked for again from the next one.
 */
export class Leases {
  readonly #permissions = new Permissions();
  readonly #channels = new Channels();
  readonly #requests: TurnRequests;
  readonly #emit: (event: TurnEvent) => void;

  constructor(requests: TurnRequests, emit: (event: TurnEvent) => void) {
    this.#requests = requests;
    this.#emit = emit;
  }

  /** The relay holds a permission for it. */
  hasPermission(ip: string): boolean {
    return this.#permissions.get(ip)?.valid ?? false;
  }

  /** A permission is wished for: what comes from it is welcome, even if it overtakes the relay's answer. */
  wantsPermission(ip: string): boolean {
    return this.#permissions.has(ip);
  }

  /** The number of a confirmed binding. */
  channelOf(peer: SocketAddress): number | null {
    const binding = this.#channels.get(peer);
    return binding?.lease.valid ? binding.number : null;
  }

  peerOf(channel: number): SocketAddress | null {
    return this.#channels.peerOf(channel);
  }

  addPermission(now: Millis, ip: string): void {
    if (!this.#permissions.add(now, ip)) this.#emit({ type: "permission", ip, ok: false, code: null });
  }

  removePermission(now: Millis, ip: string): void {
    this.#permissions.remove(ip);
    this.#channels.retireIp(now, ip);
  }

  addChannel(now: Millis, peer: SocketAddress): void {
    this.addPermission(now, peer.ip);
    if (!this.#channels.add(now, peer)) this.#emit({ type: "channel", peer, ok: false, code: null });
  }

  removeChannel(now: Millis, peer: SocketAddress): void {
    this.#channels.retire(now, peer);
  }

  /** What waits to be asked for again is asked for now: the reason may be gone. */
  hurry(now: Millis): void {
    for (const [, lease] of this.#permissions) lease.hurry(now);
    for (const { lease } of this.#channels) lease.hurry(now);
  }

  /** The allocation is gone; the wishes remain. */
  reset(now: Millis): void {
    this.#permissions.reset(now);
    this.#channels.reset(now);
  }

  clear(): void {
    this.#permissions.clear();
    this.#channels.clear();
  }

  concludePermission(
    now: Millis,
    { ip, lease }: TurnOperation & { kind: "permission" },
    outcome: TurnOutcome,
  ): LeaseVerdict {
    if (this.#permissions.get(ip) !== lease) return "kept"; // removed meanwhile
    if (outcome.ok) {
      this.#grantPermission(now, ip, lease);
      return "kept";
    }
    if (outcome.code === STUN_ERROR.ALLOCATION_MISMATCH) return "lost";
    deny(now, lease, outcome.code);
    this.#emit({ type: "permission", ip, ok: false, code: outcome.code });
    return "kept";
  }

  concludeChannel(now: Millis, { binding }: TurnOperation & { kind: "channel" }, outcome: TurnOutcome): LeaseVerdict {
    const { peer, lease } = binding;
    if (this.#channels.get(peer) !== binding) return "kept";
    if (outcome.ok) {
      this.#grantChannel(now, binding);
      return "kept";
    }
    if (outcome.code === STUN_ERROR.ALLOCATION_MISMATCH) return "lost";
    deny(now, lease, outcome.code);
    this.#emit({ type: "channel", peer, ok: false, code: outcome.code });
    return "kept";
  }

  /** Notes what ran out, and asks for what is due, a bounded number at once. */
  pump(now: Millis): void {
    let free = MAX_LEASES_IN_FLIGHT - this.#inFlight;
    for (const [ip, lease] of this.#permissions) {
      lease.expire(now);
      if (free <= 0 || !lease.isDue(now)) continue;
      lease.asked();
      this.#requests.start(now, { kind: "permission", ip, lease });
      free--;
    }
    for (const binding of this.#channels) {
      binding.lease.expire(now);
      if (free <= 0 || !binding.lease.isDue(now)) continue;
      binding.lease.asked();
      this.#requests.start(now, { kind: "channel", binding });
      free--;
    }
  }

  /** When {@link pump} has something to do; infinite when never. */
  dueAt(): Millis {
    // With no room for more requests, the end of one is what the others wait for.
    if (this.#inFlight >= MAX_LEASES_IN_FLIGHT) return Number.POSITIVE_INFINITY;
    let at = Number.POSITIVE_INFINITY;
    for (const [, lease] of this.#permissions) at = Math.min(at, lease.dueAt);
    for (const { lease } of this.#channels) at = Math.min(at, lease.dueAt);
    return at;
  }

  get #inFlight(): number {
    return this.#requests.inFlight("permission") + this.#requests.inFlight("channel");
  }

  #grantPermission(now: Millis, ip: string, lease: Lease): void {
    const news = !lease.valid;
    lease.granted(now);
    if (news) this.#emit({ type: "permission", ip, ok: true, code: null });
  }

  #grantChannel(now: Millis, { peer, lease }: ChannelBinding): void {
    const news = !lease.valid;
    lease.granted(now);
    if (news) this.#emit({ type: "channel", peer, ok: true, code: null });
    // RFC 8656 §12: a ChannelBind installs or refreshes the permission too.
    const permission = this.#permissions.get(peer.ip);
    if (permission) this.#grantPermission(now, peer.ip, permission);
  }
}

/** Silence is asked again at once (the request itself took 7.9 s at least), trouble that is not the peer's later, a refusal not at all. */
function deny(now: Millis, lease: Lease, code: number | null): void {
  if (code === null) lease.want(now);
  else if (code >= 500 || isCredentialError(code)) lease.want(now + RETRY_MS);
  else lease.refuse();
}
