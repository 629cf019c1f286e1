import { type Deadline, earliest, type Millis, type Random, type SocketAddress } from "@adit/core";
import { natPmp } from "./nat-pmp.ts";
import { pcp } from "./pcp.ts";
import { PmpClient } from "./pmp-client.ts";
import {
  type ClientStatus,
  type HttpAnswer,
  type MappingClient,
  type MappingTarget,
  PORT_MAP_PROTOCOLS,
  type PortLease,
  type PortMapOutput,
  type PortMapProtocol,
  RETRY_MS,
} from "./types.ts";
import { UpnpClient } from "./upnp-client.ts";

/** What {@link PortMapper} takes. */
export interface PortMapperOptions extends MappingTarget {
  /** All three unless given. */
  readonly protocols?: readonly PortMapProtocol[];
  /** False finds out only what the router speaks. */
  readonly wantsLease?: boolean;
  /** What the router shows in its list of UPnP mappings. */
  readonly description?: string;
  /** Of PCP's nonce and of jitter. */
  readonly random: Random;
}

/** What a {@link PortMapper} has to tell. */
export type PortMapEvent =
  /** A mapping was made, or is another one than before. */
  | { readonly type: "mapped"; readonly lease: PortLease }
  | { readonly type: "lost"; readonly lease: PortLease; readonly why: string }
  /** The router has started anew: not only this mapping is gone, but all that it had made by itself. */
  | { readonly type: "router-restarted" };

/** The first answer waits this long for one of a better protocol. */
const GRACE_MS = 200;
/** Hints that the router restarted come unauthenticated: they are followed after a random wait, and no more often than this. */
const HINT_PAUSE_MS = 2_000;
const MAX_HINT_WAIT_MS = 500;

/**
 * One UDP port mapped at the router, by the best of the protocols that it speaks. All are asked at once; the best that answers is used,
 * and the next one when it refuses. Sans-IO.
 */
export class PortMapper {
  /** The router's IP address. */
  readonly gateway: string;
  /** Our own IP address towards it. */
  readonly localIp: string;
  /** Our UDP port, that is mapped. */
  readonly internalPort: number;
  readonly #pmp: readonly PmpClient[];
  readonly #upnp: UpnpClient | null;
  /** Preferred first. */
  readonly #clients: readonly MappingClient[];
  readonly #wantsLease: boolean;
  readonly #random: Random;
  #current: MappingClient | null = null;
  #lease: PortLease | null = null;
  /** Those that refused in this round. */
  readonly #refused = new Map<PortMapProtocol, Extract<ClientStatus, { kind: "refused" }>>();
  #graceEndsAt: Millis | null = null;
  /** When everything is tried anew, as nothing came of it. */
  #retryAt: Millis | null = null;
  #hint: { readonly at: Millis } | null = null;
  #hintedAt = Number.NEGATIVE_INFINITY;
  #restarts = 0;
  #closing = false;
  readonly #events: PortMapEvent[] = [];

  constructor(now: Millis, options: PortMapperOptions) {
    const { gateway, localIp, random, protocols = PORT_MAP_PROTOCOLS } = options;
    this.gateway = gateway;
    this.localIp = localIp;
    this.internalPort = options.internalPort;
    this.#random = random;
    this.#wantsLease = options.wantsLease ?? true;
    const codecs = [pcp(localIp, random.bytes(12)), natPmp].filter(({ protocol }) => protocols.includes(protocol));
    this.#pmp = codecs.map((codec) => new PmpClient(codec, options, random));
    this.#upnp = protocols.includes("upnp") ? new UpnpClient(options, random, options.description ?? "adit") : null;
    this.#clients = this.#upnp ? [...this.#pmp, this.#upnp] : this.#pmp;
    this.#begin(now);
  }

  /** The mapping as it stands; null when there is none. */
  get lease(): PortLease | null {
    return this.#lease;
  }

  /** What each protocol came to, preferred first. */
  get protocols(): readonly { readonly protocol: PortMapProtocol; readonly status: ClientStatus }[] {
    return this.#clients.map(({ protocol, status }) => ({ protocol, status: this.#refused.get(protocol) ?? status }));
  }

  /** Nothing is under way: what the router speaks is known, and a mapping is there or will not be for now. */
  get isSettled(): boolean {
    return !this.#clients.some(
      ({ status: { kind } }) => kind === "probing" || kind === "mapping" || kind === "unmapping",
    );
  }

  /** After {@link close}: what was mapped is removed, or given up. */
  get isGone(): boolean {
    return this.#closing && this.isSettled;
  }

  /** What arrived from the router or its announcements; anything may be given. */
  handleDatagram(now: Millis, from: SocketAddress, data: Uint8Array): void {
    for (const client of this.#pmp) client.handleDatagram(now, from, data);
    this.#upnp?.handleDatagram(now, from, data);
    this.#decide(now);
  }

  /** See {@link PortMapOutput}. */
  handleHttp(now: Millis, id: number, answer: HttpAnswer | null): void {
    this.#upnp?.handleHttp(now, id, answer);
    this.#decide(now);
  }

  /**
   * A router told its network that it has started, or has another address (RFC 6886 §3.2.1, RFC 6887 §14.1). Anybody there can say so:
   * it makes us ask the router, no more.
   */
  handleAnnouncement(now: Millis, from: SocketAddress): void {
    if (from.ip !== this.gateway || this.#hint !== null || this.#closing) return;
    const waitMs = this.#random.float() * MAX_HINT_WAIT_MS;
    this.#hint = { at: Math.max(now, this.#hintedAt + HINT_PAUSE_MS) + waitMs };
  }

  /** The network may have changed: does the mapping still stand, is there a router that makes one? */
  refresh(now: Millis): void {
    if (this.#closing) return;
    if (this.#current) this.#current.verify(now);
    else if (this.isSettled) this.#begin(now);
    this.#decide(now);
  }

  /** Does what is due; to be called when {@link pollTimeout} says, or any time. */
  handleTimeout(now: Millis): void {
    for (const client of this.#clients) client.handleTimeout(now);
    if (this.#hint && now >= this.#hint.at) {
      this.#hint = null;
      this.#hintedAt = now;
      this.refresh(now);
    }
    if (this.#retryAt !== null && now >= this.#retryAt) this.#begin(now);
    this.#decide(now);
  }

  /** When {@link handleTimeout} is to be called, and why; null: not before something else happens. */
  pollTimeout(): Deadline | null {
    let deadline: Deadline | null = null;
    for (const client of this.#clients) deadline = earliest(deadline, client.pollTimeout());
    const own = [this.#retryAt, this.#graceEndsAt, this.#hint?.at ?? null];
    for (const at of own) if (at !== null) deadline = earliest(deadline, { at, reason: "port-mapper" });
    return deadline;
  }

  /** The next thing to be done on the network; null when there is none. */
  pollOutput(): PortMapOutput | null {
    for (const client of this.#clients) {
      const output = client.pollOutput();
      if (output) return output;
    }
    return null;
  }

  /** What happened next; null when nothing more did. */
  pollEvent(): PortMapEvent | null {
    return this.#events.shift() ?? null;
  }

  /** Gives the mapping back; see {@link isGone}. */
  close(now: Millis): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#retryAt = null;
    this.#graceEndsAt = null;
    this.#hint = null;
    for (const client of this.#clients) client.unmap(now);
    this.#lease = null;
    this.#current = null;
  }

  #begin(now: Millis): void {
    this.#retryAt = null;
    this.#graceEndsAt = null;
    this.#current = null;
    this.#refused.clear();
    for (const client of this.#clients) client.probe(now);
  }

  /** What follows from what the clients have come to know. */
  #decide(now: Millis): void {
    if (this.#closing) return;
    const restarts = this.#pmp.reduce((sum, client) => sum + client.restarts, 0);
    if (restarts > this.#restarts) this.#events.push({ type: "router-restarted" });
    this.#restarts = restarts;
    if (this.#current) this.#follow(this.#current);
    if (!this.#current && this.#wantsLease) this.#choose(now);
    if (this.#current || !this.isSettled) return;
    this.#retryAt ??= now + Math.max(RETRY_MS, ...[...this.#refused.values()].map(({ retryAfterMs }) => retryAfterMs));
  }

  #follow(client: MappingClient): void {
    const { status } = client;
    if (status.kind === "mapped") {
      const was = this.#lease;
      this.#lease = status.lease;
      const same = was?.external.equals(status.lease.external) && was.protocol === status.lease.protocol;
      if (!same) this.#events.push({ type: "mapped", lease: status.lease });
    } else if (status.kind === "refused" || status.kind === "absent") {
      if (status.kind === "refused") this.#refused.set(client.protocol, status);
      if (this.#lease) this.#events.push({ type: "lost", lease: this.#lease, why: status.why });
      this.#lease = null;
      this.#current = null;
    }
  }

  #choose(now: Millis): void {
    const open = this.#clients.filter(({ protocol }) => !this.#refused.has(protocol));
    const best = open.findIndex(({ status }) => status.kind === "present");
    if (best < 0) {
      this.#graceEndsAt = null;
      return;
    }
    const awaitsBetter = open.slice(0, best).some(({ status }) => status.kind === "probing");
    if (awaitsBetter) this.#graceEndsAt ??= now + GRACE_MS;
    if (awaitsBetter && this.#graceEndsAt !== null && now < this.#graceEndsAt) return;
    this.#graceEndsAt = null;
    this.#current = open[best] ?? null;
    this.#current?.map(now);
  }
}
