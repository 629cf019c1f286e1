import {
  type Deadline,
  earliest,
  FIRST_RELAY_ID,
  type Millis,
  type SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import type { LocalCandidateInit } from "@adit/ice";
import type { IntermediateMessage, SignalingClientEvent, TurnServer } from "@adit/signaling";
import { SessionError, type SessionErrorCode } from "../errors.ts";
import type { Seen } from "../nat/network-sense.ts";
import { type BoundSocket, isWildcard, ownCandidates } from "./own-candidates.ts";
import { Relay } from "./relay.ts";
import { SignalingLink, type SignalingLinkOptions } from "./signaling-link.ts";

export interface PresenceOptions extends Omit<SignalingLinkOptions, "onEvent" | "onRefused" | "socketFor"> {
  readonly sockets: readonly BoundSocket[];
  readonly onMessage: (now: Millis, message: IntermediateMessage) => void;
  /** A candidate of ours came to be known; `last` when no more will come by itself. */
  readonly onCandidate: (now: Millis, candidate: LocalCandidateInit, last: boolean) => void;
  /** An intermediate with a STUN server sees us, for the first time or otherwise than before. */
  readonly onSeen: (now: Millis, seen: Seen) => void;
  readonly onRelayLost: (now: Millis, socket: SocketId) => void;
  /** The relay answered about an IP address: let in, or not. */
  readonly onPermission: (now: Millis, ip: string) => void;
  /** The intermediate may be a new one, or sees us come from another address: sessions have to be introduced again. */
  readonly onIntroduce: (now: Millis) => void;
  readonly onRegistered: (observed: SocketAddress) => void;
  /** For good. */
  readonly onStopped: (error: SessionError) => void;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: SessionError) => void;
}

/** The program's place in the world: its signaling connection, how it is seen from outside, and its relay. */
export class Presence {
  readonly #options: PresenceOptions;
  readonly #link: SignalingLink;
  readonly #waiters = new Set<Waiter>();
  #relay: Relay | null = null;
  /** One that was replaced, until it has given its allocation back. */
  #leavingRelay: Relay | null = null;
  #observed: SocketAddress | null = null;
  #stunServer: SocketAddress | null = null;
  #stopped: SessionError | null = null;

  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#link = new SignalingLink({
      ...options,
      socketFor: (family) => this.#socketOf(family),
      onEvent: (now, event) => this.#handleEvent(now, event),
      onRefused: (reason) => this.#stop("intermediate-changed", reason),
    });
  }

  get link(): SignalingLink {
    return this.#link;
  }

  get relay(): Relay | null {
    return this.#relay;
  }

  /** Our address as the intermediate sees it. */
  get observed(): SocketAddress | null {
    return this.#observed;
  }

  get isRegistered(): boolean {
    const { client } = this.#link;
    return this.#options.role === "agent" ? client.isUp : client.isRegistered;
  }

  /** Resolves once registered. @throws SessionError when it never will be. */
  wait(): Promise<void> {
    if (this.isRegistered) return Promise.resolve();
    if (this.#stopped) return Promise.reject(this.#stopped);
    return new Promise((resolve, reject) => this.#waiters.add({ resolve, reject }));
  }

  /** As {@link wait}, for at most `timeoutMs`. @throws SessionError `intermediate-unreachable` */
  async waitFor(timeoutMs: Millis): Promise<void> {
    if (this.isRegistered) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<never>((_, reject) => {
      const { host, port } = this.#options;
      const error = new SessionError(
        "intermediate-unreachable",
        `the intermediate ${hostPort(host, port)} does not answer`,
      );
      timer = setTimeout(() => reject(error), Math.max(0, timeoutMs));
    });
    try {
      await Promise.race([this.wait(), timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  candidates(): LocalCandidateInit[] {
    return ownCandidates(this.#options.sockets, this.#observed, this.#relay?.candidate ?? null);
  }

  /** Does the intermediate still answer, does the allocation still stand? */
  probe(now: Millis): void {
    this.#link.client.probe(now);
    this.#relay?.probe(now);
    this.#options.wake();
  }

  handleTimeout(now: Millis): void {
    this.#link.handleTimeout(now);
    this.#relay?.handleTimeout(now);
    this.#leavingRelay?.handleTimeout(now);
    if (this.#leavingRelay?.isSilent) this.#leavingRelay = null;
  }

  pollTimeout(now: Millis): Deadline | null {
    const relays = earliest(this.#relay?.pollTimeout() ?? null, this.#leavingRelay?.pollTimeout() ?? null);
    return earliest(this.#link.pollTimeout(now), relays);
  }

  pollTransmit(): Transmit | null {
    return this.#link.pollTransmit() ?? this.#relay?.pollTransmit() ?? this.#leavingRelay?.pollTransmit() ?? null;
  }

  pump(now: Millis): void {
    this.#link.pump(now);
    this.#relay?.pump(now);
  }

  /** Says goodbye and gives the allocation back; true from {@link isSilent} on when that is done. */
  close(now: Millis, reason: string): void {
    this.#stopped ??= new SessionError("closed", reason);
    this.#rejectWaiters(this.#stopped);
    this.#relay?.close(now);
    this.#link.stop(now, reason);
  }

  get isSilent(): boolean {
    return this.#relay?.isSilent ?? true;
  }

  #handleEvent(now: Millis, event: SignalingClientEvent): void {
    const { log, role, onMessage } = this.#options;
    switch (event.type) {
      case "up":
        log.debug("signaling-up", { observed: event.observed, intermediate: event.intermediateId });
        this.#useTurn(now, event.turn);
        this.#observe(now, event.observed);
        if (role === "agent") this.#registered(event.observed);
        return;
      case "registered":
        if (this.#observed) this.#registered(this.#observed);
        return;
      case "register-refused":
        log.warn("register-refused", { code: event.code, message: event.message, retryInMs: event.retryInMs });
        return;
      case "turn":
        return this.#useTurn(now, event.turn);
      case "observed":
        return this.#observe(now, event.observed);
      case "rtt":
        return;
      case "message":
        return onMessage(now, event.message);
      case "down":
        log.warn("signaling-down", { reason: event.reason, retryInMs: Math.round(event.retryInMs) });
        return;
      case "stopped":
        return this.#stop(stoppedCode(event.code), event.message);
    }
  }

  #observe(now: Millis, observed: SocketAddress): void {
    this.#observed = observed;
    const server = this.#stunServer;
    const socket = server && this.#socketOf(server.family);
    if (server && socket) this.#options.onSeen(now, { observed, server, socket: socket.id });
    for (const candidate of this.candidates()) this.#options.onCandidate(now, candidate, false);
    this.#options.onIntroduce(now);
  }

  #registered(observed: SocketAddress): void {
    this.#options.onRegistered(observed);
    for (const waiter of this.#waiters) waiter.resolve();
    this.#waiters.clear();
  }

  #stop(code: SessionErrorCode, message: string): void {
    if (this.#stopped) return;
    this.#stopped = new SessionError(code, message);
    this.#rejectWaiters(this.#stopped);
    this.#options.onStopped(this.#stopped);
  }

  #rejectWaiters(error: SessionError): void {
    for (const waiter of this.#waiters) waiter.reject(error);
    this.#waiters.clear();
  }

  /** A connector keeps an allocation ready; an agent reaches the connector's. */
  #useTurn(now: Millis, turn: TurnServer | null): void {
    const { role, random, log, onCandidate, onRelayLost, onPermission } = this.#options;
    this.#stunServer = turn && this.#turnAddress(turn);
    if (role !== "connector") return;
    const server = turn && this.#turnAddress(turn);
    if (turn && server && this.#relay?.server.equals(server)) return this.#relay.renew(now, turn);
    const socket = server && this.#socketOf(server.family);
    if (this.#relay) {
      onRelayLost(now, this.#relay.id);
      this.#relay.close(now);
      this.#leavingRelay = this.#relay;
      this.#relay = null;
    }
    if (!turn || !server || !socket) return;
    const id = FIRST_RELAY_ID;
    this.#relay = new Relay(now, {
      server,
      turn,
      socket: socket.id,
      id,
      random,
      log,
      onAllocated: (at, candidate) => onCandidate(at, candidate, true),
      onLost: (at) => onRelayLost(at, id),
      onPermission,
    });
  }

  /** An unspecified IP stands for the one that the signaling connection goes to. */
  #turnAddress(turn: TurnServer): SocketAddress | null {
    return isWildcard(turn.address) ? (this.#link.remote?.withPort(turn.address.port) ?? null) : turn.address;
  }

  #socketOf(family: 4 | 6): BoundSocket | null {
    return this.#options.sockets.find((socket) => socket.address.family === family) ?? null;
  }
}

/** `HOST:PORT`, an IPv6 address in brackets. */
export const hostPort = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

function stoppedCode(code: string): SessionErrorCode {
  return code === "not-allowed" || code === "unsupported-version" ? code : "closed";
}
