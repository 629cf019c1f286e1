/**
 * `names list | release NAME | transfer NAME PEERID`. Works on the file in the state directory, whether the program runs or not: SQLite
 * keeps the two apart, and a running program notices the change within a second. Who may write the file may do it; nobody over the network.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Context, ExitError, ensureStateDir, isPeerId, peerName, type ValueType } from "@adit/program";
import { type NameRecord, NameStoreError } from "./name-store.ts";

export type NamesAction =
  | { readonly action: "list" }
  | { readonly action: "release"; readonly name: string }
  | { readonly action: "transfer"; readonly name: string; readonly peerId: string };

export const namesAction: ValueType<NamesAction> = {
  placeholder: "ACTION...",
  expected: "list, release NAME, or transfer NAME PEERID",
  parse: (text) => {
    const [action = "", name = "", peerId = "", ...rest] = text.split(" ");
    if (rest.length > 0) return null;
    if (action === "list") return name === "" ? { action } : null;
    if (peerName.parse(name) === null) return null;
    if (action === "release") return peerId === "" ? { action, name } : null;
    return action === "transfer" && isPeerId(peerId) ? { action, name, peerId } : null;
  },
};

/** @throws ExitError `not-found`, `failure` */
export async function runNamesCommand(action: NamesAction, json: boolean, context: Context): Promise<void> {
  const { NAMES_FILE, SqliteNameStore } = await import("./sqlite-name-store.ts");
  const path = join(ensureStateDir(context.stateDir), NAMES_FILE);
  try {
    const store = SqliteNameStore.open(path, { existing: existsSync(path) });
    try {
      context.print(perform(action, store, json));
    } finally {
      store.close();
    }
  } catch (error) {
    if (error instanceof NameStoreError) throw new ExitError("failure", error.message, { cause: error });
    throw error;
  }
}

interface Names {
  list(): readonly NameRecord[];
  release(name: string): NameRecord | null;
  transfer(name: string, peerId: string, unixMs: number): string | null;
}

function perform(action: NamesAction, names: Names, json: boolean): string {
  switch (action.action) {
    case "list":
      return json ? JSON.stringify(names.list().map(inJson)) : listInWords(names.list());
    case "release": {
      const was = names.release(action.name);
      if (!was) throw new ExitError("not-found", `nobody owns the name "${action.name}"`);
      return json ? JSON.stringify(inJson(was)) : `${action.name} is free; it belonged to ${was.peerId}`;
    }
    case "transfer": {
      const { name, peerId } = action;
      const from = names.transfer(name, peerId, Date.now());
      if (json) return JSON.stringify({ name, peerId, from });
      return `${name} belongs to ${peerId}${from === null ? "" : `; before, to ${from}`}`;
    }
  }
}

const day = (unixMs: number): string => new Date(unixMs).toISOString().slice(0, 10);

const inJson = ({ name, peerId, takenAt, seenAt }: NameRecord) => ({
  name,
  peerId,
  takenAt: new Date(takenAt).toISOString(),
  seenAt: new Date(seenAt).toISOString(),
});

function listInWords(records: readonly NameRecord[]): string {
  if (records.length === 0) return "no names";
  const width = Math.max(...records.map(({ name }) => name.length));
  return records
    .map(
      ({ name, peerId, takenAt, seenAt }) =>
        `${name.padEnd(width)}  ${peerId}  taken ${day(takenAt)}  last registered ${day(seenAt)}`,
    )
    .join("\n");
}
