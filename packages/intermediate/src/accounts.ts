/**
 * What each identity has used. It is charged to the key, not to the connection or the address: who reconnects, or comes from elsewhere,
 * finds his account as he left it. It lives as long as the process; the bytes of a day outlive that, where there is a store for them.
 */
import { Counters, type Millis } from "@adit/core";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { TokenBucket } from "./token-bucket.ts";

/** Accounts kept, about 300 bytes each. Past it one that is not in use makes way, those that have relayed nothing today first. */
export const MAX_ACCOUNTS = 65_536;
/** How many of the longest unused are looked at for one that has relayed nothing. */
const EVICTION_SCAN = 64;

const DAY_MS = 86_400_000;

export type QuotaRefusal = "quota-messages" | "quota-registrations" | "quota-bandwidth" | "quota-day";

/** Keeps what was relayed for each account in a day. Its methods throw when it cannot. */
export interface UsageStore {
  /** Bytes relayed for that account on that day, 0 when nothing is known. `day` counts from 1970. */
  read(account: string, day: number): number;
  /** Replaces what is known of these accounts. Other days may be forgotten. */
  write(day: number, bytes: ReadonlyMap<string, number>): void;
}

export interface AccountsOptions {
  limits(): Limits;
  /** Where bytes per day are kept; in memory alone unless given. */
  readonly usage?: UsageStore | undefined;
  /** Unix time, ms: days are days of UTC. */
  unixMs(): number;
}

export class Accounts {
  /** What was refused, by reason. */
  readonly counters = new Counters<QuotaRefusal>();
  readonly #options: AccountsOptions;
  readonly #accounts = new Map<string, Account>();
  #usageFailures = 0;

  constructor(options: Partial<AccountsOptions> = {}) {
    this.#options = { limits: () => DEFAULT_LIMITS, unixMs: () => Date.now(), ...options };
  }

  get size(): number {
    return this.#accounts.size;
  }

  get limits(): Limits {
    return this.#options.limits();
  }

  /** The account of a key: `peer:PEERID`, as {@link TurnOwner.key} has it, or of a foreign TURN user. */
  of(key: string): Account {
    const known = this.#accounts.get(key);
    if (known) {
      this.#accounts.delete(key); // to the end: the first ones are those not used for longest
      this.#accounts.set(key, known);
      return known;
    }
    if (this.#accounts.size >= MAX_ACCOUNTS) this.#evict();
    const account = new Account(this.#options, this.counters);
    this.#restore(key, account);
    this.#accounts.set(key, account);
    return account;
  }

  /** Times that the store failed since it last worked: then the day's bytes are counted, and lost at the end of the process. */
  get usageFailures(): number {
    return this.#usageFailures;
  }

  /** Writes down what was relayed since the last call; nothing where nothing is bounded. @throws what the store throws. */
  saveUsage(): void {
    const { usage, limits } = this.#options;
    if (!usage || limits().relayBytesPerDay === Number.POSITIVE_INFINITY) return;
    const changed = [...this.#accounts].filter(([, account]) => account.isUnsaved && account.bytesToday > 0);
    if (changed.length === 0) return;
    try {
      usage.write(this.#today(), new Map(changed.map(([key, account]) => [key, account.bytesToday])));
      for (const [, account] of changed) account.markSaved();
      this.#usageFailures = 0;
    } catch (error) {
      this.#usageFailures++;
      throw error;
    }
  }

  #restore(key: string, account: Account): void {
    const { usage, limits } = this.#options;
    if (!usage || limits().relayBytesPerDay === Number.POSITIVE_INFINITY) return;
    const day = this.#today();
    try {
      account.restore(day, usage.read(key, day));
    } catch {
      this.#usageFailures++;
    }
  }

  #today(): number {
    return Math.floor(this.#options.unixMs() / DAY_MS);
  }

  #evict(): void {
    let oldest: string | null = null;
    let scanned = 0;
    for (const [key, account] of this.#accounts) {
      oldest ??= key;
      if (account.bytesToday === 0) {
        this.#accounts.delete(key);
        return;
      }
      if (++scanned >= EVICTION_SCAN) break;
    }
    if (oldest !== null) this.#accounts.delete(oldest);
  }
}

/** One identity's account. Each `take` charges it, or charges nothing, counts the refusal and says false. */
export class Account {
  readonly #options: AccountsOptions;
  readonly #counters: Counters<QuotaRefusal>;
  readonly #messages = new TokenBucket();
  readonly #registrations = new TokenBucket();
  readonly #bandwidth = new TokenBucket();
  #day = 0;
  #bytes = 0;
  #savedBytes = 0;
  /** When {@link #day} is to be looked at again, on the monotonic clock: the wall clock is not read for every packet. */
  #dayCheckAt: Millis = Number.NEGATIVE_INFINITY;

  /** @internal Made by Accounts. */
  constructor(options: AccountsOptions, counters: Counters<QuotaRefusal>) {
    this.#options = options;
    this.#counters = counters;
  }

  get bytesToday(): number {
    return Math.floor(this.#options.unixMs() / DAY_MS) === this.#day ? this.#bytes : 0;
  }

  /** Whether bytes were charged since {@link markSaved}. */
  get isUnsaved(): boolean {
    return this.#bytes !== this.#savedBytes;
  }

  markSaved(): void {
    this.#savedBytes = this.#bytes;
  }

  /** So much was charged on that day before. */
  restore(day: number, bytes: number): void {
    this.#day = day;
    this.#bytes = bytes;
    this.#savedBytes = bytes;
  }

  takeMessage(now: Millis): boolean {
    const { messagesPerSecond } = this.#options.limits();
    return this.#messages.take(now, 1, messagesPerSecond, messagesPerSecond * 4) || this.#refuse("quota-messages");
  }

  takeRegistration(now: Millis): boolean {
    const { registrationsPerMinute } = this.#options.limits();
    const perSecond = registrationsPerMinute / 60;
    return this.#registrations.take(now, 1, perSecond, registrationsPerMinute) || this.#refuse("quota-registrations");
  }

  /** A packet of so many payload bytes is about to be relayed. False: it is to be dropped, as a narrower link would. */
  takeRelayed(now: Millis, bytes: number): boolean {
    const { relayBytesPerSecond, relayBytesPerDay } = this.#options.limits();
    if (now >= this.#dayCheckAt) this.#turnDay(now);
    if (this.#bytes + bytes > relayBytesPerDay) return this.#refuse("quota-day");
    if (!this.#bandwidth.take(now, bytes, relayBytesPerSecond, relayBytesPerSecond))
      return this.#refuse("quota-bandwidth");
    this.#bytes += bytes;
    return true;
  }

  #turnDay(now: Millis): void {
    const unixMs = this.#options.unixMs();
    const day = Math.floor(unixMs / DAY_MS);
    if (day !== this.#day) this.#bytes = 0;
    this.#day = day;
    this.#dayCheckAt = now + 1_000;
  }

  #refuse(reason: QuotaRefusal): false {
    this.#counters.add(reason);
    return false;
  }
}
