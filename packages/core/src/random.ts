/** Randomness as an argument: the system's in production, seeded in tests. */
export interface Random {
  /** `length` random bytes, fresh. */
  bytes(length: number): Uint8Array;
  /** Uniform in [0, 1). */
  float(): number;
}

/** Cryptographically strong randomness. */
export const systemRandom: Random = {
  bytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
  float: () => (crypto.getRandomValues(new Uint32Array(1))[0] as number) / 2 ** 32,
};

/** Uniform integer in [0, bound). */
export function randomInt(random: Random, bound: number): number {
  return Math.floor(random.float() * bound);
}

/** 64 random bits. */
export function randomU64(random: Random): bigint {
  const bytes = random.bytes(8);
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0);
}

/** Reproducible randomness for tests and simulations (xoshiro128**, by Blackman and Vigna). Not for secrets. */
export function seededRandom(seed: number): Random {
  // splitmix32 spreads the seed over the state, so that seeds 1 and 2 do not begin alike.
  let mix = seed | 0;
  const split = () => {
    mix = (mix + 0x9e3779b9) | 0;
    let z = mix ^ (mix >>> 16);
    z = Math.imul(z, 0x21f0aaad);
    z ^= z >>> 15;
    z = Math.imul(z, 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  let a = split();
  let b = split();
  let c = split();
  let d = split();
  const rotl = (x: number, k: number) => (x << k) | (x >>> (32 - k));
  const next = () => {
    const result = Math.imul(rotl(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotl(d, 11);
    return result;
  };
  return {
    bytes: (length) => Uint8Array.from({ length }, () => next() >>> 24),
    float: () => next() / 2 ** 32,
  };
}
