/**
 * One way to write a test that runs on both runtimes: under tap on Node, under bun:test on Bun (tap does not load there).
 * Assertions throw at the first failure on both.
 */
import assert from "node:assert/strict";

export interface T {
  equal<V>(actual: V, expected: V, message?: string): void;
  notEqual<V>(actual: V, unexpected: V, message?: string): void;
  /** Deep strict equality. */
  same(actual: unknown, expected: unknown, message?: string): void;
  ok(value: unknown, message?: string): void;
  /** The value, which must be neither null nor undefined. */
  must<V>(value: V | null | undefined, message?: string): V;
  notOk(value: unknown, message?: string): void;
  match(text: string, pattern: RegExp, message?: string): void;
  throws(fn: () => unknown, expected?: Expected): void;
  rejects(promise: Promise<unknown> | (() => Promise<unknown>), expected?: Expected): Promise<void>;
  fail(message: string): never;
  /** Runs at the end of the test, last registered first, failed or not. */
  teardown(fn: () => unknown): void;
}

/** What an error must be: of a class, with a message like a pattern, or with these properties. */
type Expected = RegExp | (new (...args: never[]) => Error) | Record<string, unknown>;

export interface TestOptions {
  /** Fails after this many ms; {@link PATIENCE_MS} by default. */
  readonly timeoutMs?: number;
  /** Why it cannot run here. A skipped test is counted and its reason printed. */
  readonly skip?: string | false;
}

export const isBun: boolean = "Bun" in globalThis;

/**
 * How many inputs a fuzzing test tries: `inTests`, or as many as ADIT_FUZZ_INPUTS says. `npm run fuzz` says a million.
 */
export const fuzzInputs = (inTests: number): number => Number(process.env.ADIT_FUZZ_INPUTS ?? inTests);

/** Where a fuzzing test begins: `inTests`, or ADIT_FUZZ_SEED, for other inputs than those of every run. */
export const fuzzSeed = (inTests: number): number => Number(process.env.ADIT_FUZZ_SEED ?? inTests);

/** Five seconds of work take a minute on a machine that has other work too; what hangs is found after this time as well. */
const PATIENCE_MS = 120_000;

/** The time that a fuzzing test is given: it may be asked for more than what is tried in each run. */
export const FUZZ: TestOptions = { timeoutMs: process.env.ADIT_FUZZ_INPUTS === undefined ? PATIENCE_MS : 900_000 };

export function test(name: string, fn: (t: T) => unknown, options: TestOptions = {}): void {
  const timeoutMs = options.timeoutMs ?? PATIENCE_MS;
  if (options.skip) register.skip(name, options.skip);
  else register.run(name, () => runBody(fn), timeoutMs);
}

async function runBody(fn: (t: T) => unknown): Promise<void> {
  const teardowns: (() => unknown)[] = [];
  try {
    await fn(makeT(teardowns));
  } finally {
    for (const teardown of teardowns.reverse()) await teardown();
  }
}

function makeT(teardowns: (() => unknown)[]): T {
  return {
    equal: (actual, expected, message) => assert.equal(actual, expected, message),
    notEqual: (actual, unexpected, message) => assert.notEqual(actual, unexpected, message),
    same: (actual, expected, message) => assert.deepEqual(actual, expected, message),
    ok: (value, message) => assert.ok(value, message),
    must: (value, message) => {
      assert.ok(value !== null && value !== undefined, message ?? "expected a value");
      return value;
    },
    notOk: (value, message) => assert.ok(!value, message),
    match: (text, pattern, message) => assert.match(text, pattern, message),
    throws: (fn, expected) => (expected ? assert.throws(fn, expected as never) : assert.throws(fn)),
    rejects: (promise, expected) => (expected ? assert.rejects(promise, expected as never) : assert.rejects(promise)),
    fail: (message) => assert.fail(message),
    teardown: (fn) => void teardowns.push(fn),
  };
}

interface Register {
  run(name: string, body: () => Promise<void>, timeoutMs: number): void;
  skip(name: string, reason: string): void;
}

const register: Register = isBun ? await bunRegister() : await tapRegister();

async function bunRegister(): Promise<Register> {
  const { test } = await import("bun:test");
  return {
    run: (name, body, timeoutMs) => void test(name, body, timeoutMs),
    skip: (name, reason) => void test.skip(`${name} # ${reason}`, () => {}),
  };
}

async function tapRegister(): Promise<Register> {
  const { default: tap } = await import("tap");
  let totalMs = 0;
  return {
    run: (name, body, timeoutMs) => {
      // A file may take as long as its tests may together, not tap's 30 s.
      totalMs += timeoutMs;
      tap.setTimeout(totalMs);
      void tap.test(name, { timeout: timeoutMs }, body);
    },
    skip: (name, reason) => void tap.test(name, { skip: reason }, () => {}),
  };
}
