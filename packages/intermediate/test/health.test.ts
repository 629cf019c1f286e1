import { test } from "@adit/harness";
import { Health } from "../src/health.ts";
import { MemoryNameStore, NameStoreError } from "../src/names/name-store.ts";

const ANSWER = { check: () => "ok" };

test("ready is listening, not draining, listeners that answer, and names that can be looked up", async (t) => {
  const listeners = { check: () => "ok" };
  const server = { isListening: true, isDraining: false };
  const names = new MemoryNameStore();
  const health = new Health(server, names, listeners);
  t.teardown(() => health.close());
  const seen = () => {
    const { ready, listening, draining, names } = health.check();
    return { ready, listening, draining, names };
  };
  t.same(seen(), { ready: true, listening: true, draining: false, names: "ok" });
  server.isDraining = true;
  t.same(seen(), { ready: false, listening: true, draining: true, names: "ok" });
  server.isDraining = false;
  server.isListening = false;
  t.equal(health.check().ready, false);
  server.isListening = true;
  listeners.check = () => "nobody answers";
  t.same([health.check().ready, health.check().listeners], [false, "nobody answers"]);
  listeners.check = () => "ok";
  names.ownerOf = () => {
    throw new NameStoreError("damaged", "the file is damaged");
  };
  t.same(seen(), { ready: false, listening: true, draining: false, names: "the file is damaged" });
});

test("a loop that is two seconds late is not healthy: keepalives and checks expire behind it", (t) => {
  let now = 0;
  const health = new Health({ isListening: true, isDraining: false }, new MemoryNameStore(), ANSWER, {
    now: () => now,
  });
  t.teardown(() => health.close());
  // It measures four times a second.
  const after = (ms: number) => {
    now = ms;
    const { ready, eventLoopLagMs } = health.check();
    return { ready, eventLoopLagMs };
  };
  t.same(after(250), { ready: true, eventLoopLagMs: 0 });
  t.same(after(2_249), { ready: true, eventLoopLagMs: 1_999 });
  t.same(after(2_250), { ready: false, eventLoopLagMs: 2_000 });
});

test("an event loop that stands still is seen while it does, and for ten seconds after", async (t) => {
  const health = new Health({ isListening: true, isDraining: false }, new MemoryNameStore(), ANSWER);
  t.teardown(() => health.close());
  const until = performance.now() + 700;
  while (performance.now() < until);
  t.ok(health.eventLoopLagMs >= 400, "although no timer has run yet");
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.ok(health.eventLoopLagMs >= 400, "and afterwards");
});

test("what is ten seconds ago is over: forty measurements are kept", (t) => {
  let [now, measure] = [0, (): void => t.fail("it does not measure")];
  const { setInterval } = globalThis;
  t.teardown(() => Object.assign(globalThis, { setInterval }));
  Object.assign(globalThis, {
    setInterval: (fn: () => void) => {
      measure = fn;
    },
  });
  const health = new Health({ isListening: true, isDraining: false }, new MemoryNameStore(), ANSWER, {
    now: () => now,
  });
  t.teardown(() => health.close());
  const pass = (ms: number): number => {
    now += ms;
    measure();
    return health.eventLoopLagMs;
  };
  t.equal(pass(250), 0);
  t.equal(pass(950), 700);
  for (let i = 1; i < 40; i++) t.equal(pass(250), 700, `${i} measurements later`);
  t.equal(pass(250), 0);
});
