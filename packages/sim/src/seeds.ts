/**
 * Runs `fn` for seeds 1..count. An error is thrown on with the seed in front of its message. `ADIT_SEED=7` in the environment
 * runs seed 7 alone, which is how a failure is looked at again.
 */
export function forEachSeed(count: number, fn: (seed: number) => void): void {
  const only = process.env.ADIT_SEED;
  const seeds = only ? [Number(only)] : Array.from({ length: count }, (_, i) => i + 1);
  for (const seed of seeds) {
    try {
      fn(seed);
    } catch (error) {
      if (error instanceof Error) error.message = `ADIT_SEED=${seed}: ${error.message}`;
      throw error;
    }
  }
}
