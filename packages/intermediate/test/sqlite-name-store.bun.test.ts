import { Database } from "bun:sqlite";
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type T, test } from "@adit/harness";
import { type NameStore, NameStoreError } from "../src/names/name-store.ts";
import { MIGRATIONS, SqliteNameStore } from "../src/names/sqlite-name-store.ts";
import { nameStoreContract, OTHER, OWNER } from "./name-store-contract.ts";

function file(t: T): string {
  const dir = mkdtempSync(join(tmpdir(), "adit-names-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  return join(dir, "names.sqlite");
}

function failure(work: () => unknown): NameStoreError {
  try {
    work();
  } catch (error) {
    if (error instanceof NameStoreError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

nameStoreContract("a file", (t): NameStore => {
  const store = SqliteNameStore.open(file(t));
  t.teardown(() => store.close());
  return store;
});

test("names outlive the process; the file is for its owner alone", async (t) => {
  const path = file(t);
  const first = SqliteNameStore.open(path);
  first.take("office", OWNER, 1_000);
  first.close();
  const second = SqliteNameStore.open(path);
  t.same(second.list(), [{ name: "office", peerId: OWNER, takenAt: 1_000, seenAt: 1_000 }]);
  t.same(second.take("office", OTHER, 2_000), { is: "foreign", peerId: OWNER });
  t.equal(statSync(path).mode & 0o777, 0o600);
  second.close();
});

test("a file of the first schema is brought to the newest, with its names", async (t) => {
  const path = file(t);
  const old = SqliteNameStore.open(path, { migrations: MIGRATIONS.slice(0, 1) });
  old.close();
  const raw = new Database(path);
  raw.run("INSERT INTO names (name, peer_id, taken_at) VALUES ('office', ?, 5)", [OWNER]);
  raw.close();
  const store = SqliteNameStore.open(path);
  t.same(store.list(), [{ name: "office", peerId: OWNER, takenAt: 5, seenAt: 5 }]);
  store.close();
});

test("a migration that fails half-way leaves the file as it was; a newer file is refused", async (t) => {
  const path = file(t);
  const before = SqliteNameStore.open(path);
  before.take("office", OWNER, 1);
  before.close();
  const broken = [...MIGRATIONS, "ALTER TABLE names ADD COLUMN extra TEXT; INSERT INTO nowhere VALUES (1);"];
  t.equal(failure(() => SqliteNameStore.open(path, { migrations: broken })).code, "unavailable");
  const after = SqliteNameStore.open(path);
  t.equal(after.ownerOf("office"), OWNER);
  after.close();
  const newer = [...MIGRATIONS, "ALTER TABLE names ADD COLUMN extra TEXT;"];
  SqliteNameStore.open(path, { migrations: newer }).close();
  const refused = failure(() => SqliteNameStore.open(path));
  t.equal(refused.code, "newer-version");
  t.match(refused.message, /schema 4, this one knows 3/);
});

test("a damaged file is said to be one, and not touched", async (t) => {
  const path = file(t);
  const store = SqliteNameStore.open(path);
  for (let i = 0; i < 500; i++) store.take(`name-${i}`, `${String(i).padStart(4, "a")}${OWNER.slice(4)}`, i);
  store.close();
  const bytes = readFileSync(path);
  bytes.fill(0xa5, 4_096, 8_192); // one page in the middle
  writeFileSync(path, bytes);
  const error = failure(() => SqliteNameStore.open(path));
  t.equal(error.code, "damaged");
  t.match(error.message, /backup/);
  t.ok(readFileSync(path).equals(bytes), "byte for byte");
  writeFileSync(path, "this was never a database. ".repeat(100));
  t.equal(failure(() => SqliteNameStore.open(path)).code, "damaged");
  truncateSync(path, 50);
  t.equal(failure(() => SqliteNameStore.open(path)).code, "damaged");
  truncateSync(path, 0);
  t.equal(failure(() => SqliteNameStore.open(path)).code, "damaged");
});

test("a full disk: new names are refused with a sentence, those that are stored stand, and it goes on when there is room", async (t) => {
  const path = file(t);
  const store = SqliteNameStore.open(path);
  store.take("office", OWNER, 1);
  // What SQLite reports at ENOSPC as well (SQLITE_FULL), brought about by a bound on the pages of this connection.
  store.close();
  const small = SqliteNameStore.open(path, { maxPages: 5 });
  let refused: NameStoreError | null = null;
  let taken = 0;
  for (let i = 0; i < 2_000 && !refused; i++) {
    try {
      small.take(`name-${i}`, `${String(i).padStart(4, "a")}${OWNER.slice(4)}`, i);
      taken++;
    } catch (error) {
      refused = error as NameStoreError;
    }
  }
  t.equal(refused?.code, "disk-full");
  t.ok(taken > 0);
  t.equal(small.list().length, taken + 1, "what was promised is there, and no half of another");
  t.same(small.take("office", OWNER, 10 * 86_400_000), { is: "owned", fresh: false }, "an owner gets in all the same");
  small.close();
  const roomy = SqliteNameStore.open(path);
  t.same(roomy.take("one-more", OWNER, 1), { is: "owned", fresh: true });
  t.equal(roomy.list().length, taken + 2);
  roomy.close();
});

test("two processes share it: each sees what the other did", async (t) => {
  const path = file(t);
  const program = SqliteNameStore.open(path);
  program.take("office", OWNER, 1);
  t.equal(program.changedElsewhere(), false, "own changes do not count");
  const command = SqliteNameStore.open(path, { existing: true });
  command.transfer("office", OTHER, 2);
  command.close();
  t.equal(program.changedElsewhere(), true);
  t.equal(program.changedElsewhere(), false, "told once");
  t.equal(program.ownerOf("office"), OTHER);
  program.close();
});

test("the bytes of a day are kept by account; older days are forgotten", async (t) => {
  const path = file(t);
  const first = SqliteNameStore.open(path);
  first.write(7, new Map(Object.entries({ a: 5, b: 6 })));
  first.write(7, new Map([["a", 9]]));
  first.close();
  const second = SqliteNameStore.open(path);
  t.teardown(() => second.close());
  t.same(
    ["a", "b", "c"].map((account) => second.read(account, 7)),
    [9, 6, 0],
  );
  second.write(8, new Map([["a", 1]]));
  t.same([second.read("a", 7), second.read("b", 7), second.read("a", 8)], [0, 0, 1]);
  t.notOk(second.changedElsewhere(), "no change of names");
});
