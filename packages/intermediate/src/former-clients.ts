/**
 * Whom a program that crashed was connected with: a file in the state directory, written while it runs and removed at a clean end. The next
 * start tells each of them with a stateless reset, instead of when its next keepalive comes. No secret is in it: a reset's token follows from
 * the connection ID and the identity key.
 */
import { readFileSync, rmSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { fromHex, parseSocketAddress, type SocketAddress, toHex } from "@adit/core";

export const FORMER_CLIENTS_FILE = "clients.txt";

/** Lines read; more clients than that no program has. */
const MAX_LINES = 20_000;

export interface FormerClient {
  /** The connection ID that the client sends to. */
  readonly connectionId: Uint8Array;
  readonly address: SocketAddress;
}

export class FormerClientsFile {
  readonly #path: string;
  #writing: Promise<void> | null = null;
  #removed = false;
  /** What the file has: it is not written again for nothing. */
  #written: string | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  /** Those of the last life, if it did not end cleanly. What makes no sense is passed over: it only saves time. */
  read(): FormerClient[] {
    let text: string;
    try {
      text = readFileSync(this.#path, "utf8");
    } catch {
      return [];
    }
    return text.split("\n", MAX_LINES).flatMap((line) => parseLine(line) ?? []);
  }

  /** Replaces the file, as a whole or not at all. False when the last time is not over yet, or it failed: try again later. */
  async write(clients: Iterable<FormerClient>): Promise<boolean> {
    if (this.#writing || this.#removed) return false;
    const lines = Array.from(clients, ({ connectionId, address }) => `${toHex(connectionId)} ${address.key}\n`);
    const text = lines.sort().join("");
    if (text === this.#written) return true;
    this.#writing = this.#replace(text);
    try {
      await this.#writing;
      this.#written = text;
      return true;
    } catch {
      return false; // a full disk: clients will learn of a crash by their keepalives
    } finally {
      this.#writing = null;
    }
  }

  /** The end is clean: everybody was told. */
  async remove(): Promise<void> {
    this.#removed = true;
    await this.#writing?.catch(() => {});
    rmSync(this.#path, { force: true });
  }

  async #replace(text: string): Promise<void> {
    await writeFile(`${this.#path}.new`, text, { mode: 0o600 });
    await rename(`${this.#path}.new`, this.#path);
  }
}

function parseLine(line: string): FormerClient | null {
  const match = /^([0-9a-f]{40}) (\S{1,64})$/.exec(line);
  if (!match) return null;
  try {
    return { connectionId: fromHex(match[1] ?? ""), address: parseSocketAddress(match[2] ?? "") };
  } catch {
    return null;
  }
}
