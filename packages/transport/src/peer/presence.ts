import {
  type Deadline,
  earliest,
  formatHostPort,
  type Millis,
  type SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import { ServerTimeouts } from "@adit/ice";
import type { IntermediateMessage, SignalingClientEvent, TurnServer } from "@adit/signaling";
import { SessionError, type SessionErrorCode } from "../errors.ts";
import type { Seen } from "../nat/network-sense.ts";
import type { IntermediateStatus } from "../status.ts";
import { type BoundSocket, hasAddress, isWildcard } from "./own-candidates.ts";
import { round } from "./pair-words.ts";
import type { PermissionAnswer, Relay } from "./relay.ts";
import { RelayKeeper, type RelayKeeperOptions, type RelayWay } from "./relay-keeper.ts";
import { SignalingLink, type SignalingLinkOptions } from "./signaling-link.ts";

/** What a presence needs of the endpoint, whichever intermediate it is at. */
export interface PresenceOptions
  extends Omit<SignalingLinkOptions, "onEvent" | "onRefused" | "socketFor">,
    Omit<RelayKeeperOptions, "timeouts" | "onAllocated" | "onLost" | "onPermission"> {
  readonly sockets: readonly BoundSocket[];
  readonly onMessage: (now: Millis, from: Presence, message: IntermediateMessage) => void;
  /** A candidate of ours came to be known. */
  readonly onCandidates: (now: Millis, from: Presence) => void;
  /** The intermediate sees us, for the first time or otherwise than before. */
  readonly onSeen: (now: Millis, seen: Seen) => void;
  readonly onRelayLost: (now: Millis, socket: SocketId) => void;
  readonly onPermission: (now: Millis, from: Presence, answer: PermissionAnswer) => void;
  /** The intermediate may be a new one, or sees us come from another address: sessions have to be introduced again. */
  readonly onIntroduce: (now: Millis, at: Presence) => void;
  readonly onRegistered: () => void;
  /** For good. */
  readonly onStopped: (at: Presence, error: SessionError) => void;
}

/** The program's place at one intermediate: its signaling connection, how it is seen from there, and its relay. */
export class Presence {
  readonly relays: RelayKeeper;
  readonly #options: PresenceOptions;
  readonly #link: SignalingLink;
  readonly #timeouts = new ServerTimeouts();
  /** Its key. */
  #intermediateId = "";
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
    this.relays = new RelayKeeper({
      ...options,
      timeouts: this.#timeouts,
      onAllocated: (now) => options.onCandidates(now, this),
      onLost: options.onRelayLost,
      onPermission: (now, answer) => options.onPermission(now, this, answer),
    });
  }

  get link(): SignalingLink {
    return this.#link;
  }

  get relay(): Relay | null {
    return this.relays.current;
  }

  /** `HOST:PORT`, as it was given. */
  get name(): string {
    return formatHostPort(this.#options.host, this.#options.port);
  }

  /** Where our packets come from as the intermediate sees it. */
  get observed(): SocketAddress | null {
    return this.#observed;
  }

  /** The same, where it is the mapping of our UDP socket. */
  get reflexive(): SocketAddress | null {
    return this.#link.carrier?.kind === "tls" ? null : this.#observed;
  }

  /** Where the intermediate answers STUN requests; null until it has said so. */
  get stunServer(): SocketAddress | null {
    return this.#stunServer;
  }

  get isUp(): boolean {
    return this.#link.client.isUp;
  }

  /** Whether UDP reaches the intermediate; null while that is not known. */
  get hasUdp(): boolean | null {
    return this.isUp ? this.#link.carrier?.kind === "quic" : null;
  }

  get isRegistered(): boolean {
    const { client } = this.#link;
    return this.#options.role === "agent" ? client.isUp : client.isRegistered;
  }

  get stopped(): SessionError | null {
    return this.#stopped;
  }

  /** Does the intermediate still answer, do the allocations still stand? */
  probe(now: Millis): void {
    this.#link.probe(now);
    for (const relay of this.relays.all()) relay.probe(now);
    this.#options.wake();
  }

  handleTimeout(now: Millis): void {
    this.#link.handleTimeout(now);
    this.relays.handleTimeout(now);
  }

  pollTimeout(now: Millis): Deadline | null {
    return earliest(this.#link.pollTimeout(now), this.relays.pollTimeout());
  }

  pollTransmit(): Transmit | null {
    return this.#link.pollTransmit() ?? this.relays.pollTransmit();
  }

  pump(now: Millis): void {
    this.#link.pump(now);
    this.relays.pump(now);
  }

  /** Says goodbye and gives the allocation back; true from {@link isSilent} on when that is done. */
  close(now: Millis, reason: string): void {
    this.#stopped ??= new SessionError("closed", reason);
    this.relays.close(now);
    this.#link.stop(now, reason);
  }

  get isSilent(): boolean {
    return this.relays.isSilent && this.#link.isSilent;
  }

  status(): IntermediateStatus {
    const { client, remote, carrier } = this.#link;
    return {
      address: remote?.key ?? this.name,
      connected: client.isUp,
      rttMs: round(client.rttMs),
      transport: carrier && client.isUp ? carrier.kind : null,
      relay: this.relay?.relayedAddress ?? null,
    };
  }

  #handleEvent(now: Millis, event: SignalingClientEvent): void {
    const { log, role, onMessage } = this.#options;
    switch (event.type) {
      case "up":
        log.debug("signaling-up", { observed: event.observed, intermediate: event.intermediateId });
        this.#intermediateId = event.intermediateId;
        this.#supposeRoundTrip(now);
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
        return onMessage(now, this, event.message);
      case "down":
        log.warn("signaling-down", {
          intermediate: this.name,
          reason: event.reason,
          retryInMs: Math.round(event.retryInMs),
        });
        return;
      case "stopped":
        return this.#stop(stoppedCode(event.code), event.message);
    }
  }

  /** The relay is asked with what the signaling connection's handshake took, where both are at one address. */
  #supposeRoundTrip(now: Millis): void {
    const { remote, carrier, client } = this.#link;
    if (remote && carrier?.kind === "quic" && client.rttMs !== null)
      this.#timeouts.suppose(now, remote.ip, client.rttMs);
  }

  #registered(observed: SocketAddress): void {
    const { name, role, identity, log, onRegistered } = this.#options;
    log.info("registered", {
      ...(name === undefined ? {} : { name }),
      role,
      peerId: identity.peerId,
      intermediate: this.#link.remote,
      observed,
      transport: this.#link.carrier?.kind ?? null,
    });
    onRegistered();
  }

  #observe(now: Millis, observed: SocketAddress): void {
    const former = this.#observed;
    this.#observed = observed;
    if (former && !former.equals(observed)) {
      this.#options.log.debug("observed-changed", { from: former, to: observed });
      // An allocation belongs to the address that it was made from.
      for (const relay of this.relays.all()) relay.probe(now);
    }
    const server = this.#stunServer;
    const socket = server && this.#socketOf(server.family);
    if (server && socket) this.#options.onSeen(now, { observed: this.reflexive, server, socket: socket.id });
    this.#options.onCandidates(now, this);
    this.#options.onIntroduce(now, this);
  }

  #stop(code: SessionErrorCode, message: string): void {
    if (this.#stopped) return;
    this.#stopped = new SessionError(code, message);
    this.#options.onStopped(this, this.#stopped);
  }

  /**
   * A connector keeps an allocation ready. An agent reaches the connector's over UDP, and needs one of its own only without, or where it
   * has IPv6 alone and the connector's relayed address may be IPv4.
   */
  #useTurn(now: Millis, turn: TurnServer | null): void {
    this.#stunServer = turn && this.#turnAddress(turn);
    const way = turn && this.#relayWay(turn);
    this.relays.use(now, turn && way && { way, turn });
  }

  #relayWay(turn: TurnServer): RelayWay | null {
    const { carrier } = this.#link;
    if (carrier?.kind === "tls") {
      // TURN is spoken on the very port that let signaling through.
      const bound = this.#socketOf(carrier.remote.family)?.address;
      const localIp = bound && !isWildcard(bound) ? bound.ip : null;
      return { kind: "tls", server: carrier.remote, localIp, peerId: this.#intermediateId };
    }
    const server = this.#turnAddress(turn);
    if (this.#options.role !== "connector" && (server?.family !== 6 || hasAddress(this.#options.sockets, 4)))
      return null;
    const socket = server && this.#socketOf(server.family);
    return server && socket && { kind: "udp", server, socket: socket.id };
  }

  /** An unspecified IP stands for the one that the signaling connection goes to. */
  #turnAddress(turn: TurnServer): SocketAddress | null {
    return isWildcard(turn.address) ? (this.#link.remote?.withPort(turn.address.port) ?? null) : turn.address;
  }

  #socketOf(family: 4 | 6): BoundSocket | null {
    return this.#options.sockets.find((socket) => socket.address.family === family) ?? null;
  }
}

function stoppedCode(code: string): SessionErrorCode {
  return code === "not-allowed" || code === "unsupported-version" ? code : "closed";
}
