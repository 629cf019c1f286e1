import { type Millis, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { ServerTimeouts } from "../src/stun/server-timeouts.ts";
import { STUN_METHOD } from "../src/stun/tables.ts";
import { StunTransaction } from "../src/stun/transaction.ts";
import { TurnWorld } from "./turn-fake-server.ts";

const IP = "192.0.2.1";
const MINUTE_MS = 60_000;

/** A transaction from `at` on that was answered after `tookMs`, repeated or not. */
function answer(timeouts: ServerTimeouts, at: Millis, tookMs: Millis, { repeated = false, ip = IP } = {}): void {
  const transaction = new StunTransaction(at, { rtoMs: 1 });
  if (repeated) transaction.handleTimeout(at + 1);
  timeouts.answered(at + tookMs, ip, transaction);
}

test("RFC 8489 §6.2.1: 500 ms where nothing was measured, then as RFC 6298 computes it, to the millisecond", (t) => {
  const timeouts = new ServerTimeouts();
  t.equal(timeouts.rtoMs(0, IP), 500);
  answer(timeouts, 0, 41);
  t.equal(timeouts.rtoMs(50, IP), 123);
  t.equal(timeouts.rtoMs(50, "192.0.2.2"), 500, "of another server nothing is known");
});

test("a server that answers at once gets 100 ms all the same: a pause of its process is no loss", (t) => {
  const timeouts = new ServerTimeouts();
  for (let n = 0; n < 50; n++) answer(timeouts, n, 0.3);
  t.equal(timeouts.rtoMs(100, IP), 100);
});

test("Karn's algorithm: a repeated request measures nothing, but the next one waits for what it took", (t) => {
  const timeouts = new ServerTimeouts();
  answer(timeouts, 0, 40);
  answer(timeouts, 100, 400, { repeated: true });
  t.equal(timeouts.rtoMs(500, IP), 400);
  answer(timeouts, 500, 40);
  t.ok(timeouts.rtoMs(600, IP) < 120, "a measurement takes that back, and the 400 ms were none");
  answer(timeouts, 600, 20_000, { repeated: true });
  t.equal(timeouts.rtoMs(20_600, IP), 1000, "after many losses it is a second at most");
});

test("a way that has become longer than the RTO is measured again by the second request", (t) => {
  const timeouts = new ServerTimeouts();
  answer(timeouts, 0, 40);
  answer(timeouts, 1000, 600, { repeated: true });
  t.equal(timeouts.rtoMs(2000, IP), 600);
  answer(timeouts, 2000, 600);
  t.ok(timeouts.rtoMs(3000, IP) > 600);
});

test("what is known is forgotten after ten minutes without a transaction, and when one fails", (t) => {
  const timeouts = new ServerTimeouts();
  answer(timeouts, 0, 40);
  t.equal(timeouts.rtoMs(40 + 10 * MINUTE_MS, IP), 120);
  t.equal(timeouts.rtoMs(41 + 10 * MINUTE_MS, IP), 500);
  answer(timeouts, 11 * MINUTE_MS, 40);
  t.equal(timeouts.rtoMs(11 * MINUTE_MS + 50, IP), 120, "a stale value is not averaged into the new one");
  timeouts.unanswered(IP);
  t.equal(timeouts.rtoMs(11 * MINUTE_MS + 50, IP), 500);
});

test("what another protocol measured counts until a transaction has", (t) => {
  const timeouts = new ServerTimeouts();
  timeouts.suppose(0, IP, 60);
  t.equal(timeouts.rtoMs(0, IP), 180);
  answer(timeouts, 0, 60);
  timeouts.suppose(70, IP, 900);
  t.ok(timeouts.rtoMs(70, IP) <= 180);
});

test("sixty-four servers are remembered, the last ones", (t) => {
  const timeouts = new ServerTimeouts();
  for (let n = 0; n < 65; n++) answer(timeouts, n, 40, { ip: `192.0.2.${n}` });
  t.equal(timeouts.rtoMs(200, "192.0.2.0"), 500);
  t.equal(timeouts.rtoMs(200, "192.0.2.1"), 120);
});

test("a TURN client: the request after the challenge is repeated after three round trips, not after half a second", (t) => {
  const world = new TurnWorld();
  world.latencyMs = 20;
  let signed = 0;
  world.server.script = ({ integrityOffset }) => (integrityOffset >= 0 && ++signed <= 2 ? "drop" : null);
  world.client.start(0);
  world.run(5_000);
  t.equal(world.client.state, "allocated");
  t.same(
    world.server.requests(STUN_METHOD.ALLOCATE).map(({ at }) => at),
    [20, 60, 180, 420],
  );
});

test("a TURN client whose relay falls silent goes back to 500 ms once a request has failed", (t) => {
  const world = new TurnWorld();
  world.latencyMs = 20;
  world.client.start(0);
  world.run(100);
  world.server.script = () => "drop";
  world.client.probe(world.now);
  world.run(30_000);
  const at = world.server.requests(STUN_METHOD.REFRESH).map((request) => request.at);
  const waits = at.slice(1, 9).map((one, n) => one - t.must(at[n]));
  t.same(waits, [100, 200, 400, 800, 1600, 3200, 1600, 500], "seven requests, Rm times the RTO, and a new transaction");
});

/** Without measuring: every request begins with 500 ms. */
class FixedTimeouts extends ServerTimeouts {
  override rtoMs(): Millis {
    return 500;
  }
}

test("at 20 % loss each way an allocation takes less than half of what it takes where every request begins with 500 ms", (t) => {
  const took = (timeouts: ServerTimeouts, seed: number): Millis => {
    const random = seededRandom(seed);
    timeouts.suppose(0, IP, 40);
    const world = new TurnWorld({ timeouts });
    world.latencyMs = 20;
    world.loses = () => random.float() < 0.2;
    world.client.start(0);
    while (world.client.state !== "allocated") {
      world.run(world.now + (world.client.state === "failed" ? 5000 : 10));
      world.client.start(world.now); // again, if all seven requests or their answers got lost
    }
    return world.now;
  };
  const seeds = Array.from({ length: 300 }, (_, n) => n + 1);
  const measured = seeds.map((seed) => took(new ServerTimeouts(), seed));
  const fixed = seeds.map((seed) => took(new FixedTimeouts(), seed));
  const mean = (all: readonly Millis[]): Millis => all.reduce((sum, one) => sum + one, 0) / all.length;
  const slow = (all: readonly Millis[]): number => all.filter((tookMs) => tookMs > 5_000).length;
  t.ok(mean(measured) < mean(fixed) / 2, `${mean(measured)} and ${mean(fixed)} ms on average`);
  t.ok(slow(measured) < slow(fixed) / 2, `${slow(measured)} and ${slow(fixed)} of 300 take more than five seconds`);
});
