import { type Random, randomInt } from "@adit/core";

/** One of: noise, noise behind a good start, cut off, bits flipped, a length that lies, two messages glued together. */
export function mutate(random: Random, valid: Uint8Array, other: Uint8Array): Uint8Array {
  const out = valid.slice();
  const anywhere = () => randomInt(random, Math.max(1, out.length));
  switch (randomInt(random, 6)) {
    case 0:
      return random.bytes(randomInt(random, 200));
    case 1:
      out.set(random.bytes(Math.max(0, out.length - 20)), Math.min(20, out.length));
      return out;
    case 2:
      return out.subarray(0, anywhere());
    case 3:
      for (let i = randomInt(random, 5); i >= 0; i--) {
        const at = anywhere();
        out[at] = (out[at] ?? 0) ^ (1 << randomInt(random, 8));
      }
      return out;
    case 4: {
      // A length field, of the message or of an attribute: they stand at multiples of 4.
      const at = Math.min(out.length - 1, randomInt(random, Math.max(1, out.length >> 2)) * 4 + 2);
      if (at >= 0) out[at] = randomInt(random, 256);
      return out;
    }
    default: {
      const cut = anywhere();
      const glued = new Uint8Array(cut + other.length);
      glued.set(out.subarray(0, cut));
      glued.set(other, cut);
      return glued;
    }
  }
}

export const pick = <V>(random: Random, values: readonly V[]): V => values[randomInt(random, values.length)] as V;
