import type { Millis } from "@adit/core";
import type { Nominate } from "./checks.ts";
import type { Generation } from "./generation.ts";
import type { CandidatePair, IceRole } from "./pair.ts";
import { transactionKey } from "./stun/message.ts";

/**
 * RFC 8489 §6.2.1: "Rc SHOULD be configurable and SHOULD have a default of 7": the most that one request is sent; and after the
 * last one "Rm times the RTO" of waiting, with Rm = 16.
 */
export const CHECK_SENDS = { maxSends: 7, pauseFactor: 2, lastWaitRtos: 16 } as const;
/**
 * A nomination goes over a pair that works, so silence means loss: the pauses stay as they are, and after three sends a new request
 * follows (perhaps on a better pair), for as long as consent stands.
 */
export const NOMINATION_SENDS = { maxSends: 3, pauseFactor: 1, lastWaitRtos: 1 } as const;
/**
 * Over TCP a request is sent once. RFC 8489 §6.2.2: "Reliability of STUN over TCP and TLS-over-TCP is handled by TCP itself, and there
 * are no retransmissions at the STUN protocol level"; it has failed after Ti, "39.5 s".
 */
export const TCP_CHECK: Repetition = { rtoMs: 500, pauseFactor: 1, maxSends: 1, lastWaitRtos: 79 };
/** A nomination that gets no answer for so long is sent as a new request, perhaps on a better pair. */
export const TCP_NOMINATION: Repetition = { rtoMs: 500, pauseFactor: 1, maxSends: 1, lastWaitRtos: 8 };
/** How long the answer to a request that is not repeated (consent, probe, superseded check) is still taken. */
const ANSWER_WINDOW_MS = 8_000;
/** Beyond it the oldest request that is not repeated is forgotten, and new ones are not sent. */
const MAX_TRANSACTIONS = 512;
/** Probes of one pair that may be out at once; another makes the oldest forgotten. */
export const MAX_PROBES_PER_PAIR = 32;

/**
 * A request that awaits its answer.
 * - `check`: its outcome is the pair's state. `nomination`: the same with USE-CANDIDATE on a pair that succeeded already.
 * - `consent`, `probe`, `padded-probe`: sent once; no answer means nothing by itself.
 */
export type TransactionKind = "check" | "nomination" | "consent" | "probe" | "padded-probe";

export interface Transaction {
  readonly key: string;
  readonly kind: TransactionKind;
  readonly pair: CandidatePair;
  readonly generation: Generation;
  /** The role that the request claimed: what a 487 refers to (RFC 8445 §7.2.5.1). */
  readonly role: IceRole;
  readonly nominate: Nominate | null;
  readonly data: Uint8Array;
  readonly firstSentAt: Millis;
  /** The peer's password: answers are verified with it. */
  readonly answerKey: Uint8Array;
  readonly schedule: Schedule;
}

/** When a transaction wants attention next, and what then. */
type Schedule =
  | {
      readonly kind: "repeat";
      readonly sends: number;
      readonly repetition: Repetition;
      readonly sentAt: Millis;
      readonly at: Millis;
    }
  | { readonly kind: "last-wait"; readonly sends: number; readonly at: Millis }
  /** Not repeated: an answer is welcome until then. */
  | { readonly kind: "once"; readonly sends: number; readonly at: Millis };

export interface Repetition {
  /** The first pause. */
  readonly rtoMs: Millis;
  /** Each further pause is this many times as long. */
  readonly pauseFactor: number;
  readonly maxSends: number;
  readonly lastWaitRtos: number;
}

export type TransactionInit = Omit<Transaction, "schedule" | "firstSentAt" | "key"> & {
  readonly transactionId: Uint8Array;
  /** Null: sent once. */
  readonly repetition: Repetition | null;
};

/** Outstanding requests: retransmission as in RFC 8489 §6.2.1, bounded. */
export class Transactions {
  readonly #byKey = new Map<string, Transaction>();

  get size(): number {
    return this.#byKey.size;
  }

  /** False: too many are out. */
  get hasRoom(): boolean {
    if (this.#byKey.size < MAX_TRANSACTIONS) return true;
    for (const { schedule } of this.#byKey.values()) if (schedule.kind === "once") return true;
    return false;
  }

  /** Records a request that is sent now. */
  start(now: Millis, init: TransactionInit): Transaction {
    if (this.#byKey.size >= MAX_TRANSACTIONS) this.#forgetOldest();
    const { transactionId, repetition, ...rest } = init;
    const transaction: Transaction = {
      ...rest,
      key: transactionKey(transactionId),
      firstSentAt: now,
      schedule: repetition ? afterSend(now, repetition, 1) : { kind: "once", sends: 1, at: now + ANSWER_WINDOW_MS },
    };
    this.#byKey.set(transaction.key, transaction);
    return transaction;
  }

  get(id: Uint8Array): Transaction | null {
    return this.#byKey.get(transactionKey(id)) ?? null;
  }

  delete(transaction: Transaction): void {
    this.#byKey.delete(transaction.key);
  }

  deleteWhere(is: (transaction: Transaction) => boolean): void {
    for (const transaction of this.#byKey.values()) if (is(transaction)) this.#byKey.delete(transaction.key);
  }

  /** Forgets the oldest of a kind until no more than `most` are left. */
  limit(most: number, is: (transaction: Transaction) => boolean): void {
    const some = [...this.#byKey.values()].filter(is);
    for (const transaction of some.slice(0, Math.max(0, some.length - most))) this.#byKey.delete(transaction.key);
  }

  /** Stops repeating a request; its answer is still taken (RFC 8445 §7.3.1.4, "cancels the In-Progress transaction"). */
  supersede(now: Millis, key: string): void {
    const transaction = this.#byKey.get(key);
    if (!transaction) return;
    const { sends } = transaction.schedule;
    this.#byKey.set(key, { ...transaction, schedule: { kind: "once", sends, at: now + ANSWER_WINDOW_MS } });
  }

  /** Brings the next repetition of requests forward, `spacingMs` apart; those sent less than `minAgeMs` ago, or often, are left alone. */
  hasten(now: Millis, spacingMs: Millis, minAgeMs: Millis): void {
    let at = now;
    for (const transaction of this.#byKey.values()) {
      const { schedule } = transaction;
      if (schedule.kind !== "repeat" || schedule.sends > schedule.repetition.maxSends / 2) continue;
      if (now - schedule.sentAt < minAgeMs || schedule.at <= at) continue;
      this.#byKey.set(transaction.key, { ...transaction, schedule: { ...schedule, at } });
      at += spacingMs;
    }
  }

  /** Takes what is due: requests to be sent again (already accounted for), and those whose time is over (already forgotten). */
  takeDue(now: Millis): { readonly repeat: readonly Transaction[]; readonly over: readonly Transaction[] } {
    const repeat: Transaction[] = [];
    const over: Transaction[] = [];
    for (const transaction of this.#byKey.values()) {
      const { schedule } = transaction;
      if (schedule.at > now) continue;
      if (schedule.kind !== "repeat") {
        this.#byKey.delete(transaction.key);
        over.push(transaction);
        continue;
      }
      const { repetition } = schedule;
      const sends = schedule.sends + 1;
      this.#byKey.set(transaction.key, { ...transaction, schedule: afterSend(now, repetition, sends) });
      repeat.push(transaction);
    }
    return { repeat, over };
  }

  get nextAt(): Millis | null {
    let at: Millis | null = null;
    for (const { schedule } of this.#byKey.values()) if (at === null || schedule.at < at) at = schedule.at;
    return at;
  }

  clear(): void {
    this.#byKey.clear();
  }

  #forgetOldest(): void {
    for (const transaction of this.#byKey.values()) {
      if (transaction.schedule.kind !== "once") continue;
      this.#byKey.delete(transaction.key);
      return;
    }
  }
}

/** What follows when a request was sent for the `sends`th time. */
function afterSend(now: Millis, repetition: Repetition, sends: number): Schedule {
  const { rtoMs, pauseFactor, maxSends, lastWaitRtos } = repetition;
  if (sends >= maxSends) return { kind: "last-wait", sends, at: now + rtoMs * lastWaitRtos };
  return { kind: "repeat", sends, repetition, sentAt: now, at: now + rtoMs * pauseFactor ** (sends - 1) };
}

/** Whether the time to an answer is no round trip for certain (Karn's rule). */
export const wasRepeated = (transaction: Transaction): boolean => transaction.schedule.sends > 1;
