import type { Millis } from "@adit/core";
import type { KnownPair } from "./known-pairs.ts";

/** A direct path is entered unless it is slower than the relay by more than this. The relay's capacity is shared: a tie goes to direct. */
export const ENTER_DIRECT_SLACK_MS = 5;
/** And left only when it is slower by more than this, so that a path on the edge does not flap: 5 ms of hysteresis. */
export const LEAVE_DIRECT_SLACK_MS = 10;
/** For this long. */
export const LEAVE_DIRECT_AFTER_MS = 10_000;

/**
 * Whether bytes should go over the direct path, from measured round trips (ms, null = not measured).
 * `current` is where they go now. A direct path that never answered is never used; one whose relay never answered always is.
 */
export function shouldUseDirect(
  current: "relay" | "direct",
  directRttMs: Millis | null,
  relayRttMs: Millis | null,
): boolean {
  if (directRttMs === null) return false;
  if (relayRttMs === null) return true;
  const slackMs = current === "direct" ? LEAVE_DIRECT_SLACK_MS : ENTER_DIRECT_SLACK_MS;
  return directRttMs <= relayRttMs + slackMs;
}

/** From one direct pair to another only for a round trip that is better beyond doubt. */
export function isWorthMoving(to: KnownPair, from: KnownPair): boolean {
  const [toMs, fromMs] = [to.rtt.minMs, from.rtt.minMs];
  return (
    to.pair.priority > from.pair.priority && toMs !== null && fromMs !== null && toMs + ENTER_DIRECT_SLACK_MS < fromMs
  );
}
