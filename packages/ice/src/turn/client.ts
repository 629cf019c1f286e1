import {
  Counters,
  type Deadline,
  earliest,
  type Logger,
  type Millis,
  nullLogger,
  type Random,
  SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import { getBytes, getXorAddress, getXorAddresses } from "../stun/attributes.ts";
import { StunBuilder } from "../stun/builder.ts";
import type { LongTermCredentials } from "../stun/long-term.ts";
import { decodeStun, type StunMessage } from "../stun/message.ts";
import { ServerTimeouts } from "../stun/server-timeouts.ts";
import { STUN_ATTRIBUTE, STUN_ERROR, STUN_METHOD } from "../stun/tables.ts";
import { channelNumberOf, channelPayload, isChannelData, wrapChannelData } from "./channel-data.ts";
import { retryAfterMs, type TurnDrop, type TurnEvent, type TurnState } from "./events.ts";
import { Leases, type LeaseVerdict } from "./leases.ts";
import { grantedLifetime } from "./lifetime.ts";
import { checkedCredentials, type RelayedData, type RelayFamily, type TurnClientOptions } from "./options.ts";
import { isCredentialError, type TurnOutcome, TurnRequests } from "./requests.ts";

type State =
  | { readonly is: "idle" }
  /** `clearings`: how often an old allocation in the way was asked to be deleted. */
  | { readonly is: "allocating"; readonly clearings: number }
  | {
      readonly is: "allocated";
      readonly relayed: SocketAddress;
      readonly additional: SocketAddress | null;
      readonly mapped: SocketAddress | null;
      expiresAt: Millis;
      /** Infinite while a Refresh is under way. */
      refreshAt: Millis;
      /** The last Refresh was refused for who we are; other credentials will try at once. */
      credentialsRefused: boolean;
      keepaliveAt: Millis;
    }
  | { readonly is: "failed" }
  | { readonly is: "closed" };

/** A Refresh that was refused for another reason than a lost allocation is tried again after this, until the allocation runs out. */
const REFRESH_RETRY_MS = 10_000;

/** A Binding indication this often keeps the NAT's mapping towards the relay, which may last 30 s only. */
const KEEPALIVE_MIN_MS = 15_000;
const KEEPALIVE_MAX_MS = 20_000;

/** A probe is answered by a request that was sent this recently. */
const PROBE_QUIET_MS = 200;

/** An old allocation of the same 5-tuple is asked to be deleted this often before an Allocate gives up with 437. */
const MAX_CLEARINGS = 2;

/** Events wait for {@link TurnClient.pollEvent}; past this many the oldest are lost. More than all leases can cause at once. */
const MAX_EVENTS = 4096;

/**
 * A TURN client (RFC 8656) for one UDP socket and one relay; its allocation serves all sessions. Sans-IO.
 *
 * Permissions and channels are wishes: they are kept refreshed until removed, and asked for again from a new allocation.
 */
export class TurnClient {
  /** The socket that the relay is asked from. */
  readonly socket: SocketId;
  /** The number under which the allocation acts as a socket. */
  readonly relaySocket: SocketId;
  /** What came from the relay's address and was of no use. */
  readonly dropped: Counters<TurnDrop> = new Counters();
  #server: SocketAddress;
  /** A 300 is followed once: two servers that point at each other are not our problem. */
  #mayFollow: boolean;
  readonly #family: RelayFamily | null;
  readonly #random: Random;
  readonly #log: Logger;
  readonly #requests: TurnRequests;
  readonly #leases: Leases;
  readonly #events: TurnEvent[] = [];
  #keepaliveDue = false;
  #state: State = { is: "idle" };
  /** The latest time that anyone told us. */
  #now: Millis = 0;
  /** Undefined: to be worked out again. */
  #deadline: Deadline | null | undefined;

  /** @throws StunError when the user name is longer than 508 bytes. */
  constructor(o: TurnClientOptions) {
    this.#server = o.server;
    this.socket = o.socket;
    this.relaySocket = o.relaySocket;
    this.#family = o.family ?? null;
    this.#random = o.random;
    this.#log = o.log ?? nullLogger;
    const credentials = checkedCredentials({ username: o.username, password: o.password });
    const reliable = (o.transport ?? "udp") !== "udp";
    const { random, realm = null } = o;
    // Over a stream the connection is somebody else's, who gets the failure and makes another.
    this.#mayFollow = (o.followAlternate ?? false) && !reliable;
    const timeouts = o.timeouts ?? new ServerTimeouts();
    const { dropped } = this;
    this.#requests = new TurnRequests({
      credentials,
      realm,
      random,
      reliable,
      serverIp: o.server.ip,
      timeouts,
      dropped,
    });
    this.#leases = new Leases(this.#requests, (event) => this.#emit(event));
  }

  /** The relay: the one that was given, or the alternate that it sent us to. */
  get server(): SocketAddress {
    return this.#server;
  }

  /** Where it stands; `failed` until {@link start} is called again. */
  get state(): TurnState {
    return this.#state.is;
  }

  /** Null unless allocated. */
  get relayedAddress(): SocketAddress | null {
    return this.#state.is === "allocated" ? this.#state.relayed : null;
  }

  /** The relayed address of the other family; null unless allocated with both. */
  get additionalAddress(): SocketAddress | null {
    return this.#state.is === "allocated" ? this.#state.additional : null;
  }

  /** Our address as the relay sees it; null unless allocated. */
  get mappedAddress(): SocketAddress | null {
    return this.#state.is === "allocated" ? this.#state.mapped : null;
  }

  /** Whether the relay holds a permission for this IP address at the moment. */
  hasPermission(ip: string): boolean {
    return this.#leases.hasPermission(canonicalIp(ip));
  }

  /** The number under which data to the peer can be sent as ChannelData; null until the binding is confirmed. */
  channelOf(peer: SocketAddress): number | null {
    return this.#leases.channelOf(peer);
  }

  /** Asks for an allocation; nothing happens when there is one, or one is asked for, or the client is closed. */
  start(now: Millis): void {
    this.#touch(now);
    if (this.#state.is !== "idle" && this.#state.is !== "failed") return;
    this.#state = { is: "allocating", clearings: 0 };
    this.#requests.start(now, { kind: "allocate", family: this.#family });
  }

  /** Gives the allocation back (Refresh with lifetime 0, retransmitted for 2.5 s at most if the client goes on being driven). Final. */
  close(now: Millis): void {
    this.#touch(now);
    const release = this.#state.is === "allocated" || (this.#state.is === "allocating" && this.#requests.challenged);
    if (this.#state.is === "closed") return;
    this.#state = { is: "closed" };
    this.#requests.clear();
    this.#leases.clear();
    this.#keepaliveDue = false;
    if (release) this.#requests.start(now, { kind: "release", thenAllocate: false });
  }

  /**
   * New credentials. An allocation stays with the user name that made it until the relay refuses that; then, and for the next
   * allocation, these count.
   * @throws StunError when the user name is longer than 508 bytes.
   */
  setCredentials(now: Millis, credentials: LongTermCredentials): void {
    this.#touch(now);
    this.#requests.setCredentials(checkedCredentials(credentials));
    if (this.#state.is !== "allocated") return;
    if (this.#state.credentialsRefused) this.#state.refreshAt = Math.min(this.#state.refreshAt, now);
    this.#leases.hurry(now);
  }

  /**
   * Lets an IP address reach us through the relay, from the "permission" event on until {@link removePermission}. One that was
   * refused is asked for again.
   * @throws AddressError when `ip` is not an IP address.
   */
  addPermission(now: Millis, ip: string): void {
    this.#touch(now);
    if (this.#state.is === "closed") return;
    this.#leases.addPermission(now, canonicalIp(ip));
    this.#pump(now);
  }

  /** What comes from this address is dropped from now on; the relay itself forgets it within 5 minutes. Its channels go too. */
  removePermission(ip: string): void {
    this.#touch(this.#now);
    this.#leases.removePermission(this.#now, canonicalIp(ip));
  }

  /** Binds a channel to a peer, which spares 32 bytes and work per datagram; includes the permission. */
  bindChannel(now: Millis, peer: SocketAddress): void {
    this.#touch(now);
    if (this.#state.is === "closed") return;
    this.#leases.addChannel(now, peer);
    this.#pump(now);
  }

  /** The channel is no longer refreshed or used; the permission stays. */
  removeChannel(now: Millis, peer: SocketAddress): void {
    this.#touch(now);
    this.#leases.removeChannel(now, peer);
  }

  /** The datagram that carries `data` to `peer`, to be sent to {@link server} from {@link socket}: ChannelData, or a Send indication. */
  send(peer: SocketAddress, data: Uint8Array): Uint8Array {
    const channel = this.channelOf(peer);
    if (channel !== null) return wrapChannelData(channel, data);
    const id = this.#random.bytes(12);
    // Header 20, address 24 at most, attribute header 4, padding 3 at most.
    return new StunBuilder("indication", STUN_METHOD.SEND, id, data.length + 51)
      .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, peer)
      .add(STUN_ATTRIBUTE.DATA, data)
      .build();
  }

  /** Asks at once, with a Refresh, whether the allocation still stands. */
  probe(now: Millis): void {
    this.#touch(now);
    if (this.#state.is !== "allocated") return;
    if (this.#requests.inFlight("refresh") > 0) this.#requests.hurry(now, "refresh", PROBE_QUIET_MS);
    else this.#refresh(now, this.#state);
  }

  /** A datagram from the relay's address; null when it was for us, or dropped. */
  handleDatagram(now: Millis, data: Uint8Array): RelayedData | null {
    this.#now = now;
    if (isChannelData(data)) return this.#handleChannelData(data);
    const message = decodeStun(data);
    if (!message) return this.#drop("malformed");
    if (message.class === "indication" && message.method === STUN_METHOD.DATA)
      return this.#handleDataIndication(message);
    if (message.class !== "success" && message.class !== "error") return this.#drop("unexpected");
    this.#touch(now);
    const outcome = this.#requests.handleResponse(now, message);
    if (outcome) this.#conclude(now, outcome);
    this.#pump(now);
    return null;
  }

  /** Does what is due; to be called when {@link pollTimeout} says, or any time. */
  handleTimeout(now: Millis): void {
    this.#touch(now);
    for (const outcome of this.#requests.handleTimeout(now)) this.#conclude(now, outcome);
    const state = this.#state;
    if (state.is !== "allocated") return;
    if (now >= state.expiresAt) return this.#lose(now, "it ran out");
    if (now >= state.refreshAt) this.#refresh(now, state);
    if (now >= state.keepaliveAt) {
      this.#keepaliveDue = true;
      state.keepaliveAt = now + this.#keepaliveInterval();
    }
    this.#leases.pump(now);
  }

  /** When {@link handleTimeout} is to be called, and why; null: not before something else happens. */
  pollTimeout(): Deadline | null {
    if (this.#deadline === undefined) this.#deadline = this.#nextDeadline();
    return this.#deadline;
  }

  /** The next datagram to the relay; null when there is none. */
  pollTransmit(): Transmit | null {
    let data = this.#requests.pollTransmit();
    if (!data && this.#keepaliveDue) {
      this.#keepaliveDue = false;
      data = new StunBuilder("indication", STUN_METHOD.BINDING, this.#random.bytes(12)).build();
    }
    return data && { data, socket: this.socket, to: this.server };
  }

  /** What happened next; null when nothing more did. */
  pollEvent(): TurnEvent | null {
    return this.#events.shift() ?? null;
  }

  #handleChannelData(data: Uint8Array): RelayedData | null {
    if (this.#state.is !== "allocated") return this.#drop("not-allocated");
    const peer = this.#leases.peerOf(channelNumberOf(data));
    return peer ? { peer, data: channelPayload(data) } : this.#drop("unknown-channel");
  }

  /** RFC 8656 §11.4: not authenticated, so it must at least come from a peer that we let in. */
  #handleDataIndication(message: StunMessage): RelayedData | null {
    if (this.#state.is !== "allocated") return this.#drop("not-allocated");
    const peer = getXorAddress(message, STUN_ATTRIBUTE.XOR_PEER_ADDRESS);
    const data = getBytes(message, STUN_ATTRIBUTE.DATA);
    if (!peer || !data) return this.#drop("malformed");
    return this.#leases.wantsPermission(peer.ip) ? { peer, data } : this.#drop("no-permission");
  }

  #conclude(now: Millis, outcome: TurnOutcome): void {
    const { operation } = outcome;
    switch (operation.kind) {
      case "allocate":
        return this.#concludeAllocate(now, outcome);
      case "refresh":
        return this.#concludeRefresh(now, outcome);
      case "release":
        if (operation.thenAllocate && this.#state.is === "allocating") {
          this.#requests.start(now, { kind: "allocate", family: this.#family });
        }
        return;
      case "permission":
        return this.#settle(now, outcome, this.#leases.concludePermission(now, operation, outcome));
      case "channel":
        return this.#settle(now, outcome, this.#leases.concludeChannel(now, operation, outcome));
    }
  }

  #concludeAllocate(now: Millis, outcome: TurnOutcome): void {
    if (this.#state.is !== "allocating") return;
    if (!outcome.ok) {
      const { clearings } = this.#state;
      if (outcome.code === STUN_ERROR.ALLOCATION_MISMATCH && clearings < MAX_CLEARINGS) {
        // An allocation of a former life on this 5-tuple, or of an answer that was lost.
        this.#state = { is: "allocating", clearings: clearings + 1 };
        this.#requests.start(now, { kind: "release", thenAllocate: true });
        return;
      }
      if (this.#follow(now, outcome.code, outcome.alternateServer)) return;
      return this.#fail(outcome.code, outcome.reason, outcome.alternateServer);
    }
    const [relayed, other = null] = getXorAddresses(outcome.response, STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS) ?? [];
    if (!relayed) return this.#fail(null, "the relay granted an allocation without an address", null);
    const mapped = getXorAddress(outcome.response, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS);
    const additional = this.#family === "both" && other?.family !== relayed.family ? other : null;
    const keepaliveAt = now + this.#keepaliveInterval();
    const granted = grantedLifetime(now, outcome.response);
    const state = { is: "allocated", relayed, additional, mapped, credentialsRefused: false, keepaliveAt } as const;
    this.#state = { ...state, ...granted };
    this.#requests.bindCredentials();
    this.#log.info("turn-allocated", { server: this.server, relayed, additional, mapped });
    this.#emit({ type: "allocated", relayed, additional, mapped });
  }

  /** RFC 8489 §10. False when there is nowhere else to go. */
  #follow(now: Millis, code: number | null, alternate: SocketAddress | null): boolean {
    if (code !== STUN_ERROR.TRY_ALTERNATE || !alternate || !this.#mayFollow) return false;
    if (alternate.equals(this.#server) || alternate.family !== this.#server.family || alternate.port === 0)
      return false;
    this.#log.info("turn-redirected", { from: this.#server, to: alternate });
    this.#mayFollow = false;
    this.#server = alternate;
    this.#requests.setServer(alternate.ip);
    this.#state = { is: "allocating", clearings: 0 };
    this.#requests.start(now, { kind: "allocate", family: this.#family });
    return true;
  }

  #concludeRefresh(now: Millis, outcome: TurnOutcome): void {
    const state = this.#state;
    if (state.is !== "allocated") return;
    if (outcome.ok) {
      state.credentialsRefused = false;
      Object.assign(state, grantedLifetime(now, outcome.response)); // none: lost at the next timeout, which is now
    } else if (outcome.code === STUN_ERROR.ALLOCATION_MISMATCH) {
      this.#lose(now, outcome.reason);
    } else {
      // It stands until it runs out: a silent network may come back with it intact.
      state.refreshAt = outcome.code === null ? now : now + REFRESH_RETRY_MS;
      state.credentialsRefused = isCredentialError(outcome.code);
      this.#log.debug("turn-refresh-failed", { code: outcome.code, reason: outcome.reason });
    }
  }

  #settle(now: Millis, outcome: TurnOutcome, verdict: LeaseVerdict): void {
    if (verdict === "lost" && this.#state.is === "allocated") this.#lose(now, outcome.ok ? "" : outcome.reason);
  }

  #refresh(now: Millis, state: State & { is: "allocated" }): void {
    state.refreshAt = Number.POSITIVE_INFINITY;
    this.#requests.start(now, { kind: "refresh" });
  }

  #lose(now: Millis, reason: string): void {
    this.#log.info("turn-lost", { server: this.server, reason });
    this.#emit({ type: "lost", reason });
    this.#requests.clear();
    this.#requests.unbindCredentials();
    this.#leases.reset(now);
    this.#state = { is: "allocating", clearings: 0 };
    this.#requests.start(now, { kind: "allocate", family: this.#family });
  }

  #fail(code: number | null, reason: string, alternateServer: SocketAddress | null): void {
    this.#log.warn("turn-failed", { server: this.server, code, reason });
    this.#state = { is: "failed" };
    this.#emit({ type: "failed", code, reason, retryAfterMs: retryAfterMs(code), alternateServer });
  }

  #nextDeadline(): Deadline | null {
    const requests = this.#requests.pollTimeout();
    const state = this.#state;
    if (state.is !== "allocated") return requests;
    const at = Math.min(state.expiresAt, state.refreshAt, state.keepaliveAt, this.#leases.dueAt());
    return earliest(requests, { at, reason: "turn-refresh" });
  }

  #pump(now: Millis): void {
    if (this.#state.is === "allocated") this.#leases.pump(now);
  }

  #keepaliveInterval(): Millis {
    return KEEPALIVE_MIN_MS + this.#random.float() * (KEEPALIVE_MAX_MS - KEEPALIVE_MIN_MS);
  }

  #touch(now: Millis): void {
    this.#now = now;
    this.#deadline = undefined;
  }

  #emit(event: TurnEvent): void {
    if (this.#events.length >= MAX_EVENTS) this.#events.shift();
    this.#events.push(event);
  }

  #drop(reason: TurnDrop): null {
    this.dropped.add(reason);
    return null;
  }
}

const canonicalIp = (ip: string): string => SocketAddress.of(ip, 0).ip;
