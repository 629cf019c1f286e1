import type { Millis } from "@adit/core";
import { getU32 } from "../stun/attributes.ts";
import type { StunMessage } from "../stun/message.ts";
import { STUN_ATTRIBUTE } from "../stun/tables.ts";

/** A Refresh is sent this long before the allocation runs out (a whole request takes 39.5 s), or at half its lifetime if that is short. */
const REFRESH_MARGIN_MS = 60_000;

/** RFC 8656 §6: an allocation lasts 10 minutes by default; taken where an answer does not say. */
const DEFAULT_LIFETIME_MS = 600_000;

/** No lifetime is believed beyond this. RFC 8656 §7.2: "a maximum allowed lifetime value of no more than 3600 seconds". */
const MAX_LIFETIME_MS = 3_600_000;

/** When the allocation that a success response to Allocate or Refresh grants at `now` runs out, and when to refresh it. */
export function grantedLifetime(now: Millis, response: StunMessage): { expiresAt: Millis; refreshAt: Millis } {
  const seconds = getU32(response, STUN_ATTRIBUTE.LIFETIME);
  const lifetimeMs = seconds === null ? DEFAULT_LIFETIME_MS : Math.min(seconds * 1000, MAX_LIFETIME_MS);
  const untilRefreshMs = lifetimeMs > 2 * REFRESH_MARGIN_MS ? lifetimeMs - REFRESH_MARGIN_MS : lifetimeMs / 2;
  return { expiresAt: now + lifetimeMs, refreshAt: now + untilRefreshMs };
}
