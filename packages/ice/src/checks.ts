import type { SocketAddress } from "@adit/core";
import type { IceRole } from "./pair.ts";
import {
  getBytes,
  getU32,
  getU64,
  getUsername,
  hasAttribute,
  unknownComprehensionRequired,
} from "./stun/attributes.ts";
import { StunBuilder } from "./stun/builder.ts";
import { verifyFingerprint, verifyIntegrity } from "./stun/integrity.ts";
import { isStun, type StunMessage } from "./stun/message.ts";
import { STUN_ATTRIBUTE, STUN_ERROR, STUN_HEADER_BYTES, STUN_METHOD } from "./stun/tables.ts";

/** USE-CANDIDATE on a check; `value` counts renominations where both sides know how, else it is null. */
export interface Nominate {
  readonly value: number | null;
}

export interface Check {
  readonly transactionId: Uint8Array;
  /** `theirs:ours` (RFC 8445 §7.2.2). */
  readonly username: string;
  /** The peer's password. */
  readonly key: Uint8Array;
  readonly priority: number;
  readonly role: IceRole;
  readonly tieBreaker: bigint;
  readonly nominate: Nominate | null;
  /** The length to pad it to, bytes, a multiple of 4; null for none. What is longer by itself stays as it is. */
  readonly padTo: number | null;
}

/** MESSAGE-INTEGRITY and FINGERPRINT with their headers (RFC 8489 §14.5, §14.7), and the padding's own header. */
const BEHIND_PADDING_BYTES = 24 + 8;
const PADDING_HEADER_BYTES = 4;

/** A Binding request as a connectivity check (RFC 8445 §7.1). */
export function encodeCheck(check: Check): Uint8Array {
  const builder = new StunBuilder("request", STUN_METHOD.BINDING, check.transactionId)
    .string(STUN_ATTRIBUTE.USERNAME, check.username)
    .u32(STUN_ATTRIBUTE.PRIORITY, check.priority)
    .u64(
      check.role === "controlling" ? STUN_ATTRIBUTE.ICE_CONTROLLING : STUN_ATTRIBUTE.ICE_CONTROLLED,
      check.tieBreaker,
    );
  if (check.nominate) builder.empty(STUN_ATTRIBUTE.USE_CANDIDATE);
  if (check.nominate && check.nominate.value !== null) builder.u32(STUN_ATTRIBUTE.NOMINATION, check.nominate.value);
  if (check.padTo !== null) {
    const bytes = check.padTo - builder.length - PADDING_HEADER_BYTES - BEHIND_PADDING_BYTES;
    if (bytes > 0) builder.add(STUN_ATTRIBUTE.CHECK_PADDING, new Uint8Array(bytes));
  }
  return builder.build({ key: check.key, fingerprint: true });
}

/** The success response to a check: the source address as it was seen (RFC 8445 §7.3.1.2). */
export function encodeSuccess(request: StunMessage, source: SocketAddress, key: Uint8Array): Uint8Array {
  return new StunBuilder("success", STUN_METHOD.BINDING, request.transactionId)
    .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, source)
    .build({ key, fingerprint: true });
}

/** An error response; only authenticated requests get one, so strangers learn nothing and nobody is answered for them. */
export function encodeError(
  request: StunMessage,
  error: { readonly code: number; readonly unknown?: readonly number[] },
  key: Uint8Array,
): Uint8Array {
  const builder = new StunBuilder("error", STUN_METHOD.BINDING, request.transactionId).errorCode(error.code);
  if (error.unknown) builder.unknownAttributes(error.unknown);
  return builder.build({ key, fingerprint: true });
}

/** What a well-formed check says, once its integrity is verified. */
export interface CheckContent {
  readonly priority: number;
  /** The sender's role and tie-breaker; null where it says neither (RFC 8445 §7.3.1.1). */
  readonly role: { readonly role: IceRole; readonly tieBreaker: bigint } | null;
  readonly nominate: Nominate | null;
}

export type CheckReading =
  | { readonly kind: "check"; readonly content: CheckContent }
  /** Authentic, but to be refused with this error. */
  | {
      readonly kind: "refuse";
      readonly reason: "unknown-attribute" | "bad-request";
      readonly error: { readonly code: number; readonly unknown?: readonly number[] };
    };

/**
 * Those of the check, and those that RFC 8489 itself has: "Known-but-unexpected attributes SHOULD be ignored by the agent" (§6.3), and are
 * no reason for a 420.
 */
const KNOWN_ATTRIBUTES: ReadonlySet<number> = new Set<number>([
  STUN_ATTRIBUTE.USERNAME,
  STUN_ATTRIBUTE.PRIORITY,
  STUN_ATTRIBUTE.USE_CANDIDATE,
  STUN_ATTRIBUTE.ERROR_CODE,
  STUN_ATTRIBUTE.UNKNOWN_ATTRIBUTES,
  STUN_ATTRIBUTE.MAPPED_ADDRESS,
  STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS,
  STUN_ATTRIBUTE.REALM,
  STUN_ATTRIBUTE.NONCE,
  STUN_ATTRIBUTE.USERHASH,
  STUN_ATTRIBUTE.PASSWORD_ALGORITHM,
]);

export const unknownInCheck = (message: StunMessage): readonly number[] =>
  unknownComprehensionRequired(message, KNOWN_ATTRIBUTES);

/** Whether a request proves who sent it; null when it does. The cheap tests come first, and nothing is believed before all passed. */
export function whyUnauthentic(message: StunMessage, key: Uint8Array): "fingerprint" | "integrity" | null {
  if (!verifyFingerprint(message)) return "fingerprint";
  return verifyIntegrity(message, key) ? null : "integrity";
}

/** The fragment of USERNAME before the colon, the receiver's; null when there is none. */
export function receiverUfrag(message: StunMessage): string | null {
  const username = getUsername(message);
  const colon = username?.indexOf(":") ?? -1;
  return username && colon > 0 ? username.slice(0, colon) : null;
}

/** Reads an authentic Binding request. */
export function readCheck(message: StunMessage): CheckReading {
  const unknown = unknownInCheck(message);
  if (unknown.length > 0) {
    return { kind: "refuse", reason: "unknown-attribute", error: { code: STUN_ERROR.UNKNOWN_ATTRIBUTE, unknown } };
  }
  const priority = getU32(message, STUN_ATTRIBUTE.PRIORITY);
  if (priority === null || priority < 1 || priority > 2 ** 31 - 1) {
    return { kind: "refuse", reason: "bad-request", error: { code: STUN_ERROR.BAD_REQUEST } };
  }
  const controlling = getU64(message, STUN_ATTRIBUTE.ICE_CONTROLLING);
  const controlled = getU64(message, STUN_ATTRIBUTE.ICE_CONTROLLED);
  const role =
    controlling !== null
      ? ({ role: "controlling", tieBreaker: controlling } as const)
      : controlled !== null
        ? ({ role: "controlled", tieBreaker: controlled } as const)
        : null;
  const nominate = hasAttribute(message, STUN_ATTRIBUTE.USE_CANDIDATE)
    ? { value: getU32(message, STUN_ATTRIBUTE.NOMINATION) }
    : null;
  return { kind: "check", content: { priority, role, nominate } };
}

/**
 * What a role conflict comes to (RFC 8445 §7.3.1.1): the greater tie-breaker controls. `refuse`: answer 487, the peer switches.
 * `switch`: we do.
 */
export function settleRoles(
  ours: IceRole,
  tieBreaker: bigint,
  theirs: { readonly role: IceRole; readonly tieBreaker: bigint } | null,
): "agree" | "refuse" | "switch" {
  if (!theirs || theirs.role !== ours) return "agree";
  const weWin = tieBreaker >= theirs.tieBreaker;
  return (ours === "controlling") === weWin ? "refuse" : "switch";
}

/**
 * The username fragment that a Binding request is addressed to, without decoding the rest: tells the session among many on one
 * socket. Null when it is no Binding request, or has no USERNAME with a colon.
 */
export function localUfragOf(data: Uint8Array): string | null {
  if (!isStun(data) || data[0] !== 0x00 || data[1] !== 0x01) return null;
  for (let offset = STUN_HEADER_BYTES; offset + 4 <= data.length; ) {
    const type = ((data[offset] as number) << 8) | (data[offset + 1] as number);
    const length = ((data[offset + 2] as number) << 8) | (data[offset + 3] as number);
    const start = offset + 4;
    if (start + length > data.length) return null;
    if (type !== STUN_ATTRIBUTE.USERNAME) {
      offset = start + ((length + 3) & ~3);
      continue;
    }
    const colon = data.subarray(start, start + length).indexOf(0x3a);
    if (colon < 4 || colon > 256) return null; // RFC 8839 §5.4: 4*256 ice-chars
    return String.fromCharCode(...data.subarray(start, start + colon));
  }
  return null;
}

/** Whether a response carries FINGERPRINT that is wrong; responses need not carry any. */
export const hasWrongFingerprint = (message: StunMessage): boolean =>
  getBytes(message, STUN_ATTRIBUTE.FINGERPRINT) !== null && !verifyFingerprint(message);
