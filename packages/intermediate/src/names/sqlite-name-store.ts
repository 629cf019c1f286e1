/** The names, and what was relayed for whom today, in a SQLite file of the state directory. It needs Bun; load it with a dynamic import. */
import { Database, SQLiteError } from "bun:sqlite";
import { accessSync, chmodSync, constants, statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { sentenceOf } from "@adit/program";
import type { UsageStore } from "../accounts.ts";
import {
  MAX_NAMES,
  MAX_NAMES_PER_KEY,
  type NameRecord,
  type NameStore,
  NameStoreError,
  SEEN_GRANULARITY_MS,
  type TakeResult,
} from "./name-store.ts";

export const NAMES_FILE = "names.sqlite";

/** How long a write waits for the other process, ms: the program and its `names` command share the file. */
const BUSY_TIMEOUT_MS = 2_000;

/** `PRAGMA user_version` counts how many of these a file has been through. Add to the end; never change one that was released. */
export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE names (
     name TEXT PRIMARY KEY NOT NULL CHECK (length(name) BETWEEN 1 AND 40),
     peer_id TEXT NOT NULL CHECK (length(peer_id) = 52),
     taken_at INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX names_by_peer ON names (peer_id);`,
  `ALTER TABLE names ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;
   UPDATE names SET seen_at = taken_at;`,
  `CREATE TABLE relayed (
     account TEXT PRIMARY KEY NOT NULL,
     day INTEGER NOT NULL,
     bytes INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;`,
];

const COLUMNS = "name, peer_id AS peerId, taken_at AS takenAt, seen_at AS seenAt";

export interface SqliteNameStoreOptions {
  /** Do not make the file. */
  readonly existing?: boolean;
  /** The file takes no more pages of 4 KiB: how a test fills a disk. */
  readonly maxPages?: number;
  readonly migrations?: readonly string[];
}

type Mode = { readonly create: true } | { readonly readwrite: true };

export class SqliteNameStore implements NameStore, UsageStore {
  readonly path: string;
  readonly #db: Database;
  #dataVersion: number;

  private constructor(path: string, db: Database) {
    this.path = path;
    this.#db = db;
    this.#dataVersion = this.#readDataVersion();
  }

  /**
   * Opens the file, makes it (mode 0600) unless `existing` is set, and brings it to the newest schema.
   * @throws NameStoreError; the file is left as it was then.
   */
  static open(path: string, o: SqliteNameStoreOptions = {}): SqliteNameStore {
    return guarded(path, () => {
      // SQLite takes an empty file for a new database; here it is one that was emptied.
      if (statSync(path, { throwIfNoEntry: false })?.size === 0) throw damaged(path, "it is empty");
      const mode: Mode = o.existing ? { readwrite: true } : { create: true };
      const db = new Database(path, { ...mode, strict: true });
      try {
        // Every commit is on the disk before it is answered: a name that was promised outlives a power failure.
        db.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
        check(path, db);
        db.run("PRAGMA journal_mode = WAL");
        db.run("PRAGMA synchronous = FULL");
        migrate(path, db, o.migrations ?? MIGRATIONS);
        if (o.maxPages !== undefined) db.run(`PRAGMA max_page_count = ${o.maxPages}`);
        chmodSync(path, 0o600);
        return new SqliteNameStore(path, db);
      } catch (error) {
        db.close();
        throw error;
      }
    });
  }

  ownerOf(name: string): string | null {
    return guarded(this.path, () => this.#get(name)?.peerId ?? null);
  }

  take(name: string, peerId: string, unixMs: number): TakeResult {
    return guarded(this.path, () => {
      const record = this.#get(name);
      if (record && record.peerId !== peerId) return { is: "foreign", peerId: record.peerId };
      if (record) {
        this.#markSeen(record, unixMs);
        return { is: "owned", fresh: false };
      }
      // The command may take the name in between: the first INSERT wins, and the loser learns who.
      if (this.#count("SELECT count(*) AS n FROM names") >= MAX_NAMES) return { is: "too-many", limit: "names" };
      if (this.#count("SELECT count(*) AS n FROM names WHERE peer_id = ?", peerId) >= MAX_NAMES_PER_KEY) {
        return { is: "too-many", limit: "names-of-key" };
      }
      this.#db
        .query("INSERT INTO names (name, peer_id, taken_at, seen_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
        .run(name, peerId, unixMs, unixMs);
      const owner = this.#get(name)?.peerId;
      return owner === undefined || owner === peerId ? { is: "owned", fresh: true } : { is: "foreign", peerId: owner };
    });
  }

  release(name: string): NameRecord | null {
    return guarded(this.path, () =>
      this.#db.query<NameRecord, [string]>(`DELETE FROM names WHERE name = ? RETURNING ${COLUMNS}`).get(name),
    );
  }

  transfer(name: string, peerId: string, unixMs: number): string | null {
    return guarded(this.path, () =>
      this.#db
        .transaction(() => {
          const before = this.#get(name)?.peerId ?? null;
          this.#db
            .query("INSERT OR REPLACE INTO names (name, peer_id, taken_at, seen_at) VALUES (?, ?, ?, ?)")
            .run(name, peerId, unixMs, unixMs);
          return before;
        })
        .immediate(),
    );
  }

  list(): readonly NameRecord[] {
    return guarded(this.path, () => this.#db.query<NameRecord, []>(`SELECT ${COLUMNS} FROM names ORDER BY name`).all());
  }

  read(account: string, day: number): number {
    return guarded(this.path, () =>
      this.#count("SELECT bytes AS n FROM relayed WHERE account = ? AND day = ?", account, day),
    );
  }

  write(day: number, bytes: ReadonlyMap<string, number>): void {
    guarded(this.path, () =>
      this.#db
        .transaction(() => {
          this.#db.query("DELETE FROM relayed WHERE day < ?").run(day);
          const put = this.#db.query("INSERT OR REPLACE INTO relayed (account, day, bytes) VALUES (?, ?, ?)");
          for (const [account, count] of bytes) put.run(account, day, count);
        })
        .immediate(),
    );
  }

  changedElsewhere(): boolean {
    return guarded(this.path, () => {
      const before = this.#dataVersion;
      this.#dataVersion = this.#readDataVersion();
      return this.#dataVersion !== before;
    });
  }

  close(): void {
    this.#db.close();
  }

  #get(name: string): NameRecord | null {
    return this.#db.query<NameRecord, [string]>(`SELECT ${COLUMNS} FROM names WHERE name = ?`).get(name);
  }

  #count(sql: string, ...values: (string | number)[]): number {
    return this.#db.query<{ n: number }, (string | number)[]>(sql).get(...values)?.n ?? 0;
  }

  /** For people only: that it cannot be written must not keep a connector out. */
  #markSeen({ name, seenAt }: NameRecord, unixMs: number): void {
    if (unixMs - seenAt < SEEN_GRANULARITY_MS) return;
    try {
      this.#db.query("UPDATE names SET seen_at = ? WHERE name = ?").run(unixMs, name);
    } catch {
      // The next registration tries again; a disk that is full is told at the next new name.
    }
  }

  /** SQLite's own count of changes by other connections. */
  #readDataVersion(): number {
    return this.#db.query<{ data_version: number }, []>("PRAGMA data_version").get()?.data_version ?? 0;
  }
}

/** Reads the whole file once: damage is better found now than when a name is asked for. 100,000 names take some 50 ms. */
function check(path: string, db: Database): void {
  const found = db.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").get()?.quick_check;
  if (found !== "ok") throw damaged(path, found ?? "the check gave no answer");
}

function migrate(path: string, db: Database, migrations: readonly string[]): void {
  const version = () => db.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
  if (version() > migrations.length) {
    const message = `${path} was written by a newer version (schema ${version()}, this one knows ${migrations.length}); run that version`;
    throw new NameStoreError("newer-version", message);
  }
  if (version() === migrations.length) return;
  db.transaction(() => {
    for (let done = version(); done < migrations.length; done++) {
      db.run(migrations[done] ?? "");
      db.run(`PRAGMA user_version = ${done + 1}`);
    }
  }).exclusive();
}

function guarded<R>(path: string, work: () => R): R {
  try {
    return work();
  } catch (error) {
    if (error instanceof NameStoreError) throw error;
    throw fromSqlite(path, error);
  }
}

function fromSqlite(path: string, error: unknown): NameStoreError {
  const code = error instanceof SQLiteError ? (error.code ?? "") : "";
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) return damaged(path, sentenceOf(error), error);
  // SQLite says SQLITE_FULL where it writes, and SQLITE_IOERR where it makes the files beside: neither it nor the system says more.
  if (code === "SQLITE_FULL" || /No space left/i.test(sentenceOf(error)) || (/IOERR/.test(code) && isDiskFull(path))) {
    return new NameStoreError("disk-full", `no room on the disk for ${path}; the names that are stored stand`, {
      cause: error,
    });
  }
  const why = /^SQLITE_(CANTOPEN|READONLY|IOERR)/.test(code) ? unwritable(path) : null;
  return new NameStoreError("unavailable", `${path} cannot be used: ${why ?? sentenceOf(error)}`, { cause: error });
}

function isDiskFull(path: string): boolean {
  try {
    const { bavail, ffree, files } = statfsSync(dirname(path));
    return bavail === 0 || (files > 0 && ffree === 0);
  } catch {
    return false;
  }
}

/** Why nothing can be written there, in words; null when that is not it. SQLite makes files beside its own, to read as well. */
function unwritable(path: string): string | null {
  const dir = dirname(path);
  try {
    accessSync(dir, constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    return `${dir} has to be writable, also to read the names (${sentenceOf(error)})`;
  }
}

const damaged = (path: string, why: string, cause?: unknown): NameStoreError =>
  new NameStoreError(
    "damaged",
    `${path} is damaged (${why}) and was left as it is. Put a backup in its place; or move it away, and each name will belong to the ` +
      "first key that registers it anew",
    { cause },
  );
