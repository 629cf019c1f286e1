import type { PairId } from "@adit/ice";
import type { VirtualAddress } from "@adit/quic";

/**
 * quiche keeps a path and a connection ID for every address pair it has seen and gives neither back: after seven new ones it
 * answers OutOfIdentifiers (docs/adr/0004-slots.md). So it is shown only these.
 */
export const SLOT_COUNT = 4;

export type SlotIndex = number;

/** Documentation addresses (RFC 5737): whatever leaks into a log or a trace is seen to be no real address. */
const LOCAL_HOST = "192.0.2.1";
const REMOTE_HOST = "192.0.2.2";
const FIRST_PORT = 1;

interface Slot {
  readonly index: SlotIndex;
  readonly local: VirtualAddress;
  readonly remote: VirtualAddress;
  pair: PairId | null;
  /** A counter, not a time: which slot was bound or used longest ago. */
  usedAt: number;
}

/** The virtual addresses of one QUIC connection, each bound to at most one ICE pair; each side binds by itself. */
export class SlotTable {
  readonly #slots: readonly Slot[] = Array.from({ length: SLOT_COUNT }, (_, index) => ({
    index,
    local: { host: LOCAL_HOST, port: FIRST_PORT + index },
    remote: { host: REMOTE_HOST, port: FIRST_PORT + index },
    pair: null,
    usedAt: 0,
  }));
  readonly #byPair = new Map<PairId, Slot>();
  #uses = 0;

  slotOf(pair: PairId): SlotIndex | null {
    return this.#byPair.get(pair)?.index ?? null;
  }

  pairOf(slot: SlotIndex): PairId | null {
    return this.#slots[slot]?.pair ?? null;
  }

  /** The slot that one of our virtual addresses names, local or remote; null for any other address. */
  slotAt(address: VirtualAddress): SlotIndex | null {
    const index = address.port - FIRST_PORT;
    return (address.host === LOCAL_HOST || address.host === REMOTE_HOST) && this.#slots[index] ? index : null;
  }

  local(slot: SlotIndex): VirtualAddress {
    return this.#at(slot).local;
  }

  remote(slot: SlotIndex): VirtualAddress {
    return this.#at(slot).remote;
  }

  /**
   * The slot of `pair`, bound now if it had none: an empty slot, else the one used longest ago that carries none of `keep`.
   * Null when `keep` holds them all.
   */
  bind(pair: PairId, keep: readonly (PairId | null)[]): SlotIndex | null {
    const bound = this.#byPair.get(pair);
    const slot = bound ?? this.#victim(keep);
    if (!slot) return null;
    slot.usedAt = ++this.#uses;
    if (slot.pair !== pair) {
      if (slot.pair !== null) this.#byPair.delete(slot.pair);
      slot.pair = pair;
      this.#byPair.set(pair, slot);
    }
    return slot.index;
  }

  /** Empties every slot but that of `pair`: of racing connections, the one on it won. */
  keepOnly(pair: PairId): void {
    for (const slot of this.#slots) {
      if (slot.pair === null || slot.pair === pair) continue;
      this.#byPair.delete(slot.pair);
      slot.pair = null;
    }
  }

  #victim(keep: readonly (PairId | null)[]): Slot | null {
    let best: Slot | null = null;
    for (const slot of this.#slots) {
      if (slot.pair === null) return slot;
      if (keep.includes(slot.pair)) continue;
      if (best === null || slot.usedAt < best.usedAt) best = slot;
    }
    return best;
  }

  #at(slot: SlotIndex): Slot {
    const found = this.#slots[slot];
    if (!found) throw new RangeError(`slot ${slot} is outside 0..${SLOT_COUNT - 1}`);
    return found;
  }
}
