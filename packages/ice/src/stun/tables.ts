/** RFC 8489 §5: "The Magic Cookie field MUST contain the fixed value 0x2112A442 in network byte order." */
export const STUN_MAGIC_COOKIE = 0x2112a442;

/** RFC 8489 §5: "All STUN messages comprise a 20-byte header". */
export const STUN_HEADER_BYTES = 20;

/** STUN methods, 12 bits (RFC 8489 §18.2, RFC 8656 §17). */
export const STUN_METHOD = {
  BINDING: 0x001,
  ALLOCATE: 0x003,
  REFRESH: 0x004,
  SEND: 0x006,
  DATA: 0x007,
  CREATE_PERMISSION: 0x008,
  CHANNEL_BIND: 0x009,
} as const;

/** STUN attribute types (the IANA registry). Below 0x8000 a receiver must understand them ({@link isComprehensionRequired}). */
export const STUN_ATTRIBUTE = {
  // RFC 8489 §18.3
  MAPPED_ADDRESS: 0x0001,
  USERNAME: 0x0006,
  MESSAGE_INTEGRITY: 0x0008,
  ERROR_CODE: 0x0009,
  UNKNOWN_ATTRIBUTES: 0x000a,
  REALM: 0x0014,
  NONCE: 0x0015,
  MESSAGE_INTEGRITY_SHA256: 0x001c,
  PASSWORD_ALGORITHM: 0x001d,
  USERHASH: 0x001e,
  XOR_MAPPED_ADDRESS: 0x0020,
  PASSWORD_ALGORITHMS: 0x8002,
  ALTERNATE_DOMAIN: 0x8003,
  SOFTWARE: 0x8022,
  ALTERNATE_SERVER: 0x8023,
  FINGERPRINT: 0x8028,
  // RFC 8656 §18
  CHANNEL_NUMBER: 0x000c,
  LIFETIME: 0x000d,
  XOR_PEER_ADDRESS: 0x0012,
  DATA: 0x0013,
  XOR_RELAYED_ADDRESS: 0x0016,
  REQUESTED_ADDRESS_FAMILY: 0x0017,
  EVEN_PORT: 0x0018,
  REQUESTED_TRANSPORT: 0x0019,
  DONT_FRAGMENT: 0x001a,
  RESERVATION_TOKEN: 0x0022,
  ADDITIONAL_ADDRESS_FAMILY: 0x8000,
  ADDRESS_ERROR_CODE: 0x8001,
  ICMP: 0x8004,
  // RFC 8445 §16.1
  PRIORITY: 0x0024,
  USE_CANDIDATE: 0x0025,
  ICE_CONTROLLED: 0x8029,
  ICE_CONTROLLING: 0x802a,
  /** draft-thatcher-ice-renomination §4; the value that libwebrtc and pion use. */
  NOMINATION: 0xc001,
  /** Our own, comprehension-optional: zeros that make a check as long as a datagram whose way it tries out (docs/protocol.md). */
  CHECK_PADDING: 0xc0ad,
  // RFC 5780 §9.1 (NAT behaviour discovery)
  CHANGE_REQUEST: 0x0003,
  PADDING: 0x0026,
  RESPONSE_PORT: 0x0027,
  RESPONSE_ORIGIN: 0x802b,
  OTHER_ADDRESS: 0x802c,
} as const;

/** Error codes by name (RFC 8489 §14.8, RFC 8656 §19, RFC 8445 §7.3.1.1). */
export const STUN_ERROR = {
  TRY_ALTERNATE: 300,
  BAD_REQUEST: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  UNKNOWN_ATTRIBUTE: 420,
  ALLOCATION_MISMATCH: 437,
  STALE_NONCE: 438,
  ADDRESS_FAMILY_NOT_SUPPORTED: 440,
  WRONG_CREDENTIALS: 441,
  UNSUPPORTED_TRANSPORT_PROTOCOL: 442,
  PEER_ADDRESS_FAMILY_MISMATCH: 443,
  CONNECTION_ALREADY_EXISTS: 446,
  CONNECTION_TIMEOUT_OR_FAILURE: 447,
  ALLOCATION_QUOTA_REACHED: 486,
  ROLE_CONFLICT: 487,
  SERVER_ERROR: 500,
  INSUFFICIENT_CAPACITY: 508,
} as const;

const REASONS: ReadonlyMap<number, string> = new Map([
  [300, "Try Alternate"],
  [400, "Bad Request"],
  [401, "Unauthenticated"],
  [403, "Forbidden"],
  [420, "Unknown Attribute"],
  [437, "Allocation Mismatch"],
  [438, "Stale Nonce"],
  [440, "Address Family not Supported"],
  [441, "Wrong Credentials"],
  [442, "Unsupported Transport Protocol"],
  [443, "Peer Address Family Mismatch"],
  [446, "Connection Already Exists"],
  [447, "Connection Timeout or Failure"],
  [486, "Allocation Quota Reached"],
  [487, "Role Conflict"],
  [500, "Server Error"],
  [508, "Insufficient Capacity"],
]);

/** The reason phrase that the standards give an error code; "Error" for a code they do not know. */
export function stunErrorReason(code: number): string {
  return REASONS.get(code) ?? "Error";
}

/** The protocol number in REQUESTED-TRANSPORT (RFC 8656 §18.8: "17 (UDP)"). */
export const TRANSPORT_UDP = 17;

/** The value in REQUESTED-ADDRESS-FAMILY and ADDITIONAL-ADDRESS-FAMILY (RFC 8656 §18.6). */
export const ADDRESS_FAMILY = { IPV4: 0x01, IPV6: 0x02 } as const;

/** RFC 8489 §14: "comprehension-required attributes" are 0x0000..0x7FFF. */
export const isComprehensionRequired = (type: number): boolean => type < 0x8000;

/**
 * The longest value, bytes, that these attributes may have; longer ones are neither written nor believed.
 * USERNAME: "fewer than 509 bytes" (§14.3). REALM, NONCE, SOFTWARE, reason phrase: fewer than 128 characters, "which can be as
 * long as 509 bytes when encoding them or 763 bytes when decoding them" (§14.8; §14.9, §14.10, §14.14 likewise).
 */
export const STUN_LIMITS = {
  USERNAME_BYTES: 508,
  TEXT_BYTES_SENT: 509,
  TEXT_BYTES_RECEIVED: 763,
} as const;

/** PASSWORD-ALGORITHM values (RFC 8489 §18.5). */
export const PASSWORD_ALGORITHM = { MD5: 0x0001, SHA256: 0x0002 } as const;
