import { equalBytes, type Random, toHex } from "@adit/core";
import { CONNECTION_ID_LENGTH } from "./packet.ts";

interface Entry<C> {
  readonly id: Uint8Array;
  readonly owner: C;
}

/**
 * Which connection a packet belongs to: the connection IDs that we issued, found without allocation, and the random ones by which new
 * clients name a server until they learn one of ours (RFC 9000 §7.2).
 */
export class ConnectionIdTable<C> {
  readonly #random: Random;
  /** By the first 48 bits. Ours are random: two that begin alike are not issued. */
  readonly #issued = new Map<number, Entry<C>>();
  readonly #original = new Map<string, C>();

  constructor(random: Random) {
    this.#random = random;
  }

  /** Issued and original IDs together. */
  get size(): number {
    return this.#issued.size + this.#original.size;
  }

  /** A new connection ID, not yet in the table. */
  draw(): Uint8Array {
    for (;;) {
      const id = this.#random.bytes(CONNECTION_ID_LENGTH);
      if (!this.#issued.has(keyAt(id, 0))) return id;
    }
  }

  /**
   * Returns what is to be kept of the ID. An array that native code has seen has an ArrayBuffer to it, five times as large as a copy that none
   * has: with tens of thousands of connections that counts.
   */
  add(id: Uint8Array, owner: C): Uint8Array {
    const kept = new Uint8Array(id);
    this.#issued.set(keyAt(kept, 0), { id: kept, owner });
    return kept;
  }

  retire(id: Uint8Array): void {
    const key = keyAt(id, 0);
    const entry = this.#issued.get(key);
    if (entry && equalBytes(entry.id, id)) this.#issued.delete(key);
  }

  /** The owner of the ID of ours that stands in `data` at `offset`. */
  find(data: Uint8Array, offset: number): C | null {
    if (data.length < offset + CONNECTION_ID_LENGTH) return null;
    const entry = this.#issued.get(keyAt(data, offset));
    if (!entry) return null;
    const { id } = entry;
    for (let i = 6; i < CONNECTION_ID_LENGTH; i++) if (data[offset + i] !== id[i]) return null;
    return entry.owner;
  }

  addOriginal(id: Uint8Array, owner: C): void {
    this.#original.set(toHex(id), owner);
  }

  findOriginal(id: Uint8Array): C | null {
    return this.#original.get(toHex(id)) ?? null;
  }

  removeOriginal(id: Uint8Array): void {
    this.#original.delete(toHex(id));
  }
}

function keyAt(data: Uint8Array, at: number): number {
  const high = ((data[at] as number) << 16) | ((data[at + 1] as number) << 8) | (data[at + 2] as number);
  const low = ((data[at + 3] as number) << 16) | ((data[at + 4] as number) << 8) | (data[at + 5] as number);
  return high * 0x1000000 + low;
}
