import { type Deadline, earliest, type Millis, type SocketAddress, type SocketId, type Transmit } from "@adit/core";
import type { LocalCandidateInit } from "@adit/ice";
import type { Place } from "../endpoint.ts";
import { SessionError } from "../errors.ts";
import type { EndpointStatus, UdpReach } from "../status.ts";
import { ownCandidates } from "./own-candidates.ts";
import { Presence, type PresenceOptions } from "./presence.ts";
import type { Relay } from "./relay.ts";

/** Intermediates of one program: each costs a connection, keepalives and an allocation. */
export const MAX_INTERMEDIATES = 4;

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: SessionError) => void;
}

export interface PresencesOptions extends Omit<PresenceOptions, "host" | "port" | "onRegistered" | "onStopped"> {
  readonly places: readonly Place[];
  /** All of them have refused for good; the first one's words. */
  readonly onStopped: (error: SessionError) => void;
}

/** The program's places at all its intermediates, in the order of preference. */
export class Presences {
  readonly #options: PresencesOptions;
  readonly #all: readonly Presence[];
  readonly #waiters = new Set<Waiter>();
  #closed: SessionError | null = null;

  constructor(options: PresencesOptions) {
    this.#options = options;
    this.#all = options.places.slice(0, MAX_INTERMEDIATES).map(
      ({ host, port }) =>
        new Presence({
          ...options,
          host,
          port,
          onRegistered: () => this.#resolveWaiters(),
          onStopped: (at, error) => this.#handleStopped(at, error),
        }),
    );
  }

  [Symbol.iterator](): IterableIterator<Presence> {
    return this.#all.values();
  }

  /** The one in use: the first that is connected. */
  get preferred(): Presence | null {
    return this.#all.find((presence) => presence.isUp) ?? this.#all[0] ?? null;
  }

  get isRegistered(): boolean {
    return this.#all.some((presence) => presence.isRegistered);
  }

  get observed(): SocketAddress | null {
    return this.preferred?.observed ?? this.#all.find(({ observed }) => observed)?.observed ?? null;
  }

  /** Whether UDP gets out and back: any intermediate that is reached over it is proof; blocked, when all are reached without. */
  get udpReach(): UdpReach {
    const known = this.#all.map(({ hasUdp }) => hasUdp).filter((hasUdp) => hasUdp !== null);
    if (known.length === 0) return "unknown";
    return known.includes(true) ? "open" : "blocked";
  }

  status(): Pick<EndpointStatus, "intermediate" | "intermediates" | "udpReach" | "observedAddress"> {
    const { address = "", connected = false, rttMs = null } = this.preferred?.status() ?? {};
    return {
      intermediate: { address, connected, rttMs },
      intermediates: this.#all.map((presence) => presence.status()),
      udpReach: this.udpReach,
      observedAddress: this.observed,
    };
  }

  /** The STUN servers of all of them. */
  get stunServers(): readonly SocketAddress[] {
    return this.#all.flatMap(({ stunServer }) => stunServer ?? []);
  }

  get isGathering(): boolean {
    return this.#all.some(({ relays }) => relays.isGathering);
  }

  candidates(): LocalCandidateInit[] {
    const reflexive = this.#all.flatMap(({ reflexive }) => (reflexive ? [reflexive] : []));
    const relayed = this.#all.flatMap(({ relays }) => relays.all().flatMap(({ candidates }) => candidates));
    return ownCandidates(this.#options.sockets, reflexive, relayed);
  }

  /** The relay that acts as that socket. */
  relay(id: SocketId): Relay | null {
    for (const { relays } of this.#all) {
      for (const relay of relays.all()) if (relay.id === id) return relay;
    }
    return null;
  }

  /** The relay whose datagrams come from there. */
  relayAt(socket: SocketId, from: SocketAddress): Relay | null {
    for (const { relays } of this.#all) {
      for (const relay of relays.all()) if (relay.socket === socket && relay.server.equals(from)) return relay;
    }
    return null;
  }

  /** The intermediate whose signaling comes from there, over QUIC. */
  signalingAt(from: SocketAddress): Presence | null {
    for (const presence of this.#all) if (presence.link.isAt(from)) return presence;
    return null;
  }

  probe(now: Millis): void {
    for (const presence of this.#all) presence.probe(now);
  }

  /** Resolves once registered anywhere. @throws SessionError when it never will be. */
  wait(): Promise<void> {
    if (this.isRegistered) return Promise.resolve();
    const refused = this.#refusal();
    if (refused) return Promise.reject(refused);
    return new Promise((resolve, reject) => this.#waiters.add({ resolve, reject }));
  }

  /** As {@link wait}, for at most `timeoutMs`. @throws SessionError `intermediate-unreachable` */
  async waitFor(timeoutMs: Millis): Promise<void> {
    if (this.isRegistered) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<never>((_, reject) => {
      const names = this.#all.map(({ name }) => name).join(", ");
      const sentence =
        this.#all.length === 1
          ? `the intermediate ${names} does not answer`
          : `none of the intermediates ${names} answers`;
      const error = new SessionError("intermediate-unreachable", sentence);
      timer = setTimeout(() => reject(error), Math.max(0, timeoutMs));
    });
    try {
      await Promise.race([this.wait(), timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  handleTimeout(now: Millis): void {
    for (const presence of this.#all) presence.handleTimeout(now);
  }

  pollTimeout(now: Millis): Deadline | null {
    let next: Deadline | null = null;
    for (const presence of this.#all) next = earliest(next, presence.pollTimeout(now));
    return next;
  }

  pollTransmit(): Transmit | null {
    for (const presence of this.#all) {
      const sent = presence.pollTransmit();
      if (sent) return sent;
    }
    return null;
  }

  pump(now: Millis): void {
    for (const presence of this.#all) presence.pump(now);
  }

  /** The session needs no relay any more. */
  release(session: bigint): void {
    for (const { relays } of this.#all) for (const relay of relays.all()) relay.release(session);
  }

  close(now: Millis, reason: string): void {
    this.#closed ??= this.#refusal() ?? new SessionError("closed", reason);
    this.#rejectWaiters(this.#closed);
    for (const presence of this.#all) presence.close(now, reason);
  }

  get isSilent(): boolean {
    return this.#all.every((presence) => presence.isSilent);
  }

  #handleStopped(at: Presence, error: SessionError): void {
    const refusal = this.#refusal();
    if (refusal) {
      this.#rejectWaiters(refusal);
      this.#options.onStopped(refusal);
    } else {
      this.#options.log.error("intermediate-refused", {
        intermediate: at.name,
        code: error.code,
        message: error.message,
      });
    }
  }

  /** Why nobody takes us any more; null while somebody may. */
  #refusal(): SessionError | null {
    if (this.#closed) return this.#closed;
    return this.#all.every(({ stopped }) => stopped) ? (this.#all[0]?.stopped ?? null) : null;
  }

  #resolveWaiters(): void {
    for (const waiter of this.#waiters) waiter.resolve();
    this.#waiters.clear();
  }

  #rejectWaiters(error: SessionError): void {
    for (const waiter of this.#waiters) waiter.reject(error);
    this.#waiters.clear();
  }
}
