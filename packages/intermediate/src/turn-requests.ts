/** TURN's four requests: Allocate, Refresh, CreatePermission, ChannelBind (RFC 8656 §7, §8, §10, §12). */
import type { IpFamily, Logger, Millis, Random, SocketAddress, SocketId } from "@adit/core";
import {
  ADDRESS_FAMILY,
  getBytes,
  getChannelNumber,
  getU8,
  getU32,
  getXorAddress,
  hasAttribute,
  isLegacyChannelNumber,
  STUN_ATTRIBUTE,
  STUN_ERROR,
  STUN_METHOD,
  StunBuilder,
  type StunMessage,
  TRANSPORT_UDP,
  transactionKey,
  unknownComprehensionRequired,
} from "@adit/ice";
import type { AllocateRequest, Allocation } from "./allocation.ts";
import type { AllocationTable } from "./allocation-table.ts";
import type { CredentialMatch, Credentials } from "./credentials.ts";
import { Nonces } from "./nonces.ts";
import { peerAddresses } from "./peer-addresses.ts";
import type { RelayPolicy } from "./relay-policy.ts";
import { authenticate } from "./turn-auth.ts";

/** RFC 8656 §3.2: "the default value of 10 minutes". */
export const DEFAULT_LIFETIME_MS = 600_000;

/** RFC 8656 §7.2: "the server SHOULD use ... a maximum allowed lifetime ... 3600 seconds (1 hour)". */
export const MAX_LIFETIME_MS = 3_600_000;

/** What this server understands; DONT-FRAGMENT is not among it, because neither runtime can set the bit. */
const KNOWN: ReadonlySet<number> = new Set([
  STUN_ATTRIBUTE.USERNAME,
  STUN_ATTRIBUTE.REALM,
  STUN_ATTRIBUTE.NONCE,
  STUN_ATTRIBUTE.CHANNEL_NUMBER,
  STUN_ATTRIBUTE.LIFETIME,
  STUN_ATTRIBUTE.XOR_PEER_ADDRESS,
  STUN_ATTRIBUTE.DATA,
  STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY,
  STUN_ATTRIBUTE.EVEN_PORT,
  STUN_ATTRIBUTE.REQUESTED_TRANSPORT,
  STUN_ATTRIBUTE.RESERVATION_TOKEN,
]);

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
  /** Of the relayed addresses. */
  readonly family: IpFamily;
  readonly log: Logger;
}

/** An authenticated request. */
interface Authenticated {
  readonly request: StunMessage;
  /** Ours, that it came to. */
  readonly socket: SocketId;
  readonly from: SocketAddress;
  readonly match: CredentialMatch;
}

/** An answer to be written, an error code, or `later`: the answer waits for a socket, or for its first copy. */
type Answer = Success | number | "later" | Uint8Array;
type Success = (response: StunBuilder) => StunBuilder;

const plain: Success = (response) => response;

export class TurnRequests {
  readonly #options: TurnRequestsOptions;
  readonly #nonces: Nonces;

  constructor(options: TurnRequestsOptions) {
    this.#options = options;
    this.#nonces = new Nonces(options.random);
  }

  /** The response's bytes. */
  handle(
    now: Millis,
    socket: SocketId,
    from: SocketAddress,
    request: StunMessage,
  ): Uint8Array | "later" | "unknown-method" {
    if (!METHODS.has(request.method)) return "unknown-method";
    const auth = authenticate(now, request, from, { credentials: this.#options.credentials, nonces: this.#nonces });
    if (auth.kind === "refused") {
      const error = errorResponse(request, auth.code);
      if (auth.challenge) this.#challenge(now, from, error);
      return error.build({ fingerprint: request.fingerprintOffset >= 0 });
    }
    const { match } = auth;
    const options = { key: match.key, fingerprint: request.fingerprintOffset >= 0 };
    const unknown = unknownComprehensionRequired(request, KNOWN);
    if (unknown.length > 0) {
      return errorResponse(request, STUN_ERROR.UNKNOWN_ATTRIBUTE).unknownAttributes(unknown).build(options);
    }
    const answer = this.#answer(now, { request, socket, from, match });
    if (answer === "later" || answer instanceof Uint8Array) return answer;
    if (typeof answer === "function") {
      return answer(new StunBuilder("success", request.method, request.transactionId)).build(options);
    }
    const error = errorResponse(request, answer);
    // Expired credentials: fresh ones would do.
    if (answer === STUN_ERROR.UNAUTHENTICATED) return this.#challenge(now, from, error).build();
    return error.build(options);
  }

  allocateSuccess(client: SocketAddress, relayed: SocketAddress, request: AllocateRequest): Uint8Array {
    const { transactionId, lifetimeMs, refusedFamily, key, fingerprint } = request;
    const response = new StunBuilder("success", STUN_METHOD.ALLOCATE, transactionId)
      .xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, relayed)
      .u32(STUN_ATTRIBUTE.LIFETIME, lifetimeMs / 1000)
      .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, client);
    if (refusedFamily !== null) {
      // RFC 8656 §18.9: family, reserved byte, class and number of the error code.
      const { ADDRESS_FAMILY_NOT_SUPPORTED: code } = STUN_ERROR;
      response.add(
        STUN_ATTRIBUTE.ADDRESS_ERROR_CODE,
        Uint8Array.of(refusedFamily, 0, Math.floor(code / 100), code % 100),
      );
    }
    return response.build({ key, fingerprint });
  }

  /** No socket was to be had. */
  allocateFailure({ transactionId, key, fingerprint }: AllocateRequest): Uint8Array {
    return new StunBuilder("error", STUN_METHOD.ALLOCATE, transactionId)
      .errorCode(STUN_ERROR.INSUFFICIENT_CAPACITY)
      .build({ key, fingerprint });
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

  #allocate(now: Millis, { request, socket, from, match }: Authenticated, standing: Allocation | null): Answer {
    const transaction = transactionKey(request.transactionId);
    if (standing) {
      if (standing.transaction !== transaction) return STUN_ERROR.ALLOCATION_MISMATCH;
      return standing.state.kind === "live" ? standing.state.response : "later";
    }
    if (match.expired) return STUN_ERROR.UNAUTHENTICATED;
    const asked = readAllocate(request, this.#options.family);
    if (typeof asked === "number") return asked;
    const created = this.#options.allocations.create(now, {
      client: from,
      clientSocket: socket,
      owner: match.owner,
      transaction,
      request: {
        // Copies: the datagram's memory is not ours for as long as binding takes.
        transactionId: request.transactionId.slice(),
        key: match.key,
        lifetimeMs: asked.lifetimeMs,
        fingerprint: request.fingerprintOffset >= 0,
        evenPort: asked.evenPort,
        refusedFamily: asked.refusedFamily,
      },
    });
    if (created === "ok") return "later";
    this.#options.log.debug("allocation-refused", { client: from.key, owner: match.owner.key, reason: created });
    return created === "quota" ? STUN_ERROR.ALLOCATION_QUOTA_REACHED : STUN_ERROR.INSUFFICIENT_CAPACITY;
  }

  #refresh(now: Millis, request: StunMessage, allocation: Allocation): Answer {
    const family = readFamily(request, STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY);
    if (family === "malformed") return STUN_ERROR.BAD_REQUEST;
    if (family !== null && family !== familyCode(this.#options.family)) return STUN_ERROR.PEER_ADDRESS_FAMILY_MISMATCH;
    const seconds = readLifetime(request);
    if (seconds === "malformed") return STUN_ERROR.BAD_REQUEST;
    if (seconds === 0) {
      this.#options.allocations.remove(allocation, "released");
      return (response) => response.u32(STUN_ATTRIBUTE.LIFETIME, 0);
    }
    const lifetimeMs = clampLifetime(seconds);
    allocation.expiresAt = now + lifetimeMs;
    return (response) => response.u32(STUN_ATTRIBUTE.LIFETIME, lifetimeMs / 1000);
  }

  /** All of the addresses or none. */
  #createPermission(now: Millis, request: StunMessage, allocation: Allocation): Answer {
    const peers = peerAddresses(request);
    if (peers === null || peers.length === 0) return STUN_ERROR.BAD_REQUEST;
    const ips = new Set<string>();
    for (const peer of peers) {
      if (peer.family !== this.#options.family) return STUN_ERROR.PEER_ADDRESS_FAMILY_MISMATCH;
      const denial = this.#options.policy.denyPermission(allocation.owner, peer.ip);
      if (denial) {
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
    if (peer.family !== this.#options.family) return STUN_ERROR.PEER_ADDRESS_FAMILY_MISMATCH;
    const { policy, log } = this.#options;
    const denial = policy.denyPeer(allocation.owner, peer);
    if (denial) {
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
      .string(STUN_ATTRIBUTE.NONCE, this.#nonces.issue(now, from));
  }
}

function errorResponse(request: StunMessage, code: number): StunBuilder {
  return new StunBuilder("error", request.method, request.transactionId).errorCode(code);
}

/** The attributes of an Allocate request, in the order of §7.2; a number is the error code. */
function readAllocate(
  request: StunMessage,
  family: IpFamily,
): Pick<AllocateRequest, "lifetimeMs" | "evenPort" | "refusedFamily"> | number {
  const transport = getU8(request, STUN_ATTRIBUTE.REQUESTED_TRANSPORT);
  if (transport === null) return STUN_ERROR.BAD_REQUEST;
  if (transport !== TRANSPORT_UDP) return STUN_ERROR.UNSUPPORTED_TRANSPORT_PROTOCOL;

  const token = getBytes(request, STUN_ATTRIBUTE.RESERVATION_TOKEN);
  const evenPort = getBytes(request, STUN_ATTRIBUTE.EVEN_PORT);
  const wanted = readFamily(request, STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY);
  const additional = readFamily(request, STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY);
  if (wanted === "malformed" || additional === "malformed") return STUN_ERROR.BAD_REQUEST;
  if (token && (token.length !== 8 || evenPort || wanted !== null || additional !== null))
    return STUN_ERROR.BAD_REQUEST;
  if (wanted !== null && additional !== null) return STUN_ERROR.BAD_REQUEST;
  if (additional !== null && additional !== ADDRESS_FAMILY.IPV6) return STUN_ERROR.BAD_REQUEST;

  // Without the attribute IPv4 is meant (§7.2); with ADDITIONAL-ADDRESS-FAMILY either of the two will do.
  const own = familyCode(family);
  if (additional === null && (wanted ?? ADDRESS_FAMILY.IPV4) !== own) return STUN_ERROR.ADDRESS_FAMILY_NOT_SUPPORTED;
  if (evenPort && evenPort.length !== 1) return STUN_ERROR.BAD_REQUEST;
  // The R bit of EVEN-PORT (§18.7) asks to keep the next port for a later RESERVATION-TOKEN.
  if (token || ((evenPort?.[0] ?? 0) & 0x80) !== 0) return STUN_ERROR.INSUFFICIENT_CAPACITY;

  const seconds = readLifetime(request);
  if (seconds === "malformed") return STUN_ERROR.BAD_REQUEST;
  const other = own === ADDRESS_FAMILY.IPV4 ? ADDRESS_FAMILY.IPV6 : ADDRESS_FAMILY.IPV4;
  return {
    lifetimeMs: clampLifetime(seconds),
    evenPort: evenPort !== null,
    refusedFamily: additional === null ? null : other,
  };
}

function readFamily(request: StunMessage, type: number): number | null | "malformed" {
  if (!hasAttribute(request, type)) return null;
  return getU8(request, type) ?? "malformed";
}

function readLifetime(request: StunMessage): number | null | "malformed" {
  if (!hasAttribute(request, STUN_ATTRIBUTE.LIFETIME)) return null;
  return getU32(request, STUN_ATTRIBUTE.LIFETIME) ?? "malformed";
}

/** §7.2: at least the default, at most the maximum. */
function clampLifetime(seconds: number | null): Millis {
  if (seconds === null) return DEFAULT_LIFETIME_MS;
  return Math.min(MAX_LIFETIME_MS, Math.max(DEFAULT_LIFETIME_MS, seconds * 1000));
}

const familyCode = (family: IpFamily): number => (family === 4 ? ADDRESS_FAMILY.IPV4 : ADDRESS_FAMILY.IPV6);
