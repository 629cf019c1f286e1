/**
 * The signaling service: the signaling spoken with each client that came in, and the rendezvous between them. A driver component
 * without a socket of its own.
 */

import type { TLSSocket } from "node:tls";
import {
  Counters,
  type Deadline,
  earliest,
  type IpFamily,
  type Logger,
  type Millis,
  nullLogger,
  type Random,
  type SocketAddress,
  type Transmit,
} from "@adit/core";
import type { Identity } from "@adit/quic";
import { SignalingServerConnection, type SignalingServerEvent } from "@adit/signaling";
import type { DriverComponent } from "@adit/transport";
import type { AccessPolicy } from "./access-policy.ts";
import { Accounts } from "./accounts.ts";
import { ClientTable } from "./client-table.ts";
import type { Credentials } from "./credentials.ts";
import { Entrance, type EntranceDrop } from "./entrance.ts";
import type { FormerClient } from "./former-clients.ts";
import { IpLimits } from "./ip-limits.ts";
import type { NameStore } from "./names/name-store.ts";
import { Rendezvous } from "./rendezvous.ts";
import type { SignalingClientConnection } from "./signaling-client.ts";
import type { BoundUdp } from "./stun-listeners.ts";

/** Application close codes: for a client that we failed to serve, and for one that held too much. */
const INTERNAL_ERROR = 2;
const TOO_SLOW = 3;

export interface SignalingServerOptions {
  readonly identity: Identity;
  /** Those that clients talk to; at least one. */
  readonly sockets: readonly BoundUdp[];
  /** `--allow`. */
  admit(peerId: string): boolean;
  readonly credentials: Credentials;
  /** What Welcome says to clients of that family: the unspecified IP stands for the one that the client talks to. */
  turnAddress(family: IpFamily): SocketAddress;
  /** Whom a key may exchange relayed packets with has changed. */
  onSessionsChanged(): void;
  readonly names?: NameStore | undefined;
  readonly policy?: (() => AccessPolicy) | undefined;
  readonly accounts?: Accounts | undefined;
  /** 32 secret bytes that outlive the process: with them a restart is told to former clients (RFC 9000 §10.3). */
  readonly resetKey?: Uint8Array | undefined;
  /** What clients may hold that read or speak slowly, in all; a bound of its own unless given. */
  readonly maxHeldBytes?: number | undefined;
  /** There is work: the driver is to take a turn. */
  wake(): void;
  readonly random: Random;
  readonly log?: Logger;
}

/** Clients that were turned away before they could say anything; and those that had to make room. */
export type SignalingDrop = EntranceDrop | "slow-client";

export class SignalingServer implements DriverComponent {
  readonly rendezvous: Rendezvous;
  readonly entrance: Entrance;
  readonly drops = new Counters<SignalingDrop>();
  readonly #options: SignalingServerOptions;
  readonly #log: Logger;
  readonly #clients: ClientTable;
  readonly #accounts: Accounts;
  #draining = false;
  /** The latest time that the driver told. */
  #now: Millis = 0;

  constructor(options: SignalingServerOptions) {
    const { identity, random, log = nullLogger, names, policy, resetKey } = options;
    this.#options = options;
    this.#accounts = options.accounts ?? new Accounts();
    const ipLimits = new IpLimits(() => this.#accounts.limits);
    this.#clients = new ClientTable(options.maxHeldBytes);
    this.#log = log;
    this.entrance = new Entrance({
      identity,
      sockets: options.sockets,
      limits: () => this.#accounts.limits,
      ipLimits,
      resetKey,
      random,
      log,
      drops: this.drops,
      onClient: (client) => this.#clients.add(client),
      onPacket: (connection) => {
        const client = this.#clients.of(connection);
        if (client) this.#clients.touch(client);
      },
      onWork: (client) => this.#touch(client),
      makeRoom: (now) => this.#giveUpOldest(now),
    });
    this.rendezvous = new Rendezvous({
      onSessionsChanged: () => options.onSessionsChanged(),
      names,
      policy,
      accounts: this.#accounts,
      ipLimits,
      log,
    });
  }

  /** What is kept for clients that read or speak slowly. */
  get heldBytes(): number {
    return this.#clients.heldBytes;
  }

  get clientCount(): number {
    return this.#clients.size;
  }

  /** A client whose TLS handshake is over. What its certificate says is looked at here. */
  handleTls(socket: TLSSocket, from: SocketAddress): void {
    const client = this.entrance.handleTls(socket, from);
    if (client) this.#touch(client);
  }

  handleTimeout(now: Millis): void {
    this.rendezvous.handleTimeout(now);
    this.entrance.handleTimeout(now);
    for (const client of this.#clients.takeDue(now)) this.#timeout(now, client);
  }

  pollTimeout(): Deadline | null {
    const sessions = this.rendezvous.pollTimeout();
    return earliest(earliest(sessions, this.entrance.pollTimeout()), this.#clients.pollTimeout());
  }

  /** Works until no client has anything left to be done but sending. */
  drain(now: Millis): void {
    this.#now = now;
    for (let dirty = this.#clients.takeTouched(); dirty.size > 0; dirty = this.#clients.takeTouched()) {
      for (const client of dirty) this.#guard(client, () => this.#pump(now, client));
      this.#deliver(now);
      for (const client of dirty) this.#guard(client, () => this.#settle(now, client));
      for (const client of this.#clients.takeExcess()) this.#cut(now, client);
    }
  }

  pollTransmit(): Transmit | null {
    const loose = this.entrance.pollTransmit();
    return loose ?? this.#clients.pollTransmit(this.#now, (quic) => this.entrance.transmit(quic));
  }

  /** Who could be told of a crash. */
  *clients(): Iterable<FormerClient> {
    for (const client of this.#clients.all()) {
      const former = client.signaling && this.entrance.former(client, client.signaling.observed);
      if (former) yield former;
    }
  }

  /** Clients of a former life of this program, which ended without a word: they are told, some hundreds a second. */
  tellFormer(now: Millis, clients: readonly FormerClient[]): void {
    this.entrance.tellFormer(now, clients);
    this.#options.wake();
  }

  /** Names were released or transferred by an operator. */
  handleNamesChanged(now: Millis): void {
    this.rendezvous.handleNamesChanged();
    this.#deliver(now);
    this.#options.wake();
  }

  /**
   * Takes no new clients, registrations or sessions, and tells the clients to go. Their sessions stay known, so that the relay goes on
   * serving them.
   */
  beginDrain(now: Millis): void {
    if (this.#draining) return;
    this.#draining = true;
    this.entrance.close();
    this.rendezvous.drain();
    this.shutdown(now);
  }

  /** Tells every client that this program ends. */
  shutdown(now: Millis): void {
    for (const client of this.#clients.all()) {
      if (client.signaling) client.signaling.goodbye("shutdown");
      else client.carrier.abort(0, "shutdown");
      this.#touch(client);
    }
    this.drain(now);
  }

  #touch(client: SignalingClientConnection): void {
    this.#clients.touch(client);
    this.#options.wake();
  }

  #timeout(now: Millis, client: SignalingClientConnection): void {
    client.carrier.handleTimeout(now);
    client.signaling?.handleTimeout(now);
    if (client.renewAt !== null && client.renewAt <= now) this.#renew(now, client);
    this.#clients.touch(client);
  }

  /** Takes what the carrier and signaling have to say. */
  #pump(now: Millis, client: SignalingClientConnection): void {
    const { carrier } = client;
    for (let event = carrier.pollEvent(); event; event = carrier.pollEvent()) {
      switch (event.type) {
        case "established":
          this.#establish(now, client, event.peerId);
          break;
        case "moved":
          client.signaling?.setObserved(event.to);
          this.rendezvous.handleObserved(client.id, event.to);
          break;
        case "closed":
          client.read(now); // what came before the close counts, a Goodbye above all
          this.#pumpSignaling(now, client);
          return this.#lose(now, client, event.reason);
      }
    }
    client.read(now);
    this.#pumpSignaling(now, client);
  }

  #establish(now: Millis, client: SignalingClientConnection, peerId: string): void {
    this.#clients.endHandshake(client);
    this.entrance.established(now, client);
    const observed = this.#observedOf(client);
    const admitted = this.#options.admit(peerId);
    client.open(
      new SignalingServerConnection({
        now,
        peerId,
        observed,
        welcome: { peerId: this.#options.identity.peerId, turn: admitted ? this.#turnFor(now, client, peerId) : null },
        random: this.#options.random,
        log: this.#log,
      }),
    );
    this.#log.debug("client-connected", { peerId, address: observed.key });
    if (admitted) return;
    this.#log.info("client-refused", { peerId, address: observed.key });
    client.signaling?.refuse("not-allowed", "this intermediate does not list your key (its option --allow)");
  }

  #pumpSignaling(now: Millis, client: SignalingClientConnection): void {
    const { signaling } = client;
    if (!signaling) return;
    for (let event = signaling.pollEvent(); event; event = signaling.pollEvent()) {
      this.#handleEvent(now, client, signaling.peerId, event);
    }
  }

  #handleEvent(now: Millis, client: SignalingClientConnection, peerId: string, event: SignalingServerEvent): void {
    const { id } = client;
    switch (event.type) {
      case "hello":
        return this.rendezvous.handleHello({
          connection: id,
          peerId,
          role: event.role,
          observed: this.#observedOf(client),
        });
      case "message":
        if (this.#accounts.of(`peer:${peerId}`).takeMessage(now)) {
          return this.rendezvous.handleMessage(now, id, event.message);
        }
        return client.signaling?.refuse("too-many", "your key sends too many messages");
      case "rtt":
        return this.rendezvous.handleRtt(id, event.rttMs);
      case "close":
        this.#log.debug("client-closed", { peerId, code: event.code, reason: event.reason });
        this.rendezvous.handleClosed(now, id, event.code === "goodbye" ? "goodbye" : "broken");
        return client.beginClose(now, event.reason);
    }
  }

  /** Passes on what the rendezvous wants said. */
  #deliver(now: Millis): void {
    for (let output = this.rendezvous.pollOutput(); output; output = this.rendezvous.pollOutput()) {
      const client = this.#clients.get(output.connection);
      const signaling = client?.signaling;
      if (!client || !signaling) continue;
      this.#guard(client, () => {
        if (output.type === "replaced") signaling.goodbye("replaced");
        else signaling.send(output.message);
        this.#pumpSignaling(now, client);
      });
      this.#clients.touch(client);
    }
  }

  #settle(now: Millis, client: SignalingClientConnection): void {
    client.write(now);
    if (client.carrier.isGone) this.#forget(client);
    else this.#clients.settle(client);
  }

  /** There are as many handshakes as may be, and somebody new has proved his address. */
  #giveUpOldest(now: Millis): boolean {
    const oldest = this.#clients.oldestHandshake;
    if (!oldest) return false;
    this.drops.add("handshakes");
    oldest.carrier.abort(TOO_SLOW, "the handshake took too long, and others wait");
    this.#lose(now, oldest, "too many handshakes");
    this.#touch(oldest);
    return true;
  }

  /** Others need the room. It is not told so: it does not read. */
  #cut(now: Millis, client: SignalingClientConnection): void {
    this.drops.add("slow-client");
    this.#log.info("client-cut", { peerId: client.signaling?.peerId ?? null, address: client.origin.key });
    client.carrier.abort(TOO_SLOW, "too slow");
    // Not when the carrier says that it is closed: until then it would hold what it held.
    this.#lose(now, client, "too slow");
    this.#touch(client);
  }

  /** A bulkhead: should one client find a bug of ours, the others do not pay for it. */
  #guard(client: SignalingClientConnection, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#log.error("client-failed", { peerId: client.signaling?.peerId ?? null, error: String(error) });
      client.carrier.abort(INTERNAL_ERROR, "internal error");
      this.#clients.touch(client);
    }
  }

  /** Where packets to the client go now. */
  #observedOf({ signaling, carrier }: SignalingClientConnection): SocketAddress {
    return signaling?.observed ?? carrier.remote;
  }

  #turnFor(now: Millis, client: SignalingClientConnection, peerId: string) {
    const { username, password, realm, expiresInS } = this.#options.credentials.issue(peerId);
    client.renewAt = now + (expiresInS * 1000) / 2;
    return { address: this.#options.turnAddress(client.origin.family), username, password, realm, expiresInS };
  }

  #renew(now: Millis, client: SignalingClientConnection): void {
    const { signaling } = client;
    if (signaling) signaling.renewTurn(this.#turnFor(now, client, signaling.peerId));
    else client.renewAt = null;
  }

  /** The connection is over: nothing is said any more, but the client stays in the tables until QUIC has drained. */
  #lose(now: Millis, client: SignalingClientConnection, reason: string): void {
    if (client.isHandshaking) this.entrance.failed(client);
    this.#clients.endHandshake(client);
    if (client.signaling) this.#log.debug("client-lost", { peerId: client.signaling.peerId, reason });
    client.handleCarrierClosed();
    this.rendezvous.handleClosed(now, client.id, "broken");
  }

  #forget(client: SignalingClientConnection): void {
    this.#clients.forget(client);
    this.entrance.gone(client);
  }
}
