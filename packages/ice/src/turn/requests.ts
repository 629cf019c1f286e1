import { type Counters, type Deadline, type Millis, type Random, SocketAddress } from "@adit/core";
import { getAddress, getErrorCode, unknownComprehensionRequired } from "../stun/attributes.ts";
import { StunBuilder } from "../stun/builder.ts";
import { type Challenge, LongTermAuth, type LongTermCredentials, readChallenge } from "../stun/long-term.ts";
import type { StunMessage } from "../stun/message.ts";
import type { ServerTimeouts } from "../stun/server-timeouts.ts";
import { ADDRESS_FAMILY, STUN_ATTRIBUTE, STUN_ERROR, STUN_METHOD, TRANSPORT_UDP } from "../stun/tables.ts";
import {
  DEFAULT_TIMING,
  type PendingRequest,
  type RetransmissionTiming,
  StunTransactions,
} from "../stun/transaction.ts";
import type { ChannelBinding } from "./channels.ts";
import type { TurnDrop } from "./events.ts";
import type { Lease } from "./lease.ts";
import type { RelayFamily } from "./options.ts";

/** What the client asks of the relay. */
export type TurnOperation =
  | { readonly kind: "allocate"; readonly family: RelayFamily | null }
  | { readonly kind: "refresh" }
  /** Deletes the allocation; `thenAllocate` when it was an old one that stood in the way. */
  | { readonly kind: "release"; readonly thenAllocate: boolean }
  | { readonly kind: "permission"; readonly ip: string; readonly lease: Lease }
  | { readonly kind: "channel"; readonly binding: ChannelBinding };

/** How it ended. `code` null: no (credible) answer. */
export type TurnOutcome =
  | { readonly ok: true; readonly operation: TurnOperation; readonly response: StunMessage }
  | {
      readonly ok: false;
      readonly operation: TurnOperation;
      readonly code: number | null;
      readonly reason: string;
      readonly alternateServer: SocketAddress | null;
    };

interface Context {
  readonly operation: TurnOperation;
  /** What the request was signed with; null when it was not. */
  readonly auth: LongTermAuth | null;
  /** 1 for the operation's first request. */
  readonly attempt: number;
}

/** Requests for one operation, challenges answered: a server that never has enough is given up. */
const MAX_ATTEMPTS = 5;

/** A release matters less than leaving: 0, 500 and 1500 ms at the latest, given up at 2500 ms. */
const RELEASE_TIMING = { maxRequests: 3, lastWaitFactor: 2 } as const;

/**
 * RFC 8489 §6.2.2: "Reliability of STUN over TCP and TLS-over-TCP is handled by TCP itself, and there are no retransmissions at the
 * STUN protocol level", and Ti, after which a request has failed, is 39.5 s. The release as above.
 */
const RELIABLE_TIMING = { maxRequests: 1, rtoMs: 500, lastWaitFactor: 79 } as const;
const RELIABLE_RELEASE_TIMING = { maxRequests: 1, rtoMs: 500, lastWaitFactor: 5 } as const;

/** Requests at once. What asks for more than one at a time keeps well below it by itself. */
const MAX_IN_FLIGHT = 64;

/**
 * ADDITIONAL-ADDRESS-FAMILY as draft-martinsen-tram-ssoda numbered it before it became 0x8000 in RFC 8656. coturn knows this number
 * alone; who knows neither, or the other, passes it over, as its comprehension is optional.
 */
const DRAFT_ADDITIONAL_ADDRESS_FAMILY = 0x8032;

const KNOWN_ATTRIBUTES: ReadonlySet<number> = new Set(Object.values(STUN_ATTRIBUTE));

/**
 * The requests to one relay: signed with long-term credentials, challenges answered (401, 438), answers believed only with
 * the integrity that the request had (RFC 8489 §9.2). Sans-IO.
 */
export class TurnRequests {
  readonly #transactions = new StunTransactions<Context>(MAX_IN_FLIGHT);
  readonly #random: Random;
  readonly #realm: string | null;
  readonly #reliable: boolean;
  readonly #timeouts: ServerTimeouts;
  readonly #dropped: Counters<TurnDrop>;
  #serverIp: string;
  #latest: LongTermCredentials;
  /** The relay holds an allocation to the user name that made it, so its credentials go on being used until they are refused. */
  #bound: LongTermCredentials | null = null;
  #challenge: Challenge | null = null;
  #auth: LongTermAuth | null = null;

  constructor(o: {
    credentials: LongTermCredentials;
    realm: string | null;
    random: Random;
    /** Whether what is sent arrives, or the connection ends. */
    reliable: boolean;
    serverIp: string;
    timeouts: ServerTimeouts;
    dropped: Counters<TurnDrop>;
  }) {
    this.#latest = o.credentials;
    this.#realm = o.realm;
    this.#random = o.random;
    this.#reliable = o.reliable;
    this.#serverIp = o.serverIp;
    this.#timeouts = o.timeouts;
    this.#dropped = o.dropped;
  }

  setCredentials(credentials: LongTermCredentials): void {
    if (this.#bound?.username === credentials.username) this.#bound = credentials;
    this.#latest = credentials;
  }

  /** Another server is asked from now on: it has a nonce of its own. */
  setServer(ip: string): void {
    this.#serverIp = ip;
    this.#challenge = null;
    this.#auth = null;
  }

  /** An allocation was made with what now signs requests. */
  bindCredentials(): void {
    this.#bound = this.#auth?.credentials ?? null;
  }

  unbindCredentials(): void {
    this.#bound = null;
  }

  /** Whether requests can be signed: the relay has challenged us. */
  get challenged(): boolean {
    return this.#challenge !== null;
  }

  inFlight(kind: TurnOperation["kind"]): number {
    let count = 0;
    for (const { context } of this.#transactions) if (context.operation.kind === kind) count++;
    return count;
  }

  start(now: Millis, operation: TurnOperation): void {
    this.#send(now, operation, 1);
  }

  /** Sends the requests of a kind once more, unless that was done in the last `quietMs`. */
  hurry(now: Millis, kind: TurnOperation["kind"], quietMs: Millis): void {
    if (this.#reliable) return;
    for (const pending of this.#transactions) {
      if (pending.context.operation.kind !== kind) continue;
      if (now - pending.transaction.lastSentAt >= quietMs) this.#transactions.resend(now, pending);
    }
  }

  /** A success or error response. Returns null when it was dropped, or when the operation goes on. */
  handleResponse(now: Millis, response: StunMessage): TurnOutcome | null {
    const pending = this.#transactions.match(response);
    if (!pending) return this.#drop("unmatched");
    const error = response.class === "error" ? getErrorCode(response) : null;
    if (response.class === "error" && !error) return this.#drop("malformed");
    if (error?.code === STUN_ERROR.UNAUTHENTICATED || error?.code === STUN_ERROR.STALE_NONCE) {
      // These come without integrity: the relay may not know the key (RFC 8489 §9.2.4).
      return this.#answerChallenge(now, pending, response, error.code);
    }
    const { auth, operation } = pending.context;
    if (auth && !auth.verify(response)) {
      pending.discarded++;
      return this.#drop("bad-integrity");
    }
    this.#finish(now, pending);
    if (error) {
      const alternateServer = getAddress(response, STUN_ATTRIBUTE.ALTERNATE_SERVER);
      return { ok: false, operation, code: error.code, reason: error.reason || `error ${error.code}`, alternateServer };
    }
    // RFC 8489 §6.3.3: the transaction has failed then.
    if (unknownComprehensionRequired(response, KNOWN_ATTRIBUTES).length > 0) {
      return failure(operation, null, "the relay's answer has attributes that must be understood and are not");
    }
    return { ok: true, operation, response };
  }

  handleTimeout(now: Millis): TurnOutcome[] {
    return this.#transactions.handleTimeout(now).map(({ context, discarded }) => {
      this.#timeouts.unanswered(this.#serverIp);
      const reason = discarded > 0 ? "the relay's answers failed their integrity check" : "the relay does not answer";
      return failure(context.operation, null, reason);
    });
  }

  pollTimeout(): Deadline | null {
    return this.#transactions.pollTimeout();
  }

  pollTransmit(): Uint8Array | null {
    return this.#transactions.pollTransmit()?.request ?? null;
  }

  /** Forgets all that is under way. */
  clear(): void {
    this.#transactions.clear();
  }

  #answerChallenge(
    now: Millis,
    pending: PendingRequest<Context>,
    response: StunMessage,
    code: number,
  ): TurnOutcome | null {
    const { operation, auth } = pending.context;
    this.#finish(now, pending);
    const challenge = readChallenge(response);
    if (!challenge || (this.#realm !== null && challenge.realm !== this.#realm)) {
      const why = challenge ? `its realm is "${challenge.realm}", not "${this.#realm}"` : "its challenge is unusable";
      return failure(operation, code, `the relay refuses: ${why}`);
    }
    // RFC 8489 §9.2.5: no retry unless user name, password or realm changes; a stale nonce is none of the user's fault.
    const worthIt =
      code === STUN_ERROR.STALE_NONCE ||
      auth === null ||
      auth.challenge.realm !== challenge.realm ||
      this.#switchCredentials(auth);
    this.#challenge = challenge;
    return worthIt ? this.#retry(now, pending, code) : failure(operation, code, "the relay refuses the credentials");
  }

  /** Whether there are other credentials than those that were refused; they are used from now on. */
  #switchCredentials(refused: LongTermAuth | null): boolean {
    if (!refused || refused.credentials === this.#latest) return false;
    this.#bound = null;
    return true;
  }

  #retry(now: Millis, pending: PendingRequest<Context>, code: number): TurnOutcome | null {
    const { operation, attempt } = pending.context;
    if (attempt >= MAX_ATTEMPTS) return failure(operation, code, "the relay challenges again and again");
    this.#send(now, operation, attempt + 1);
    return null;
  }

  #send(now: Millis, operation: TurnOperation, attempt: number): void {
    const auth = this.#currentAuth();
    const builder = writeRequest(operation, this.#random.bytes(12));
    const request = auth ? auth.sign(builder) : builder.build();
    this.#transactions.start(
      now,
      request,
      { operation, auth, attempt },
      this.#timing(now, operation.kind === "release"),
    );
  }

  #timing(now: Millis, isRelease: boolean): Partial<RetransmissionTiming> {
    if (this.#reliable) return isRelease ? RELIABLE_RELEASE_TIMING : RELIABLE_TIMING;
    const rtoMs = this.#timeouts.rtoMs(now, this.#serverIp);
    return isRelease ? { ...RELEASE_TIMING, rtoMs: Math.min(rtoMs, DEFAULT_TIMING.rtoMs) } : { rtoMs };
  }

  /** It has its answer. */
  #finish(now: Millis, pending: PendingRequest<Context>): void {
    this.#transactions.finish(pending);
    if (!this.#reliable) this.#timeouts.answered(now, this.#serverIp, pending.transaction);
  }

  #currentAuth(): LongTermAuth | null {
    const credentials = this.#bound ?? this.#latest;
    if (!this.#challenge) return null;
    if (this.#auth?.challenge !== this.#challenge || this.#auth.credentials !== credentials) {
      this.#auth = new LongTermAuth(this.#challenge, credentials);
    }
    return this.#auth;
  }

  #drop(reason: TurnDrop): null {
    this.#dropped.add(reason);
    return null;
  }
}

/** Whether a refusal is about who asks: other credentials may help. */
export const isCredentialError = (code: number | null): boolean =>
  code === STUN_ERROR.UNAUTHENTICATED || code === STUN_ERROR.WRONG_CREDENTIALS;

const failure = (operation: TurnOperation, code: number | null, reason: string): TurnOutcome => ({
  ok: false,
  operation,
  code,
  reason,
  alternateServer: null,
});

function writeRequest(operation: TurnOperation, id: Uint8Array): StunBuilder {
  const request = (method: number) => new StunBuilder("request", method, id);
  switch (operation.kind) {
    case "allocate":
      return writeAllocate(request(STUN_METHOD.ALLOCATE), operation.family);
    case "refresh":
      return request(STUN_METHOD.REFRESH);
    case "release":
      return request(STUN_METHOD.REFRESH).u32(STUN_ATTRIBUTE.LIFETIME, 0);
    case "permission":
      // RFC 8656 §9.1: the port of XOR-PEER-ADDRESS is ignored.
      return request(STUN_METHOD.CREATE_PERMISSION).xorAddress(
        STUN_ATTRIBUTE.XOR_PEER_ADDRESS,
        SocketAddress.of(operation.ip, 0),
      );
    case "channel":
      return request(STUN_METHOD.CHANNEL_BIND)
        .channelNumber(operation.binding.number)
        .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, operation.binding.peer);
  }
}

function writeAllocate(builder: StunBuilder, family: RelayFamily | null): StunBuilder {
  builder.u8(STUN_ATTRIBUTE.REQUESTED_TRANSPORT, TRANSPORT_UDP);
  switch (family) {
    case null:
      return builder; // IPv4 (RFC 8656 §7.2)
    case 4:
      return builder.u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV4);
    case 6:
      return builder.u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV6);
    case "both":
      // IPv4 goes without saying: this attribute has no other value than IPv6, and stands alone (RFC 8656 §18.11).
      return builder
        .u8(STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV6)
        .u8(DRAFT_ADDITIONAL_ADDRESS_FAMILY, ADDRESS_FAMILY.IPV6);
  }
}
