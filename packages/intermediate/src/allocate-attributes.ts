/** What the attributes of an Allocate or Refresh request ask for (RFC 8656 §7.2, §8). */
import type { IpFamily, Millis } from "@adit/core";
import {
  ADDRESS_FAMILY,
  getBytes,
  getU8,
  getU32,
  hasAttribute,
  STUN_ATTRIBUTE,
  STUN_ERROR,
  type StunMessage,
  TRANSPORT_UDP,
} from "@adit/ice";
import type { WantedPort } from "./allocation.ts";

/** RFC 8656 §6: "the default lifetime value of 600 seconds (10 minutes)". */
export const DEFAULT_LIFETIME_MS = 600_000;

/** RFC 8656 §7.2: "a maximum allowed lifetime value of no more than 3600 seconds (1 hour)" is RECOMMENDED. */
export const MAX_LIFETIME_MS = 3_600_000;

/** The R bit of EVEN-PORT (RFC 8656 §18.7): keep the next port for a RESERVATION-TOKEN. */
const RESERVE_NEXT = 0x80;

export interface WantedAllocation {
  readonly lifetimeMs: Millis;
  readonly port: WantedPort;
  /** The one asked for, IPv4 unless said otherwise; or null for "IPv4, and IPv6 in addition". */
  readonly family: IpFamily | null;
}

/** The attributes in the order of §7.2; a number is the error code. */
export function readAllocate(request: StunMessage): WantedAllocation | number {
  const transport = getU8(request, STUN_ATTRIBUTE.REQUESTED_TRANSPORT);
  if (transport === null) return STUN_ERROR.BAD_REQUEST;
  if (transport !== TRANSPORT_UDP) return STUN_ERROR.UNSUPPORTED_TRANSPORT_PROTOCOL;

  const token = getBytes(request, STUN_ATTRIBUTE.RESERVATION_TOKEN);
  const evenPort = getBytes(request, STUN_ATTRIBUTE.EVEN_PORT);
  const family = readFamily(request, STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY);
  const additional = readFamily(request, STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY);
  const lifetime = readLifetime(request);
  if (family === "malformed" || additional === "malformed" || lifetime === "malformed") return STUN_ERROR.BAD_REQUEST;
  if (family === "unknown") return STUN_ERROR.ADDRESS_FAMILY_NOT_SUPPORTED;
  if (token && (token.length !== 8 || evenPort || family !== null || additional !== null)) {
    return STUN_ERROR.BAD_REQUEST;
  }
  // §7.2: in addition to IPv4, IPv6 may be asked for and nothing else; a kept port cannot be one of two.
  if (additional !== null && (family !== null || additional !== 6)) return STUN_ERROR.BAD_REQUEST;
  if (evenPort && evenPort.length !== 1) return STUN_ERROR.BAD_REQUEST;
  const reserve = ((evenPort?.[0] ?? 0) & RESERVE_NEXT) !== 0;
  if (reserve && additional !== null) return STUN_ERROR.BAD_REQUEST;
  return {
    lifetimeMs: clampLifetime(lifetime),
    port: token ? { token } : reserve ? "pair" : evenPort ? "even" : "any",
    family: additional === null ? (family ?? 4) : null,
  };
}

/** REQUESTED-ADDRESS-FAMILY or ADDITIONAL-ADDRESS-FAMILY; null when it is not there. */
export function readFamily(request: StunMessage, type: number): IpFamily | null | "unknown" | "malformed" {
  if (!hasAttribute(request, type)) return null;
  switch (getU8(request, type)) {
    case null:
      return "malformed";
    case ADDRESS_FAMILY.IPV4:
      return 4;
    case ADDRESS_FAMILY.IPV6:
      return 6;
    default:
      return "unknown";
  }
}

/** Seconds. */
export function readLifetime(request: StunMessage): number | null | "malformed" {
  if (!hasAttribute(request, STUN_ATTRIBUTE.LIFETIME)) return null;
  return getU32(request, STUN_ATTRIBUTE.LIFETIME) ?? "malformed";
}

/** §7.2: at least the default, at most the maximum. */
export function clampLifetime(seconds: number | null): Millis {
  if (seconds === null) return DEFAULT_LIFETIME_MS;
  return Math.min(MAX_LIFETIME_MS, Math.max(DEFAULT_LIFETIME_MS, seconds * 1000));
}

export const familyCode = (family: IpFamily): number => (family === 4 ? ADDRESS_FAMILY.IPV4 : ADDRESS_FAMILY.IPV6);
