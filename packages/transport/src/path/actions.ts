import type { Millis } from "@adit/core";
import type { PairId } from "@adit/ice";
import type { SessionPath } from "../status.ts";
import type { SlotIndex } from "./slots.ts";

/** Nothing direct works within this time of the session's start: the hole punch failed, the session stays on the relay. */
export const PUNCH_TIMEOUT_MS = 5_000;
/**
 * A session that starts on the relay stays there until its first bytes have come, or for so long: what was asked for first is not
 * held up by a switch of paths, and a service that is slow to answer does not hold up the switch.
 */
export const FIRST_BYTES_MS = 500;
/** How long quiche may take to validate a path before it is given up, ms. */
export const VALIDATION_TIMEOUT_MS = 2_000;
/** "keepalive 15 s": keeps QUIC's idle timer from firing, which STUN does not. */
export const KEEPALIVE_MS = 15_000;
/** With no path standing, every pair is checked this often. */
export const STRANDED_CHECK_MS = 200;
/** The pairs that exist get this long before an ICE restart looks for new ones. */
export const RESTART_AFTER_MS = 1_000;
/**
 * Told that the peer is gone or new, a side believes it after this long without any sign of life, ms: a dozen checks on each
 * pair, so that losses alone do not end a session, and "notices within 2 s",
 */
const GONE_AFTER_MIN_MS = 1_200;
/** and no sooner than a path can be given up (3), the peer asked through the intermediate whether it knows the session (1), and a new path checked (1). */
const GONE_AFTER_ROUND_TRIPS = 5;
/** `roundTripMs`: the longest that is known. */
export const goneAfterMs = (roundTripMs: Millis): Millis =>
  Math.max(GONE_AFTER_MIN_MS, GONE_AFTER_ROUND_TRIPS * roundTripMs);
/** Consent is lost by then (RFC 7675 §5.1): the session is suspended. */
export const SUSPEND_AFTER_MS = 30_000;
/** A suspended session ends after this long, which is QUIC's own idle timeout. */
export const SUSPEND_LIMIT_MS = 600_000;

/** What the policy wants done. */
export type PathAction =
  /** Send one liveness check on the pair. */
  | { readonly type: "check"; readonly pair: PairId }
  /** Have QUIC validate the slot's path (no-op where it holds it for validated), then call handleValidated. */
  | { readonly type: "validate"; readonly slot: SlotIndex }
  /** Make the slot QUIC's active path and send something ack-eliciting there at once, so that the peer follows. */
  | { readonly type: "migrate"; readonly slot: SlotIndex }
  /** Send something ack-eliciting on the active path: it keeps QUIC alive, and cuts a backed-off PTO short. */
  | { readonly type: "ping" }
  /** The path does not answer: do signaling and relay still answer? */
  | { readonly type: "probe-infrastructure" }
  /** ICE: one check now on each direct pair that is not valid, whatever its own clocks say. */
  | { readonly type: "look" }
  /** ICE: check the pairs that failed once more. */
  | { readonly type: "retry" }
  /** ICE restart: new candidates, new pairs. */
  | { readonly type: "restart" }
  /** The session's path changed, to another kind or to another `pair`, null for none; `gapMs` is null where nothing was measured. */
  | {
      readonly type: "changed";
      readonly pair: PairId | null;
      readonly from: SessionPath;
      readonly to: SessionPath;
      readonly reason: string;
      readonly gapMs: Millis | null;
    }
  /** No direct path within {@link PUNCH_TIMEOUT_MS}. */
  | { readonly type: "punch-failed"; readonly reason: string }
  | { readonly type: "end"; readonly code: string; readonly reason: string };
