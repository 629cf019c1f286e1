/** A scripted TURN server and a virtual wire, for tests of the client: it keeps the rules of RFC 8656 unless a test tells it otherwise. */
import { type Millis, SocketAddress, seededRandom } from "@adit/core";
import {
  getBytes,
  getChannelNumber,
  getNonce,
  getU32,
  getUsername,
  getXorAddress,
  hasAttribute,
} from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import { longTermKey, verifyIntegrity } from "../src/stun/integrity.ts";
import { decodeStun, type StunMessage } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../src/stun/tables.ts";
import { channelNumberOf, channelPayload, isChannelData, wrapChannelData } from "../src/turn/channel-data.ts";
import { TurnClient } from "../src/turn/client.ts";
import type { TurnEvent } from "../src/turn/events.ts";
import type { TurnClientOptions } from "../src/turn/options.ts";

export const RELAY = SocketAddress.of("192.0.2.1", 3478);
export const MAPPED = SocketAddress.of("203.0.113.7", 40_111);
export const REALM = "adit";

/** What the server does with a request instead of what is right. */
export type Script =
  | "drop"
  | { readonly error: number; readonly signed?: boolean; readonly alternate?: SocketAddress }
  /** Answers with these bytes, made from what would be right. */
  | { readonly tamper: (answer: Uint8Array, request: StunMessage) => readonly Uint8Array[] };

export interface Allocation {
  readonly username: string;
  readonly relayed: SocketAddress;
  expiresAt: Millis;
  /** When each permission runs out, by IP. */
  readonly permissions: Map<string, Millis>;
  readonly channels: Map<number, { readonly peer: SocketAddress; expiresAt: Millis }>;
}

interface Seen {
  readonly at: Millis;
  readonly method: number;
  readonly signed: boolean;
  readonly message: StunMessage;
}

export class FakeTurnServer {
  readonly users = new Map([["user", "pass"]]);
  nonce = "nonce-1";
  lifetimeS = 600;
  /** Consulted for each request; null is what is right. */
  script: (request: StunMessage, now: Millis) => Script | null = () => null;
  /** Accepts any known user for an allocation, not only the one that made it. */
  lenient = false;
  allocation: Allocation | null = null;
  /** Granted to who asks for both families; null: there is no other. */
  additional: SocketAddress | null = null;
  readonly seen: Seen[] = [];
  /** What came to the relayed side: the peer's view. */
  readonly relayed: { readonly peer: SocketAddress; readonly data: Uint8Array; readonly channel: boolean }[] = [];
  #nextPort = 50_000;

  requests(method: number): Seen[] {
    return this.seen.filter((seen) => seen.method === method && seen.message.class === "request");
  }

  handle(now: Millis, data: Uint8Array): readonly Uint8Array[] {
    const allocation = this.#current(now);
    if (isChannelData(data)) {
      const binding = allocation?.channels.get(channelNumberOf(data));
      if (binding) this.relayed.push({ peer: binding.peer, data: channelPayload(data).slice(), channel: true });
      return [];
    }
    const request = decodeStun(data);
    if (!request) throw new Error("the client sent something that is not STUN");
    const signed = request.integrityOffset >= 0;
    this.seen.push({ at: now, method: request.method, signed, message: request });
    if (request.class === "indication") {
      this.#relayIndication(allocation, request);
      return [];
    }
    const script = this.script(request, now);
    if (script === "drop") return [];
    if (script && "error" in script) return [this.#scriptedError(request, script)];
    const answer = this.#answer(now, request);
    return script ? script.tamper(answer, request) : [answer];
  }

  /** A datagram for the client as a peer's data makes it; null when there is no permission. */
  fromPeer(now: Millis, peer: SocketAddress, data: Uint8Array): Uint8Array | null {
    const allocation = this.#current(now);
    if (!allocation || (allocation.permissions.get(peer.ip) ?? 0) <= now) return null;
    for (const [number, binding] of allocation.channels) {
      if (binding.peer.equals(peer) && binding.expiresAt > now) return wrapChannelData(number, data);
    }
    return dataIndication(peer, data);
  }

  /** The server's memory of the client goes: a restart. */
  forget(): void {
    this.allocation = null;
  }

  key(username: string): Uint8Array {
    return longTermKey(username, REALM, this.users.get(username) ?? "");
  }

  #current(now: Millis): Allocation | null {
    if (this.allocation && this.allocation.expiresAt <= now) this.allocation = null;
    return this.allocation;
  }

  #relayIndication(allocation: Allocation | null, message: StunMessage): void {
    if (message.method !== STUN_METHOD.SEND || !allocation) return;
    const peer = getXorAddress(message, STUN_ATTRIBUTE.XOR_PEER_ADDRESS);
    const data = getBytes(message, STUN_ATTRIBUTE.DATA);
    if (peer && data && allocation.permissions.has(peer.ip)) {
      this.relayed.push({ peer, data: data.slice(), channel: false });
    }
  }

  #answer(now: Millis, request: StunMessage): Uint8Array {
    if (request.integrityOffset < 0) return this.#challenge(request, 401);
    const username = getUsername(request) ?? "";
    if (!this.users.has(username) || !verifyIntegrity(request, this.key(username)))
      return this.#challenge(request, 401);
    if (getNonce(request) !== this.nonce) return this.#challenge(request, 438);
    const fail = (code: number) =>
      builder("error", request)
        .errorCode(code)
        .build({ key: this.key(username) });
    if (request.method === STUN_METHOD.ALLOCATE) return this.#allocate(now, request, username, fail);
    const allocation = this.#current(now);
    if (!allocation) return fail(437);
    if (allocation.username !== username && !this.lenient) return fail(441);
    const success = builder("success", request);
    const peer = getXorAddress(request, STUN_ATTRIBUTE.XOR_PEER_ADDRESS);
    switch (request.method) {
      case STUN_METHOD.REFRESH: {
        const lifetimeS = getU32(request, STUN_ATTRIBUTE.LIFETIME) === 0 ? 0 : this.lifetimeS;
        allocation.expiresAt = now + lifetimeS * 1000;
        if (lifetimeS === 0) this.allocation = null;
        success.u32(STUN_ATTRIBUTE.LIFETIME, lifetimeS);
        break;
      }
      case STUN_METHOD.CREATE_PERMISSION:
        if (!peer) return fail(400);
        allocation.permissions.set(peer.ip, now + 300_000);
        break;
      case STUN_METHOD.CHANNEL_BIND: {
        const number = getChannelNumber(request);
        if (!peer || number === null) return fail(400);
        const bound = allocation.channels.get(number);
        if (bound && !bound.peer.equals(peer)) return fail(400);
        allocation.channels.set(number, { peer, expiresAt: now + 600_000 });
        allocation.permissions.set(peer.ip, now + 300_000);
        break;
      }
      default:
        return fail(400);
    }
    return success.build({ key: this.key(username) });
  }

  #allocate(now: Millis, request: StunMessage, username: string, fail: (code: number) => Uint8Array): Uint8Array {
    if (!hasAttribute(request, STUN_ATTRIBUTE.REQUESTED_TRANSPORT)) return fail(400);
    if (this.#current(now)) return fail(437);
    const relayed = RELAY.withPort(this.#nextPort++);
    const more = hasAttribute(request, STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY) ? this.additional : null;
    const expiresAt = now + this.lifetimeS * 1000;
    this.allocation = { username, relayed, expiresAt, permissions: new Map(), channels: new Map() };
    const answer = builder("success", request).xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, relayed);
    if (more) answer.xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, more);
    return answer
      .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, MAPPED)
      .u32(STUN_ATTRIBUTE.LIFETIME, this.lifetimeS)
      .build({ key: this.key(username) });
  }

  #challenge(request: StunMessage, code: number): Uint8Array {
    return builder("error", request)
      .errorCode(code)
      .string(STUN_ATTRIBUTE.REALM, REALM)
      .string(STUN_ATTRIBUTE.NONCE, this.nonce)
      .build();
  }

  #scriptedError(
    request: StunMessage,
    script: { error: number; signed?: boolean; alternate?: SocketAddress },
  ): Uint8Array {
    if (script.error === 401 || script.error === 438) return this.#challenge(request, script.error);
    const answer = builder("error", request).errorCode(script.error);
    if (script.alternate) answer.address(STUN_ATTRIBUTE.ALTERNATE_SERVER, script.alternate);
    return answer.build({ key: script.signed === false ? null : this.key(getUsername(request) ?? "") });
  }
}

const builder = (messageClass: "success" | "error", request: StunMessage): StunBuilder =>
  new StunBuilder(messageClass, request.method, request.transactionId);

export function dataIndication(peer: SocketAddress, data: Uint8Array): Uint8Array {
  return new StunBuilder("indication", STUN_METHOD.DATA, new Uint8Array(12).fill(1))
    .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, peer)
    .add(STUN_ATTRIBUTE.DATA, data)
    .build();
}

/** A client and a server with a wire between them, on virtual time that begins at 0. */
export class TurnWorld {
  readonly server = new FakeTurnServer();
  readonly client: TurnClient;
  now: Millis = 0;
  /** One way, ms. */
  latencyMs = 0;
  /** The wire is cut. */
  cut = false;
  /** Asked for each datagram, whichever way it goes. */
  loses = (): boolean => false;
  readonly events: { readonly at: Millis; readonly event: TurnEvent }[] = [];
  /** Where the client sent anything. */
  readonly sentTo = new Set<string>();
  readonly #wire: { readonly at: Millis; readonly deliver: () => void }[] = [];

  constructor(options: Partial<TurnClientOptions> = {}) {
    this.client = new TurnClient({
      server: RELAY,
      socket: 0,
      relaySocket: 1000,
      username: "user",
      password: "pass",
      random: seededRandom(7),
      ...options,
    });
  }

  /** A world where the client is allocated, and its events so far are forgotten. */
  static allocated(options: Partial<TurnClientOptions> = {}): TurnWorld {
    const world = new TurnWorld(options);
    world.client.start(0);
    world.run(10);
    if (world.client.state !== "allocated") throw new Error(`the client is ${world.client.state}`);
    world.events.length = 0;
    return world;
  }

  /** The kinds of events so far. */
  get kinds(): string[] {
    return this.events.map(({ event }) => event.type);
  }

  /** Until `until`, doing each thing when it is due. Fails when the client asks to be woken for nothing. */
  run(until: Millis): void {
    this.#drain();
    for (let idle = 0; ; ) {
      const wire = this.#wire[0]?.at ?? Number.POSITIVE_INFINITY;
      const timeout = this.client.pollTimeout()?.at ?? Number.POSITIVE_INFINITY;
      const next = Math.min(wire, timeout);
      if (next > until) break;
      idle = next > this.now ? 0 : idle + 1;
      if (idle > 1000) throw new Error(`the client spins at ${this.now}: ${this.client.pollTimeout()?.reason}`);
      this.now = Math.max(this.now, next);
      if (wire <= timeout) this.#wire.shift()?.deliver();
      else this.client.handleTimeout(this.now);
      this.#drain();
    }
    this.now = until;
  }

  /** What the client makes of data from a peer, as the server sends it now. */
  peerSends(peer: SocketAddress, data: Uint8Array): { peer: SocketAddress; data: Uint8Array } | null {
    const datagram = this.server.fromPeer(this.now, peer, data);
    return datagram && this.client.handleDatagram(this.now, datagram);
  }

  /** The client's data on its way to a peer. */
  clientSends(peer: SocketAddress, data: Uint8Array): void {
    this.server.handle(this.now, this.client.send(peer, data));
  }

  #drain(): void {
    for (let sent = this.client.pollTransmit(); sent; sent = this.client.pollTransmit()) {
      this.sentTo.add(sent.to.key);
      if (!sent.to.equals(this.client.server) || sent.socket !== 0)
        throw new Error(`sent to ${sent.to} from ${sent.socket}`);
      if (!this.cut) this.#post(() => this.#serve(sent.data));
    }
    for (let event = this.client.pollEvent(); event; event = this.client.pollEvent()) {
      this.events.push({ at: this.now, event });
    }
  }

  #serve(data: Uint8Array): void {
    for (const answer of this.server.handle(this.now, data)) {
      if (!this.cut) this.#post(() => this.client.handleDatagram(this.now, answer));
    }
  }

  #post(deliver: () => void): void {
    if (this.loses()) return;
    this.#wire.push({ at: this.now + this.latencyMs, deliver });
  }
}
