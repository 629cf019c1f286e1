import { nullLogger, seededRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { SessionKeeper } from "../src/session-keeper.ts";
import { FakeSession, settle } from "./fakes.ts";

class Refusal extends Error {
  readonly permanent: boolean;
  constructor(message: string, permanent: boolean) {
    super(message);
    this.permanent = permanent;
  }
}

/** A keeper whose connection attempts and sleeps the test answers, on virtual time. */
function makeKeeper(t: T) {
  const attempts: { resolve: (session: FakeSession) => void; reject: (error: Error) => void }[] = [];
  const sleeps: { ms: number; wake: () => void }[] = [];
  const abort = new AbortController();
  const logged: [string, string][] = [];
  const note = (level: string) => (event: string) => void logged.push([level, event]);
  let now = 0;
  const keeper = new SessionKeeper<FakeSession>({
    connect: () => new Promise((resolve, reject) => void attempts.push({ resolve, reject })),
    isPermanent: (error) => error instanceof Refusal && error.permanent,
    log: { ...nullLogger, warn: note("warn"), debug: note("debug") },
    signal: abort.signal,
    clock: { now: () => now },
    random: seededRandom(1),
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        sleeps.push({ ms, wake: resolve });
        signal.addEventListener("abort", () => reject(new Error("aborted")));
      }),
  });
  const running = keeper.run();
  running.catch(() => {});
  t.teardown(() => abort.abort());
  const advance = (ms: number) => {
    now += ms;
  };
  return { keeper, running, attempts, sleeps, abort, logged, advance };
}

const never = new AbortController().signal;

test("all who wait get the one session, and so do those who come later", async (t) => {
  const { keeper, attempts } = makeKeeper(t);
  const early = [keeper.session(never), keeper.session(never)];
  const session = new FakeSession();
  t.must(attempts[0]).resolve(session);
  t.same(await Promise.all(early), [session, session]);
  t.equal(await keeper.session(never), session);
  t.equal(attempts.length, 1);
});

test("a first failure ends it, and everybody who waits hears why", async (t) => {
  const { keeper, running, attempts } = makeKeeper(t);
  const waiting = keeper.session(never);
  t.must(attempts[0]).reject(new Refusal("nobody there", false));
  await t.rejects(waiting, /nobody there/);
  await t.rejects(running, /nobody there/);
  await t.rejects(keeper.session(never), /nobody there/);
});

test("once it was connected it tries forever, with growing delays, and says so once", async (t) => {
  const { keeper, attempts, sleeps, logged, advance } = makeKeeper(t);
  const first = new FakeSession("1");
  t.must(attempts[0]).resolve(first);
  await keeper.session(never);
  advance(60_000);
  first.end("the connector was restarted");
  await settle();
  t.same([attempts.length, sleeps.length], [2, 0], "the first try comes at once");
  const waiting = keeper.session(never);
  for (let i = 1; i <= 30; i++) {
    t.must(attempts[i]).reject(new Refusal("not yet", false));
    await settle();
    t.must(sleeps[i - 1]).wake();
    await settle();
  }
  for (const [i, { ms }] of sleeps.entries()) {
    const nominal = Math.min(5000, 250 * 2 ** i);
    t.ok(ms >= nominal / 2 - 1 && ms <= nominal, `delay ${i} is ${ms} ms`);
  }
  t.equal(logged.filter(([level]) => level === "warn").length, 1);
  const second = new FakeSession("2");
  t.must(attempts[31]).resolve(second);
  t.equal(await waiting, second);
});

test("a permanent refusal ends it even after a session", async (t) => {
  const { running, attempts } = makeKeeper(t);
  const session = new FakeSession();
  t.must(attempts[0]).resolve(session);
  await settle();
  session.end("gone");
  await settle();
  t.must(attempts[1]).reject(new Refusal("another key", true));
  await t.rejects(running, /another key/);
});

test("sessions that do not last are not sought in a loop", async (t) => {
  const { attempts, sleeps, advance } = makeKeeper(t);
  for (let i = 0; i < 5; i++) {
    const session = new FakeSession(String(i));
    t.must(attempts[i]).resolve(session);
    await settle();
    session.end("at once");
    await settle();
    if (i > 0) {
      t.equal(sleeps.length, i);
      t.must(sleeps[i - 1]).wake();
      await settle();
    }
  }
  t.ok(t.must(sleeps[3]).ms > t.must(sleeps[0]).ms);
  const good = new FakeSession("good");
  t.must(attempts[5]).resolve(good);
  await settle();
  advance(5_000);
  good.end("the connector was restarted");
  await settle();
  t.same([attempts.length, sleeps.length], [7, 4], "one that lasted is followed by the next at once");
});

test("who waits may give up, and the end of the program ends the waiting", async (t) => {
  const { keeper, running, attempts, abort } = makeKeeper(t);
  const patience = new AbortController();
  const impatient = keeper.session(patience.signal);
  patience.abort(new Error("10 s are over"));
  await t.rejects(impatient, /10 s are over/);
  await t.rejects(keeper.session(patience.signal), /10 s are over/);
  const waiting = keeper.session(never);
  abort.abort();
  t.must(attempts[0]).reject(new Error("the endpoint was closed"));
  await running;
  await t.rejects(waiting, /ending/);
});

test("no more than 1024 wait", async (t) => {
  const { keeper } = makeKeeper(t);
  const waiting = Array.from({ length: 1024 }, () => keeper.session(never));
  for (const promise of waiting) promise.catch(() => {});
  await t.rejects(keeper.session(never), /too many/);
});

test("a session that retires is replaced at once and left to end by itself", async (t) => {
  const { keeper, attempts, sleeps } = makeKeeper(t);
  const first = new FakeSession("1");
  t.must(attempts[0]).resolve(first);
  t.equal(await keeper.session(never), first);
  first.retire();
  await settle();
  t.same([attempts.length, sleeps.length, first.closeReason], [2, 0, null]);
  const second = new FakeSession("2");
  t.must(attempts[1]).resolve(second);
  t.equal(await keeper.session(never), second);
  first.end("its last stream has ended");
  await settle();
  t.equal(await keeper.session(never), second);
  t.equal(attempts.length, 2);
});
