/** TURN's four requests: Allocate, Refresh, CreatePermission, ChannelBind (RFC 8656 §7, §8, §10, §12). */
import { Counters, type Logger, type Millis, type Random, type SocketAddress, type SocketId } from "@adit/core";
import {
  getChannelNumber,
  getXorAddress,
  getXorAddresses,
  isLegacyChannelNumber,
  STUN_ATTRIBUTE,
  STUN_ERROR,
  STUN_METHOD,
  StunBuilder,
  type StunBuildOptions,
  type StunMessage,
  transactionKey,
  unknownComprehensionRequired,
} from "@adit/ice";
import {
  clampLifetime,
  familyCode,
  readAllocate,
  readFamily,
  readLifetime,
  type WantedAllocation,
} from "./allocate-attributes.ts";
import type { AllocateRequest, Allocation } from "./allocation.ts";
import type { AllocationTable } from "./allocation-table.ts";
import type { CredentialMatch, Credentials } from "./credentials.ts";
import { Nonces } from "./nonces.ts";
import type { RelayDenial, RelayPolicy } from "./relay-policy.ts";
import { authenticate, PASSWORD_ALGORITHMS } from "./turn-auth.ts";

/** What this server understands; DONT-FRAGMENT too where the sockets can set the bit. */
const KNOWN = [
  STUN_ATTRIBUTE.USERNAME,
  STUN_ATTRIBUTE.REALM,
  STUN_ATTRIBUTE.NONCE,
  STUN_ATTRIBUTE.PASSWORD_ALGORITHM,
  STUN_ATTRIBUTE.CHANNEL_NUMBER,
  STUN_ATTRIBUTE.LIFETIME,
  STUN_ATTRIBUTE.XOR_PEER_ADDRESS,
  STUN_ATTRIBUTE.DATA,
  STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY,
  STUN_ATTRIBUTE.EVEN_PORT,
  STUN_ATTRIBUTE.REQUESTED_TRANSPORT,
  STUN_ATTRIBUTE.RESERVATION_TOKEN,
] as const;

const METHODS: ReadonlySet<number> = new Set([
  STUN_METHOD.ALLOCATE,
  STUN_METHOD.REFRESH,
  STUN_METHOD.CREATE_PERMISSION,
  STUN_METHOD.CHANNEL_BIND,
]);

export interface TurnRequestsOptions {
  readonly allocations: AllocationTable;
  readonly credentials: Credentials;
  readonly policy: RelayPolicy;
  readonly random: Random;
  /** Whether relay sockets can set the DF bit. */
  readonly dontFragment: boolean;
  /** Where new clients are sent while this server drains (300): one address per family. */
  readonly alternates: readonly SocketAddress[];
  /** Whether one more refusal may go to that address. */
  mayChallenge(now: Millis, from: SocketAddress): boolean;
  readonly log: Logger;
}

/** An authenticated request. */
interface Authenticated {
  readonly request: StunMessage;
  /** Ours, that it came to. */
  readonly socket: SocketId;
  readonly from: SocketAddress;
  readonly match: CredentialMatch;
  readonly sign: StunBuildOptions;
}

/** An answer to be written, an error code, or `later`: the answer waits for a socket, or for its first copy. */
type Answer = Success | number | "later" | Uint8Array | { readonly alternate: SocketAddress };
type Success = (response: StunBuilder) => StunBuilder;

const plain: Success = (response) => response;

/** What became of a request: the response's bytes, or none. */
export type Handled = Uint8Array | "later" | "unknown-method" | "challenge-rate";

export class TurnRequests {
  /** Errors that were answered, by code; and what 403 was for. */
  readonly errors = new Counters<`${number}`>();
  readonly denials = new Counters<RelayDenial>();
  readonly #options: TurnRequestsOptions;
  readonly #nonces: Nonces;
  readonly #known: ReadonlySet<number>;

  constructor(options: TurnRequestsOptions) {
    this.#options = options;
    this.#known = new Set<number>(options.dontFragment ? [...KNOWN, STUN_ATTRIBUTE.DONT_FRAGMENT] : KNOWN);
    this.#nonces = new Nonces(options.random);
  }

  handle(now: Millis, socket: SocketId, from: SocketAddress, request: StunMessage): Handled {
    if (!METHODS.has(request.method)) return "unknown-method";
    const auth = authenticate(now, request, from, { credentials: this.#options.credentials, nonces: this.#nonces });
    if (auth.kind === "refused") {
      if (!this.#options.mayChallenge(now, from)) return "challenge-rate";
      const error = this.#error(request, auth.code);
      if (auth.challenge) this.#challenge(now, from, error);
      return error.build({ fingerprint: request.fingerprintOffset >= 0 });
    }
    const { match, sign } = auth;
    const unknown = unknownComprehensionRequired(request, this.#known);
    if (unknown.length > 0) {
      return this.#error(request, STUN_ERROR.UNKNOWN_ATTRIBUTE).unknownAttributes(unknown).build(sign);
    }
    const answer = this.#answer(now, { request, socket, from, match, sign });
    if (answer === "later" || answer instanceof Uint8Array) return answer;
    if (typeof answer === "function") {
      return answer(new StunBuilder("success", request.method, request.transactionId)).build(sign);
    }
    if (typeof answer === "object") {
      // RFC 8489 §10
      const error = this.#error(request, STUN_ERROR.TRY_ALTERNATE);
      return error.address(STUN_ATTRIBUTE.ALTERNATE_SERVER, answer.alternate).build(sign);
    }
    const error = this.#error(request, answer);
    // Expired credentials: fresh ones would do.
    if (answer === STUN_ERROR.UNAUTHENTICATED) return this.#challenge(now, from, error).build();
    return error.build(sign);
  }

  /** All sockets that are to be had are bound. */
  allocateSuccess({ client, relays }: Allocation, request: AllocateRequest): Uint8Array {
    const response = new StunBuilder("success", STUN_METHOD.ALLOCATE, request.transactionId);
    for (const { bound, reservation } of relays) {
      if (bound) response.xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, bound.address);
      if (reservation) response.add(STUN_ATTRIBUTE.RESERVATION_TOKEN, reservation.token);
    }
    response.u32(STUN_ATTRIBUTE.LIFETIME, request.lifetimeMs / 1000);
    response.xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, client);
    if (request.refused) {
      // RFC 8656 §18.9: family, reserved byte, class and number of the error code.
      const { family, code } = request.refused;
      const value = Uint8Array.of(familyCode(family), 0, Math.floor(code / 100), code % 100);
      response.add(STUN_ATTRIBUTE.ADDRESS_ERROR_CODE, value);
    }
    return response.build(request.sign);
  }

  /** No socket was to be had. */
  allocateFailure({ transactionId, sign }: AllocateRequest): Uint8Array {
    this.errors.add(`${STUN_ERROR.INSUFFICIENT_CAPACITY}`);
    return new StunBuilder("error", STUN_METHOD.ALLOCATE, transactionId)
      .errorCode(STUN_ERROR.INSUFFICIENT_CAPACITY)
      .build(sign);
  }

  #answer(now: Millis, authenticated: Authenticated): Answer {
    const { request, socket, from, match } = authenticated;
    const allocation = this.#options.allocations.of(now, socket, from);
    if (request.method === STUN_METHOD.ALLOCATE) return this.#allocate(now, authenticated, allocation);
    if (allocation?.state.kind !== "live") return STUN_ERROR.ALLOCATION_MISMATCH;
    if (allocation.owner.key !== match.owner.key) return STUN_ERROR.WRONG_CREDENTIALS;
    switch (request.method) {
      case STUN_METHOD.REFRESH:
        return this.#refresh(now, request, allocation);
      case STUN_METHOD.CREATE_PERMISSION:
        return this.#createPermission(now, request, allocation);
      default:
        return this.#channelBind(now, request, allocation);
    }
  }

  #allocate(now: Millis, authenticated: Authenticated, standing: Allocation | null): Answer {
    const { request, socket, from, match, sign } = authenticated;
    const { allocations, log } = this.#options;
    const transaction = transactionKey(request.transactionId);
    if (standing) {
      if (standing.transaction !== transaction) return STUN_ERROR.ALLOCATION_MISMATCH;
      if (standing.state.kind === "binding") return "later";
      return standing.state.response ?? STUN_ERROR.ALLOCATION_MISMATCH;
    }
    if (match.expired) return STUN_ERROR.UNAUTHENTICATED;
    const wanted = readAllocate(request);
    if (typeof wanted === "number") return wanted;
    const given = this.#families(now, wanted, match);
    if (typeof given === "number") return given;
    const created = allocations.create(now, {
      client: from,
      clientSocket: socket,
      owner: match.owner,
      transaction,
      request: {
        // Copies: the datagram's memory is not ours for as long as binding takes.
        transactionId: request.transactionId.slice(),
        sign,
        lifetimeMs: wanted.lifetimeMs,
        port: typeof wanted.port === "object" ? { token: wanted.port.token.slice() } : wanted.port,
        ...given,
      },
    });
    if (created === "ok") return "later";
    log.debug("allocation-refused", { client: from.key, owner: match.owner.key, reason: created });
    if (created === "quota") return STUN_ERROR.ALLOCATION_QUOTA_REACHED;
    return this.#alternate(from, match) ?? STUN_ERROR.INSUFFICIENT_CAPACITY;
  }

  /** The families of relayed addresses that the request gets; a number is the error code. */
  #families(
    now: Millis,
    { family, port }: WantedAllocation,
    { owner }: CredentialMatch,
  ): Pick<AllocateRequest, "families" | "refused"> | number {
    const { allocations } = this.#options;
    if (typeof port === "object") {
      const reservation = allocations.reservation(now, owner, port.token);
      return reservation ? { families: [reservation.family], refused: null } : STUN_ERROR.INSUFFICIENT_CAPACITY;
    }
    const { ADDRESS_FAMILY_NOT_SUPPORTED: code } = STUN_ERROR;
    if (family !== null) return allocations.has(family) ? { families: [family], refused: null } : code;
    const families = ([4, 6] as const).filter((one) => allocations.has(one));
    const missing = ([4, 6] as const).find((one) => !allocations.has(one));
    return { families, refused: missing === undefined ? null : { family: missing, code } };
  }

  /** Where to send a client while this server drains. Credentials from signaling are good for this server alone. */
  #alternate(from: SocketAddress, { owner }: CredentialMatch): { readonly alternate: SocketAddress } | null {
    if (!this.#options.allocations.isClosed || owner.kind === "peer") return null;
    const alternate = this.#options.alternates.find(({ family }) => family === from.family);
    return alternate ? { alternate } : null;
  }

  #refresh(now: Millis, request: StunMessage, allocation: Allocation): Answer {
    const family = readFamily(request, STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY);
    const seconds = readLifetime(request);
    if (family === "malformed" || seconds === "malformed") return STUN_ERROR.BAD_REQUEST;
    if (family === "unknown") return STUN_ERROR.PEER_ADDRESS_FAMILY_MISMATCH;
    const relay = family === null ? undefined : allocation.relayOf(family);
    if (family !== null && !relay) return STUN_ERROR.PEER_ADDRESS_FAMILY_MISMATCH;
    if (seconds === 0) {
      // Of two relayed addresses one may be given back alone.
      if (relay && allocation.relays.length > 1) this.#options.allocations.dropRelay(relay, "released");
      else this.#options.allocations.remove(allocation, "released");
      return (response) => response.u32(STUN_ATTRIBUTE.LIFETIME, 0);
    }
    const lifetimeMs = clampLifetime(seconds);
    allocation.expiresAt = now + lifetimeMs;
    return (response) => response.u32(STUN_ATTRIBUTE.LIFETIME, lifetimeMs / 1000);
  }

  /** All of the addresses or none. */
  #createPermission(now: Millis, request: StunMessage, allocation: Allocation): Answer {
    const peers = getXorAddresses(request, STUN_ATTRIBUTE.XOR_PEER_ADDRESS);
    if (peers === null || peers.length === 0) return STUN_ERROR.BAD_REQUEST;
    const ips = new Set<string>();
    for (const peer of peers) {
      if (!allocation.relayOf(peer.family)) return STUN_ERROR.PEER_ADDRESS_FAMILY_MISMATCH;
      const denial = this.#options.policy.denyPermission(allocation.owner, peer.ip);
      if (denial) {
        this.denials.add(denial);
        this.#options.log.debug("permission-denied", { owner: allocation.owner.key, peer: peer.ip, reason: denial });
        return STUN_ERROR.FORBIDDEN;
      }
      ips.add(peer.ip);
    }
    if (!allocation.hasRoomFor(now, ips)) return STUN_ERROR.INSUFFICIENT_CAPACITY;
    for (const ip of ips) allocation.permit(now, ip);
    return plain;
  }

  #channelBind(now: Millis, request: StunMessage, allocation: Allocation): Answer {
    const number = getChannelNumber(request);
    const peer = getXorAddress(request, STUN_ATTRIBUTE.XOR_PEER_ADDRESS);
    if (number === null || !isLegacyChannelNumber(number) || !peer) return STUN_ERROR.BAD_REQUEST;
    if (!allocation.relayOf(peer.family)) return STUN_ERROR.PEER_ADDRESS_FAMILY_MISMATCH;
    const { policy, log } = this.#options;
    const denial = policy.denyPeer(allocation.owner, peer);
    if (denial) {
      this.denials.add(denial);
      log.debug("channel-denied", { owner: allocation.owner.key, peer: peer.key, reason: denial });
      return STUN_ERROR.FORBIDDEN;
    }
    if (!allocation.hasRoomFor(now, new Set([peer.ip]))) return STUN_ERROR.INSUFFICIENT_CAPACITY;
    switch (allocation.bind(now, number, peer, policy.version)) {
      case "conflict":
        return STUN_ERROR.BAD_REQUEST;
      case "full":
        return STUN_ERROR.INSUFFICIENT_CAPACITY;
      case "ok":
        allocation.permit(now, peer.ip); // §12.2: it "also installs or refreshes a permission"
        return plain;
    }
  }

  #challenge(now: Millis, from: SocketAddress, error: StunBuilder): StunBuilder {
    return error
      .string(STUN_ATTRIBUTE.REALM, this.#options.credentials.realm)
      .string(STUN_ATTRIBUTE.NONCE, this.#nonces.issue(now, from))
      .add(STUN_ATTRIBUTE.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS);
  }

  #error(request: StunMessage, code: number): StunBuilder {
    this.errors.add(`${code}`);
    return new StunBuilder("error", request.method, request.transactionId).errorCode(code);
  }
}
