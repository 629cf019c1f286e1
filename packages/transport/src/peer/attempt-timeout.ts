import type { Millis } from "@adit/core";

/** An attempt that leads to nothing ends after this long. "connection attempt 5 s" */
const ATTEMPT_TIMEOUT_MS = 5_000;
/**
 * Without any loss it takes seven round trips to the intermediate until a session is up: three for the introduction and the relay's permission, and two over
 * the relay, which is twice as far. Twice as many again are for what gets lost; but nobody waits longer for one attempt than the bound below.
 */
const ATTEMPT_ROUND_TRIPS = 20;
const MAX_ATTEMPT_TIMEOUT_MS = 9_000;

/** Of one attempt to connect, from the round trip to the intermediate. */
export const attemptTimeoutMs = (intermediateRttMs: Millis): Millis =>
  Math.min(MAX_ATTEMPT_TIMEOUT_MS, Math.max(ATTEMPT_TIMEOUT_MS, ATTEMPT_ROUND_TRIPS * intermediateRttMs));
