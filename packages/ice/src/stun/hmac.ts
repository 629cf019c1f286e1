import { createHmac } from "node:crypto";

export type HmacAlgorithm = "sha1" | "sha256";

/** What is used of Bun's CryptoHasher: a keyed state that can be copied, half the price of a new one from the key. */
interface KeyedHasher {
  copy(): KeyedHasher;
  update(data: Uint8Array): KeyedHasher;
  digest(): Uint8Array;
}
interface KeyedHasherClass {
  new (algorithm: HmacAlgorithm, key: Uint8Array): KeyedHasher;
}

const Hasher = (globalThis as { Bun?: { CryptoHasher?: KeyedHasherClass } }).Bun?.CryptoHasher;

/** States by key object, so a key must not be written over once it was used; they go when the key goes. */
const states: Readonly<Record<HmacAlgorithm, WeakMap<Uint8Array, KeyedHasher>>> = {
  sha1: new WeakMap(),
  sha256: new WeakMap(),
};

/** HMAC (RFC 2104) over `head` and then `data`. @returns 20 or 32 bytes. */
export function hmac(algorithm: HmacAlgorithm, key: Uint8Array, head: Uint8Array | null, data: Uint8Array): Uint8Array {
  const state = Hasher ? stateOf(Hasher, algorithm, key).copy() : createHmac(algorithm, key);
  if (head) state.update(head);
  return state.update(data).digest();
}

function stateOf(hasher: KeyedHasherClass, algorithm: HmacAlgorithm, key: Uint8Array): KeyedHasher {
  let state = states[algorithm].get(key);
  if (!state) {
    state = new hasher(algorithm, key);
    states[algorithm].set(key, state);
  }
  return state;
}
