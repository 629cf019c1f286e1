import type { Millis, Random } from "@adit/core";
import type { Generation } from "./generation.ts";

/** RFC 7675 §5.1: "Consent expires after 30 seconds." */
export const CONSENT_TIMEOUT_MS = 30_000;
/** RFC 7675 §5.1: "Implementations SHOULD set a default interval of 5 seconds, resulting in a period between checks of 4 to 6 seconds." */
export const CONSENT_INTERVAL_MS = 5_000;

/** The peer's leave to send on a pair. It was given in a generation, and is renewed with that generation's credentials. */
export interface Consent {
  readonly generation: Generation;
  /** When it was first given in this generation. */
  readonly since: Millis;
  readonly expiresAt: Millis;
  readonly nextCheckAt: Millis;
  /** When the check that is out counts as missed: that is told once, and never while there is none. */
  readonly missedAt: Millis;
  /** It was told, and no answer has come since. */
  readonly isDegraded: boolean;
}

/** Consent as an authenticated answer at `now` gives or renews it. */
export const freshConsent = (
  now: Millis,
  generation: Generation,
  random: Random,
  renewed: Consent | null,
): Consent => ({
  generation,
  since: renewed?.since ?? now,
  expiresAt: now + CONSENT_TIMEOUT_MS,
  // Any answer renews it, but the schedule stays: a pair that is probed often is not checked less at random times.
  nextCheckAt: renewed?.nextCheckAt ?? nextConsentCheck(now, random),
  missedAt: Number.POSITIVE_INFINITY,
  isDegraded: false,
});

/** A check that is not answered for so long, or for three round trips, was lost or the path is gone. */
const MISSED_MS = 200;

/** What a check that leaves at `now` makes of it. */
export function awaitingAnswer(consent: Consent, now: Millis, rttMs: Millis | null): Consent {
  if (consent.isDegraded) return consent;
  return { ...consent, missedAt: Math.min(consent.missedAt, now + Math.max(MISSED_MS, 3 * (rttMs ?? 0))) };
}

/** So many times are drawn for a check, to take the one that is furthest from the checks of the other pairs. */
const DRAWS = 4;

/**
 * RFC 7675 §5.1: "each interval MUST be randomized from between 0.8 and 1.2 times the basic period", so that checks do not synchronize; those of one session
 * are moved apart, `others` being when its other pairs' are due. All of them tell of the same NAT: with two pairs it is heard of twice as often for nothing.
 */
export function nextConsentCheck(now: Millis, random: Random, others: readonly Millis[] = []): Millis {
  let best = { at: now, apartMs: -1 };
  for (let draw = 0; draw < DRAWS; draw++) {
    const at = now + CONSENT_INTERVAL_MS * (0.8 + 0.4 * random.float());
    const apartMs = Math.min(CONSENT_INTERVAL_MS, ...others.map((other) => apart(at, other)));
    if (apartMs > best.apartMs) best = { at, apartMs };
  }
  return best.at;
}

/** How far apart two times are where both come again each {@link CONSENT_INTERVAL_MS}. */
function apart(a: Millis, b: Millis): Millis {
  const ms = Math.abs(a - b) % CONSENT_INTERVAL_MS;
  return Math.min(ms, CONSENT_INTERVAL_MS - ms);
}
