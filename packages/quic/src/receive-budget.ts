/** Of the session's budget, what every stream may have without asking, bytes: interactive streams never notice it. */
export const FREE_WINDOW_BYTES = 128 * 1024;
/**
 * quiche doubles a stream's window when half of it was read within two of its round trips. So no window is larger than four times what was read
 * in such a time; which is measured in spells of three smoothed round trips, because quiche's own may be longer, and this much more, ms.
 */
const READS_PER_WINDOW = 4;
const SPELL_ROUND_TRIPS = 3;
const SPELL_EXTRA_MS = 10;

export interface ReceiveBudgetOptions {
  /** What the windows of all streams together may grow by, beyond {@link FREE_WINDOW_BYTES} each. */
  readonly budgetBytes: number;
  /** No window grows beyond it. */
  readonly maxWindowBytes: number;
  /** Of the connection, ms. Asked at the start of a spell. */
  rttMs(): number;
}

/** What one stream's window may have grown to. */
export interface WindowAccount {
  windowBytes: number;
  spellEndsAt: number;
  readInSpell: number;
}

/**
 * Bounds what the peer may make a session hold for streams whose readers stop. A window never shrinks, and 1,000 windows of 8 MiB are 8 GB. So
 * windows grow at the cost of a budget: when it is spent, a stream is read no faster than its window stands, so that it gets no larger one.
 * It goes on all the same, and who has little to say does not notice.
 */
export class ReceiveBudget {
  readonly #options: ReceiveBudgetOptions;
  #spentBytes = 0;
  /** The least time at which a stream that is held back may go on; null when none is. */
  #heldUntil: number | null = null;

  constructor(options: ReceiveBudgetOptions) {
    this.#options = options;
  }

  /** What windows have grown by, bytes. */
  get spentBytes(): number {
    return this.#spentBytes;
  }

  get heldUntil(): number | null {
    return this.#heldUntil;
  }

  /** A stream begins. */
  open(): WindowAccount {
    return { windowBytes: FREE_WINDOW_BYTES, spellEndsAt: Number.NEGATIVE_INFINITY, readInSpell: 0 };
  }

  /** A stream is over: what it was given is free again. */
  close(account: WindowAccount): void {
    this.#spentBytes -= account.windowBytes - FREE_WINDOW_BYTES;
    account.windowBytes = FREE_WINDOW_BYTES;
  }

  /** How many bytes may be read of it now. After 0: again at {@link heldUntil}. */
  room(now: number, account: WindowAccount): number {
    if (now >= account.spellEndsAt) {
      account.spellEndsAt = now + SPELL_ROUND_TRIPS * this.#options.rttMs() + SPELL_EXTRA_MS;
      account.readInSpell = 0;
    }
    const { budgetBytes, maxWindowBytes } = this.#options;
    const windowBytes = Math.max(
      FREE_WINDOW_BYTES,
      Math.min(maxWindowBytes, account.windowBytes + budgetBytes - this.#spentBytes),
    );
    if (windowBytes >= maxWindowBytes) return Number.POSITIVE_INFINITY;
    const room = Math.floor(windowBytes / READS_PER_WINDOW) - account.readInSpell;
    if (room > 0) return room;
    this.#heldUntil = Math.min(this.#heldUntil ?? Number.POSITIVE_INFINITY, account.spellEndsAt);
    return 0;
  }

  read(account: WindowAccount, bytes: number): void {
    account.readInSpell += bytes;
    const windowBytes = Math.min(this.#options.maxWindowBytes, account.readInSpell * READS_PER_WINDOW);
    if (windowBytes <= account.windowBytes) return;
    this.#spentBytes += windowBytes - account.windowBytes;
    account.windowBytes = windowBytes;
  }

  /** Those that were held back are about to be looked at again. */
  resume(): void {
    this.#heldUntil = null;
  }
}
