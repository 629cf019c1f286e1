/** Seeded random messages: every type, every optional field both ways, strings and numbers at their bounds now and then. */

import { type Random, randomInt, randomU64, SocketAddress, toBase32 } from "@adit/core";
import { fuzzSeed } from "@adit/harness";
import type { ControlMessage, OpenService, ServiceReply, SignalingMessage, SignalingType } from "../src/index.ts";

const ICE_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const NAME_CHARS = "abcdefghijklmnopqrstuvwxyz0123456789-";
const TEXT_CHARS = ["a", " ", "ü", "穴", "🕳", "\ufeff", "\0", "\n"];

export class Generator {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  #below(bound: number): number {
    return randomInt(this.#random, bound);
  }

  pick<V>(values: readonly V[]): V {
    return values[this.#below(values.length)] as V;
  }

  #chars(alphabet: string | readonly string[], min: number, max: number): string {
    const length = this.pick([min, max, min + this.#below(max - min + 1)]);
    let out = "";
    for (let i = 0; i < length; i++) out += alphabet[this.#below(alphabet.length)];
    return out;
  }

  #maybe<V>(make: () => V): V | null {
    return this.#below(2) === 0 ? null : make();
  }

  #u32 = (): number => this.pick([0, 1, 0xffff_ffff, this.#below(2 ** 32)]);
  #u64 = (): bigint => this.pick([0n, 0xffff_ffff_ffff_ffffn, randomU64(this.#random)]);
  #name = (): string => this.#chars(NAME_CHARS, 1, 40);
  #peerId = (): string => toBase32(this.#random.bytes(32));
  #text = (): string => this.#chars(TEXT_CHARS, 0, 60);
  #printable = (max: number): string => this.#chars(" !~azAZ09:/=+", 1, max);
  #address = (): SocketAddress =>
    SocketAddress.fromBytes(this.#random.bytes(this.pick([4, 16])), this.pick([1, 65_535, 1 + this.#below(65_535)]));

  #candidate = () => ({
    foundation: this.#chars(ICE_CHARS, 1, 32),
    component: 1 as const,
    transport: "udp" as const,
    priority: this.#u32(),
    address: this.#address(),
    type: this.pick(["host", "srflx", "prflx", "relay"] as const),
    related: this.#maybe(this.#address),
  });

  #candidates = () => Array.from({ length: this.pick([0, 1, this.#below(65)]) }, this.#candidate);

  #ice = () => ({
    ufrag: this.#chars(ICE_CHARS, 4, 256),
    pwd: this.#chars(ICE_CHARS, 22, 256),
    options: Array.from({ length: this.#below(9) }, () => this.#chars("abcdez0189+/-_", 1, 32)),
  });

  #turn = () => ({
    address: this.#address(),
    username: this.#printable(256),
    password: this.#printable(256),
    realm: this.#printable(127),
    expiresInS: this.#u32(),
  });

  #path = () => this.pick(["direct", "relay"] as const);
  #bool = () => this.#below(2) === 1;

  readonly #signaling: { readonly [K in SignalingType]: () => Omit<Extract<SignalingMessage, { type: K }>, "type"> } = {
    hello: () => ({
      version: this.#below(65_536),
      agent: this.#printable(64),
      role: this.pick(["agent", "connector"] as const),
    }),
    welcome: () => ({
      version: this.#below(65_536),
      peerId: this.#peerId(),
      observed: this.#address(),
      turn: this.#maybe(this.#turn),
    }),
    register: () => ({ requestId: this.#u64(), name: this.#name() }),
    registered: () => ({ requestId: this.#u64(), name: this.#name() }),
    connect: () => ({
      sessionId: this.#u64(),
      target: this.pick([this.#name, this.#peerId])(),
      expectedPeer: this.#maybe(this.#peerId),
    }),
    connected: () => ({
      sessionId: this.#u64(),
      peerId: this.#peerId(),
      name: this.#maybe(this.#name),
      peerObserved: this.#address(),
    }),
    incoming: () => ({ sessionId: this.#u64(), peerId: this.#peerId(), peerObserved: this.#address() }),
    "candidate-offer": () => ({
      sessionId: this.#u64(),
      serviceId: this.#name(),
      ice: this.#ice(),
      candidates: this.#candidates(),
      ticket: this.#maybe(() => this.#chars("abcdefghijklmnopqrstuvwxyz234567", 1, 2048)),
    }),
    "candidate-answer": () => ({ sessionId: this.#u64(), ice: this.#ice(), candidates: this.#candidates() }),
    candidate: () => ({
      sessionId: this.#u64(),
      ufrag: this.#chars(ICE_CHARS, 4, 256),
      candidate: this.#maybe(this.#candidate),
    }),
    "start-punching": () => ({
      sessionId: this.#u64(),
      targetTimeMs: this.#below(1001),
      peerCandidates: this.#candidates(),
    }),
    "punching-result": () => ({
      sessionId: this.#u64(),
      outcome: this.pick(["direct", "relay", "failed"] as const),
      detail: this.#text(),
    }),
    "observed-address": () => ({ observed: this.#address() }),
    restart: () => ({
      sessionId: this.#u64(),
      ice: this.#ice(),
      candidates: this.#candidates(),
      answer: this.#bool(),
    }),
    "path-report": () => ({
      sessionId: this.#u64(),
      path: this.#path(),
      alive: this.#bool(),
      silentMs: this.#u32(),
    }),
    ping: () => ({ id: this.#u64() }),
    pong: () => ({ id: this.#u64() }),
    error: () => ({
      code: this.#name(),
      message: this.#text(),
      sessionId: this.#maybe(this.#u64),
      requestId: this.#maybe(this.#u64),
    }),
    goodbye: () => ({ reason: this.#text() }),
    "session-end": () => ({ sessionId: this.#u64(), reason: this.#text() }),
  };

  readonly signalingTypes: readonly SignalingType[] = Object.keys(this.#signaling) as SignalingType[];

  signaling(type: SignalingType = this.pick(this.signalingTypes)): SignalingMessage {
    return { type, ...this.#signaling[type]() } as SignalingMessage;
  }

  control(): ControlMessage {
    if (this.#u64() % 9n === 0n) {
      const [policy, udp, mapping, ports] = [this.#name(), this.#name(), this.#name(), this.#name()];
      return { type: "network-view", policy, udp, mapping, ports };
    }
    const type = this.pick(["hello", "candidate", "restart", "path-report", "ping", "pong", "goodbye"] as const);
    const { sessionId: _, role: __, ...rest } = this.signaling(type) as SignalingMessage & Record<string, unknown>;
    return rest as ControlMessage;
  }

  openService(): OpenService {
    return { type: "open-service", name: this.#name(), protocol: this.pick(["tcp", "udp"] as const) };
  }

  serviceReply(): ServiceReply {
    if (this.#bool()) return { type: "accepted" };
    return { type: "refused", code: this.#name(), reason: this.#text() };
  }
}

/** Runs `body` once per seed; a failure names the seed. */
export function forSeeds(count: number, body: (seed: number) => void): void {
  const first = fuzzSeed(0);
  for (let seed = first; seed < first + count; seed++) {
    try {
      body(seed);
    } catch (cause) {
      throw new Error(`seed ${seed}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  }
}
