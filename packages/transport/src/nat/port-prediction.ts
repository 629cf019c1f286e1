/** Predicted ports ahead of the last one seen: what this host, and others behind the NAT, may use up until the first check leaves. */
export const PORTS_AHEAD = 16;
/** And behind the first one seen: checks that left before the measurement did. */
export const PORTS_BEHIND = 8;
/** A NAT that counts by more than this is taken for one that draws. */
const MAX_STEP = 16;
/** Below are the well-known ports, which no NAT hands out. */
const FIRST_PORT = 1024;
const LAST_PORT = 65_535;

/**
 * From the external ports of mappings made one after another, those of the next ones, the likeliest first: at most
 * {@link PORTS_AHEAD} + {@link PORTS_BEHIND}. Null when they do not count up or down: two in a row that only look like it come once
 * in two thousand draws, three once in some millions.
 */
export function predictPorts(seen: readonly number[]): readonly number[] | null {
  const [first, last] = [seen[0], seen.at(-1)];
  const steps = seen.slice(1).map((port, index) => port - (seen[index] as number));
  if (first === undefined || last === undefined || steps.length === 0) return null;
  const sign = Math.sign(steps[0] as number);
  if (steps.some((step) => Math.sign(step) !== sign || step === 0 || Math.abs(step) > MAX_STEP)) return null;
  // Others behind the NAT only make steps larger.
  const step = sign * Math.min(...steps.map(Math.abs));
  const ahead = Array.from({ length: PORTS_AHEAD }, (_, index) => last + step * (index + 1));
  const behind = Array.from({ length: PORTS_BEHIND }, (_, index) => first - step * (index + 1));
  return [...ahead, ...behind].filter((port) => port >= FIRST_PORT && port <= LAST_PORT);
}
