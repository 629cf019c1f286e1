/** Run by full-disk.bun.test.ts on a file system of its own, a few hundred KiB large: prints what a name store says when that is full. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ExitError, lockStateDir } from "@adit/program";
import type { NameStoreError } from "../src/names/name-store.ts";
import { NAMES_FILE, SqliteNameStore } from "../src/names/sqlite-name-store.ts";

const [dir = "", step] = process.argv.slice(2);
const path = join(dir, NAMES_FILE);
const filler = join(dir, "filler");
const OWNER = "o".repeat(52);
const keyOf = (i: number): string => String(i).padStart(52, "k");

const failure = (work: () => unknown): { code: string; message: string } | null => {
  try {
    work();
    return null;
  } catch (error) {
    const { code, message } = error as NameStoreError;
    return { code, message };
  }
};

/** To the last byte. */
function fill(): void {
  for (const size of [65_536, 4_096, 512, 1]) {
    while (failure(() => writeFileSync(filler, new Uint8Array(size), { flag: "a" })) === null);
  }
}

/** The disk fills up while the store is in use. */
function run(): object {
  const store = SqliteNameStore.open(path);
  fill();
  let taken = 0;
  let refused: ReturnType<typeof failure> = null;
  while (!refused && taken < 100_000) {
    refused = failure(() => store.take(`name-${taken}`, keyOf(taken), taken));
    if (!refused) taken++;
  }
  const owner = store.ownerOf("office");
  const again = store.take("office", OWNER, 10 * 86_400_000);
  const listed = store.list().length;
  rmSync(filler);
  const later = store.take("later", OWNER, 1);
  const all = store.list().length;
  store.close();
  return { refused, taken, owner, again, listed, later, all };
}

/** It is full when the store is opened. */
function start(): object | null {
  fill();
  const refused = failure(() => SqliteNameStore.open(path));
  rmSync(filler);
  return refused;
}

function make(): object {
  const store = SqliteNameStore.open(path);
  const taken = store.take("office", OWNER, 1);
  store.close();
  return taken;
}

const STEPS: Readonly<Record<string, () => object | null | Promise<object>>> = {
  make,
  start,
  run,
  "read-only": async () => ({
    names: failure(() => SqliteNameStore.open(path)),
    lock: await lockStateDir(dir, "adit-intermediate", 0).then(
      () => null,
      ({ code, message }: ExitError) => ({ code, message }),
    ),
  }),
};
console.log(JSON.stringify(await STEPS[step ?? ""]?.()));
