import type { Millis, SocketAddress } from "@adit/core";
import { STUN_ERROR } from "../stun/tables.ts";

/** `idle` before `start`; `failed`: no allocation, and none is tried for; `closed` is final. */
export type TurnState = "idle" | "allocating" | "allocated" | "failed" | "closed";

/** What a {@link TurnClient} reports; `code` is a STUN error code, null when it was not the relay that said so (it is silent). */
export type TurnEvent =
  /**
   * The relay forwards what reaches `relayed`, and `additional`, the address of the other family where both were asked for and given;
   * `mapped` is how it sees us. Also after "lost": with other addresses.
   */
  | {
      readonly type: "allocated";
      readonly relayed: SocketAddress;
      readonly additional: SocketAddress | null;
      readonly mapped: SocketAddress | null;
    }
  /** No allocation, and none is tried for until `start`. */
  | {
      readonly type: "failed";
      readonly code: number | null;
      readonly reason: string;
      /** How long to wait before `start` has a chance, ms; null when it has none with the same relay and credentials. */
      readonly retryAfterMs: Millis | null;
      /** Where a 300 (Try Alternate) points. */
      readonly alternateServer: SocketAddress | null;
    }
  /** The allocation is gone. Another one is being asked for already; permissions and channels follow it by themselves. */
  | { readonly type: "lost"; readonly reason: string }
  /** A permission holds from now on, or was refused, or the relay does not answer (`code` null: it is asked again). */
  | { readonly type: "permission"; readonly ip: string; readonly ok: boolean; readonly code: number | null }
  | { readonly type: "channel"; readonly peer: SocketAddress; readonly ok: boolean; readonly code: number | null };

/** Why a datagram from the relay's address was dropped. */
export type TurnDrop =
  | "malformed"
  | "unmatched"
  | "bad-integrity"
  | "unexpected"
  | "not-allocated"
  | "unknown-channel"
  | "no-permission";

/** How long to wait after an Allocate failed with this code; null where the same request has no chance. */
export function retryAfterMs(code: number | null): Millis | null {
  switch (code) {
    case null:
      return 5_000;
    case STUN_ERROR.ALLOCATION_MISMATCH:
    case STUN_ERROR.ALLOCATION_QUOTA_REACHED:
    case STUN_ERROR.INSUFFICIENT_CAPACITY:
      return 60_000; // RFC 8656 §7.4: "The client SHOULD wait at least 1 minute before trying"
    case STUN_ERROR.SERVER_ERROR:
      return 10_000;
    default:
      return null;
  }
}
