import type { Millis } from "@adit/core";
import { Lease } from "./lease.ts";

/** RFC 8656 §9: "The Permission Lifetime MUST be 300 seconds (= 5 minutes)." */
const PERMISSION_LIFETIME_MS = 300_000;

/** A request is given up after 39.5 s, so this leaves room for a whole one before the permission lapses. */
const PERMISSION_REFRESH_MS = 240_000;

/** No more peers at once than this; each costs a request every 4 minutes. Beyond it new ones are refused. */
const MAX_PERMISSIONS = 1024;

/** Which IP addresses may reach us through the allocation. */
export class Permissions {
  readonly #leases = new Map<string, Lease>();

  /** Returns null when there are too many; what is there is returned as it is, a refused one to be asked for again. */
  add(now: Millis, ip: string): Lease | null {
    let lease = this.#leases.get(ip);
    if (!lease) {
      if (this.#leases.size >= MAX_PERMISSIONS) return null;
      lease = new Lease(now, PERMISSION_LIFETIME_MS, PERMISSION_REFRESH_MS);
      this.#leases.set(ip, lease);
    } else if (lease.refused) {
      lease.want(now);
    }
    return lease;
  }

  get(ip: string): Lease | null {
    return this.#leases.get(ip) ?? null;
  }

  has(ip: string): boolean {
    return this.#leases.has(ip);
  }

  remove(ip: string): void {
    this.#leases.delete(ip);
  }

  reset(now: Millis): void {
    for (const lease of this.#leases.values()) lease.reset(now);
  }

  clear(): void {
    this.#leases.clear();
  }

  [Symbol.iterator](): IterableIterator<[string, Lease]> {
    return this.#leases.entries();
  }
}
