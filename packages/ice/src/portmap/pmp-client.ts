import { classifyIp, type Deadline, type Millis, type Random, SocketAddress } from "@adit/core";
import { EpochClock } from "./epoch.ts";
import { type MapRequest, PMP_SERVER_PORT, type PmpAnswer, type PmpCodec } from "./pmp-codec.ts";
import {
  boundedLeaseMs,
  type ClientStatus,
  LEASE_SECONDS,
  type MappingClient,
  type MappingTarget,
  type PortLease,
  type PortMapOutput,
  RETRY_MS,
} from "./types.ts";

interface Request {
  readonly asks: "probe" | "map";
  readonly data: Uint8Array;
  sent: number;
  /** When it is sent again, or given up. */
  at: Millis;
}

type State =
  | { readonly kind: "absent"; readonly why: string }
  | { readonly kind: "refused"; readonly why: string; readonly retryAfterMs: Millis }
  | { readonly kind: "present" | "gone" }
  | { readonly kind: "probing" | "mapping" | "unmapping"; readonly request: Request }
  /** `request`: a renewal or a question under way; the mapping stands meanwhile. */
  | {
      readonly kind: "mapped";
      readonly lease: PortLease;
      readonly renewAt: Millis;
      readonly expiresAt: Millis;
      readonly request: Request | null;
    };

/** A removal that is not confirmed is sent this often: nobody waits longer, and the lease ends by itself. */
const MAX_UNMAP_REQUESTS = 2;
const UNMAP_WAIT_MS = 250;

/** A client of PCP or NAT-PMP: one request at a time, repeated with growing pauses. */
export class PmpClient implements MappingClient {
  readonly #codec: PmpCodec;
  readonly #target: MappingTarget;
  readonly #random: Random;
  readonly #server: SocketAddress;
  readonly #epoch = new EpochClock();
  #state: State = { kind: "absent", why: "not asked" };
  #externalIp: string | null = null;
  /** Asked for again at each renewal, so that peers need not be told a new one. */
  #externalPort: number;
  #restarts = 0;
  readonly #outbox: Uint8Array[] = [];

  constructor(codec: PmpCodec, target: MappingTarget, random: Random) {
    this.#codec = codec;
    this.#target = target;
    this.#random = random;
    this.#server = SocketAddress.of(target.gateway, PMP_SERVER_PORT);
    this.#externalPort = target.internalPort;
  }

  get protocol(): PmpCodec["protocol"] {
    return this.#codec.protocol;
  }

  /** How often the router was found to have lost its mappings. */
  get restarts(): number {
    return this.#restarts;
  }

  get status(): ClientStatus {
    const state = this.#state;
    if (state.kind === "mapped") return { kind: "mapped", lease: state.lease };
    return "request" in state ? { kind: state.kind } : state;
  }

  probe(now: Millis): void {
    this.#state = { kind: "probing", request: this.#ask(now, "probe") };
  }

  map(now: Millis): void {
    const first = this.#codec.asksAddressFirst && this.#externalIp === null ? "probe" : "map";
    this.#state = { kind: "mapping", request: this.#ask(now, first) };
  }

  /** By renewing it: a router that kept it has nothing to do, and one that lost it makes it anew. */
  verify(now: Millis): void {
    const state = this.#state;
    if (state.kind === "mapped" && state.request === null) this.#renew(now, state);
  }

  unmap(now: Millis): void {
    const { kind } = this.#state;
    if (kind !== "mapped" && kind !== "mapping") this.#state = { kind: "gone" };
    else this.#state = { kind: "unmapping", request: this.#ask(now, "map", { lifetimeSeconds: 0 }, UNMAP_WAIT_MS) };
  }

  /** True: it was an answer of this protocol, from where the router answers. */
  handleDatagram(now: Millis, from: SocketAddress, data: Uint8Array): boolean {
    const answer = from.equals(this.#server) ? this.#codec.read(data) : null;
    if (!answer) return false;
    this.#handleAnswer(now, answer);
    return true;
  }

  handleTimeout(now: Millis): void {
    const state = this.#state;
    if (state.kind === "mapped" && now >= state.expiresAt) {
      this.#state = { kind: "absent", why: "the router has not answered until the mapping ended" };
      return;
    }
    const request = "request" in state ? state.request : null;
    if (request && now >= request.at) this.#repeat(now, request);
    else if (state.kind === "mapped" && request === null && now >= state.renewAt) this.#renew(now, state);
  }

  pollTimeout(): Deadline | null {
    const state = this.#state;
    const at = "request" in state ? state.request?.at : undefined;
    const reason = `${this.protocol}-${state.kind}`;
    if (state.kind === "mapped") return { at: Math.min(at ?? state.renewAt, state.expiresAt), reason };
    return at === undefined ? null : { at, reason };
  }

  pollOutput(): PortMapOutput | null {
    const data = this.#outbox.shift();
    return data ? { kind: "datagram", to: this.#server, data } : null;
  }

  #handleAnswer(now: Millis, answer: PmpAnswer): void {
    const { kind } = this.#state;
    if (kind === "gone" || kind === "present" || kind === "absent") return;
    switch (answer.kind) {
      case "unsupported":
        this.#state =
          kind === "unmapping" ? { kind: "gone" } : { kind: "absent", why: "the router does not speak this protocol" };
        return;
      case "refused":
        return this.#handleRefusal(answer);
      case "alive":
        return this.#handleAlive(now, answer);
      case "mapped":
        return this.#handleMapped(now, answer);
    }
  }

  #handleRefusal({ to, why, retryAfterMs }: Extract<PmpAnswer, { kind: "refused" }>): void {
    const state = this.#state;
    if (state.kind === "unmapping") this.#state = { kind: "gone" };
    else if ("request" in state && state.request?.asks === to) this.#state = { kind: "refused", why, retryAfterMs };
  }

  #handleAlive(now: Millis, { epochSeconds, externalIp }: Extract<PmpAnswer, { kind: "alive" }>): void {
    const state = this.#state;
    if (!("request" in state) || state.request?.asks !== "probe") return;
    this.#checkEpoch(now, epochSeconds);
    this.#externalIp = externalIp;
    if (state.kind === "probing") this.#state = { kind: "present" };
    else if (state.kind === "mapping") this.#state = { ...state, request: this.#ask(now, "map") };
    else if (state.kind === "mapped") this.#state = { ...state, request: this.#ask(now, "map") };
  }

  #handleMapped(now: Millis, answer: Extract<PmpAnswer, { kind: "mapped" }>): void {
    const state = this.#state;
    if (!("request" in state) || state.request?.asks !== "map") return;
    if (answer.internalPort !== this.#target.internalPort) return;
    this.#checkEpoch(now, answer.epochSeconds);
    if (state.kind === "unmapping") {
      this.#state = { kind: "gone" };
      return;
    }
    const ip = answer.externalIp ?? this.#externalIp;
    if (ip === null || answer.externalPort === 0 || answer.lifetimeSeconds === 0) {
      this.#state = {
        kind: "refused",
        why: "the router's answer names no address, port or lifetime",
        retryAfterMs: RETRY_MS,
      };
      return;
    }
    const lifetimeMs = boundedLeaseMs(answer.lifetimeSeconds);
    this.#externalPort = answer.externalPort;
    this.#externalIp = ip;
    this.#state = {
      kind: "mapped",
      lease: {
        protocol: this.protocol,
        gateway: this.#target.gateway,
        internalPort: this.#target.internalPort,
        external: SocketAddress.of(ip, answer.externalPort),
        isPublic: classifyIp(ip) === "public",
        lifetimeMs,
      },
      // RFC 6887 §11.2.1: the first renewal at between 1/2 and 5/8 of the lifetime; RFC 6886 §3.3: at half of it.
      renewAt: now + lifetimeMs * (1 / 2 + this.#random.float() / 8),
      expiresAt: now + lifetimeMs,
      request: null,
    };
  }

  #checkEpoch(now: Millis, seconds: number): void {
    if (!this.#epoch.check(now, seconds)) this.#restarts++;
  }

  #renew(now: Millis, state: Extract<State, { kind: "mapped" }>): void {
    const request = this.#ask(now, this.#codec.asksAddressFirst ? "probe" : "map");
    request.at = Math.max(request.at, now + this.#codec.renewalGapMs);
    this.#state = { ...state, request };
  }

  /** Sends a request again, or gives it up. */
  #repeat(now: Millis, request: Request): void {
    const state = this.#state;
    const limit = state.kind === "unmapping" ? MAX_UNMAP_REQUESTS : this.#codec.maxRequests;
    // While a mapping stands it is asked for until it ends.
    if (state.kind === "mapped" || request.sent < limit) {
      const waitMs =
        state.kind === "unmapping" ? UNMAP_WAIT_MS : this.#codec.firstWaitMs * 2 ** Math.min(request.sent, 8);
      request.sent++;
      request.at = now + this.#pause(state, waitMs);
      this.#outbox.push(request.data);
    } else if (state.kind === "unmapping") this.#state = { kind: "gone" };
    else this.#state = { kind: "absent", why: "no answer" };
  }

  #ask(
    now: Millis,
    asks: Request["asks"],
    wish: Partial<MapRequest> = {},
    waitMs: Millis = this.#codec.firstWaitMs,
  ): Request {
    const data =
      asks === "probe"
        ? this.#codec.probe()
        : this.#codec.map({
            internalPort: this.#target.internalPort,
            externalPort: this.#externalPort,
            externalIp: this.#externalIp,
            lifetimeSeconds: LEASE_SECONDS,
            ...wish,
          });
    // What an earlier request had to say is not wanted any more.
    this.#outbox.length = 0;
    this.#outbox.push(data);
    return { asks, data, sent: 1, at: now + this.#jittered(waitMs) };
  }

  #pause(state: State, waitMs: Millis): Millis {
    return Math.max(this.#jittered(waitMs), state.kind === "mapped" ? this.#codec.renewalGapMs : 0);
  }

  /** RFC 6887 §8.1.1: each wait is varied by a random factor between -0.1 and +0.1. */
  #jittered(ms: Millis): Millis {
    return ms * (0.9 + this.#random.float() / 5);
  }
}
