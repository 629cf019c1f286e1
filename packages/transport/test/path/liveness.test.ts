/** A path that dies one way, so that what it still brings must not keep it alive: random schedules on virtual time. */
import { type Millis, randomInt, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { Liveness } from "../../src/path/liveness.ts";

const SEEDS = 300;
/** The last answer, a measurement 200 ms after it, and three times max(300 ms, 3 round trips) without one while packets are heard. */
const boundAlone = (rttMs: Millis): Millis => rttMs + 200 + 3 * Math.max(300, 3 * rttMs) + 10;
/** "within 500 ms at a round trip under 50 ms, within 3 round trips + 300 ms above". */
const boundBeside = (rttMs: Millis): Millis => (rttMs < 50 ? 500 : 3 * rttMs + 300);

interface Schedule {
  readonly rttMs: Millis;
  readonly diesAt: Millis;
  /** When the peer, who hears nothing any more, has said so; null: never. */
  readonly reportAt: Millis | null;
  /** Another path answers all that it is asked, after its round trip. */
  readonly otherMs: Millis | null;
  /** The longest time between two packets of the peer's after that. */
  readonly strayMs: Millis;
}

/** How long the path was kept after it had died; null where it was left before, or never. */
function keptFor(seed: number, { rttMs, diesAt, reportAt, otherMs, strayMs }: Schedule): Millis | null {
  const random = seededRandom(seed);
  const liveness = new Liveness(0, rttMs);
  const answers: { readonly at: Millis; readonly sentAt: Millis; readonly isOther: boolean }[] = [];
  const ask = (now: Millis): void => {
    if (now < diesAt) answers.push({ at: now + rttMs, sentAt: now, isOther: false });
    if (otherMs !== null) answers.push({ at: now + otherMs, sentAt: now, isOther: true });
  };
  let heardNext = 0;
  for (let now = 0; now < diesAt + 10_000; now++) {
    liveness.handleActivity(now);
    if (now >= heardNext) {
      liveness.handleHeard(now);
      heardNext = now + 1 + randomInt(random, now < diesAt ? 50 : strayMs);
    }
    for (const { sentAt, isOther } of answers.filter(({ at }) => at === now)) {
      if (isOther) liveness.handleAlternative(sentAt);
      else liveness.handleAnswer(now, rttMs);
    }
    if (now === reportAt) liveness.demandProof(now);
    for (let verdict = liveness.handleTimeout(now); verdict !== null; verdict = liveness.handleTimeout(now)) {
      if (verdict === "dead") return now < diesAt ? null : now - diesAt;
      ask(now);
    }
  }
  return null;
}

test("a path that is dead one way is left in time, whatever packets still come on it", (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = seededRandom(seed);
    const rttMs = 1 + randomInt(random, 300);
    const schedule = { rttMs, diesAt: 500 + randomInt(random, 1000), strayMs: 1 + randomInt(random, 400) };
    const kept = keptFor(seed, { ...schedule, reportAt: null, otherMs: null });
    t.ok(
      kept !== null && kept <= boundAlone(rttMs),
      `seed ${seed}: kept for ${kept} ms at a round trip of ${rttMs} ms`,
    );
  }
});

test("and sooner when the peer says that it hears nothing, and another path answers", (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = seededRandom(seed);
    const rttMs = 1 + randomInt(random, 300);
    const diesAt = 500 + randomInt(random, 1000);
    // Its silence, its check overdue, and the way here.
    const reportAt = diesAt + Math.ceil(150 + 1.5 * rttMs);
    const otherMs = 1 + randomInt(random, rttMs);
    const kept = keptFor(seed, { rttMs, diesAt, reportAt, otherMs, strayMs: 1 + randomInt(random, 400) });
    t.ok(
      kept !== null && kept <= boundBeside(rttMs),
      `seed ${seed}: kept for ${kept} ms at a round trip of ${rttMs} ms`,
    );
  }
});
