import type { SocketAddress, SocketId } from "@adit/core";
import type { CheckContent } from "./checks.ts";
import { pairId } from "./pair.ts";
import { transactionKey } from "./stun/message.ts";

/** Authenticated requests that are remembered; beyond it the oldest is forgotten. */
export const MAX_SEEN_REQUESTS = 512;

/**
 * The authenticated requests of late. A check is authentic wherever it comes from, so who records one may send it again from an
 * address of his own: the first path that a transaction came by is the only one that it counts for.
 */
export class SeenRequests {
  readonly #paths = new Map<string, string>();

  /** Whether the transaction is known from another path; if it is new it is remembered. */
  isReplay(transactionId: Uint8Array, socket: SocketId, from: SocketAddress): boolean {
    const key = transactionKey(transactionId);
    const path = pairId(socket, from);
    const known = this.#paths.get(key);
    if (known !== undefined) return known !== path;
    if (this.#paths.size >= MAX_SEEN_REQUESTS) {
      for (const oldest of this.#paths.keys()) {
        this.#paths.delete(oldest);
        break;
      }
    }
    this.#paths.set(key, path);
    return false;
  }
}

/** Checks that came before the peer's parameters, one for each path; beyond it the oldest is forgotten (the peer repeats it). */
export const MAX_EARLY_CHECKS = 32;

export interface EarlyCheck {
  readonly socket: SocketId;
  readonly from: SocketAddress;
  readonly content: CheckContent;
}

/** Answered at once, acted upon when the parameters are there (RFC 8445 §7.3). */
export class EarlyChecks {
  readonly #byPath = new Map<string, EarlyCheck>();

  get size(): number {
    return this.#byPath.size;
  }

  add(check: EarlyCheck): void {
    const path = pairId(check.socket, check.from);
    this.#byPath.delete(path);
    if (this.#byPath.size >= MAX_EARLY_CHECKS) {
      for (const oldest of this.#byPath.keys()) {
        this.#byPath.delete(oldest);
        break;
      }
    }
    this.#byPath.set(path, check);
  }

  take(): EarlyCheck[] {
    const all = [...this.#byPath.values()];
    this.#byPath.clear();
    return all;
  }
}
