/** Which key a name belongs to. A name belongs to the key that took it first, until an operator says otherwise. */
import { AditError } from "@adit/core";

/** Names that one key may own. A connector registers one at a time. */
export const MAX_NAMES_PER_KEY = 16;

/** Names in all: some 20 MB of file. Past it new names are refused; those that are owned go on. */
export const MAX_NAMES = 100_000;

/** `seenAt` is written no more often than this: it is for people who look for names that nobody uses any more. */
export const SEEN_GRANULARITY_MS = 86_400_000;

export interface NameRecord {
  readonly name: string;
  readonly peerId: string;
  /** Unix time, ms. */
  readonly takenAt: number;
  /** When it was last registered, to within a day; Unix time, ms. */
  readonly seenAt: number;
}

export type TakeResult =
  /** `fresh`: nobody owned it before. */
  | { readonly is: "owned"; readonly fresh: boolean }
  | { readonly is: "foreign"; readonly peerId: string }
  | { readonly is: "too-many"; readonly limit: "names-of-key" | "names" };

export type NameStoreErrorCode =
  /** No room on the disk. What was stored stays. */
  | "disk-full"
  /** The file is not what was written. It is left as it is. */
  | "damaged"
  /** A newer version of the program wrote it. */
  | "newer-version"
  /** Permissions, another program's lock, an I/O error. */
  | "unavailable";

export class NameStoreError extends AditError {
  override readonly code: NameStoreErrorCode;

  constructor(code: NameStoreErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** All methods are synchronous, and throw NameStoreError; a call that throws has changed nothing. */
export interface NameStore {
  ownerOf(name: string): string | null;
  /** The key asks for the name: its own, or one that nobody has. */
  take(name: string, peerId: string, unixMs: number): TakeResult;
  /** The name becomes free. Null when it was. */
  release(name: string): NameRecord | null;
  /** The name becomes this key's, whoever had it; returns who that was. */
  transfer(name: string, peerId: string, unixMs: number): string | null;
  /** In alphabetical order. */
  list(): readonly NameRecord[];
  /** Whether another process changed something since the last call. */
  changedElsewhere(): boolean;
  close(): void;
}

/** Forgets all when the process ends: for tests, and for embedding. */
export class MemoryNameStore implements NameStore {
  readonly #records = new Map<string, NameRecord>();

  ownerOf(name: string): string | null {
    return this.#records.get(name)?.peerId ?? null;
  }

  take(name: string, peerId: string, unixMs: number): TakeResult {
    const record = this.#records.get(name);
    if (record && record.peerId !== peerId) return { is: "foreign", peerId: record.peerId };
    if (record) {
      this.#records.set(name, { ...record, seenAt: unixMs });
      return { is: "owned", fresh: false };
    }
    if (this.#records.size >= MAX_NAMES) return { is: "too-many", limit: "names" };
    let own = 0;
    for (const other of this.#records.values()) if (other.peerId === peerId) own++;
    if (own >= MAX_NAMES_PER_KEY) return { is: "too-many", limit: "names-of-key" };
    this.#records.set(name, { name, peerId, takenAt: unixMs, seenAt: unixMs });
    return { is: "owned", fresh: true };
  }

  release(name: string): NameRecord | null {
    const record = this.#records.get(name) ?? null;
    this.#records.delete(name);
    return record;
  }

  transfer(name: string, peerId: string, unixMs: number): string | null {
    const before = this.ownerOf(name);
    this.#records.set(name, { name, peerId, takenAt: unixMs, seenAt: unixMs });
    return before;
  }

  list(): readonly NameRecord[] {
    return [...this.#records.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  changedElsewhere(): boolean {
    return false;
  }

  close(): void {}
}
