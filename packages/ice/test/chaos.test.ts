import { randomInt, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { Network } from "@adit/sim";
import { agreed, Side } from "./kit.ts";

const SEEDS = 120;
const IPS = { a: ["198.51.100.1", "198.51.100.11"], b: ["198.51.100.2"] } as const;

/** Two sides with the restart signaling of a real session: in order, delayed, and each carries parameters and candidates. */
class World {
  readonly network: Network;
  readonly a: Side;
  readonly b: Side;
  /** Restarts whose signaling is under way. */
  #open = 0;

  constructor(seed: number) {
    this.network = new Network({ seed, link: { loss: 0.05, duplicate: 0.05, reorder: 0.1, jitterMs: 5 } });
    const host = this.network.addHost("a", IPS.a[0]);
    host.addInterface(IPS.a[1]);
    const sockets = new Map([
      [0, { ip: IPS.a[0] }],
      [1, { ip: IPS.a[1] }],
    ]);
    this.a = new Side(host, "controlling", { seed: seed * 2, sockets });
    this.b = new Side(this.network.addHost("b", IPS.b[0]), "controlled", { seed: seed * 2 + 1 });
    this.a.gather();
    this.b.gather();
    this.#tell(this.a, this.b);
    this.#tell(this.b, this.a);
  }

  restart(side: Side): void {
    if (this.#open > 0) return;
    side.agent.restart(side.now);
    side.running.wake();
    this.#tell(side, side === this.a ? this.b : this.a);
  }

  #tell(from: Side, to: Side): void {
    const parameters = from.agent.local;
    const candidates = from.agent.localCandidates;
    this.#open++;
    this.network.clock.schedule(this.network.clock.now() + 30, () => {
      this.#open--;
      const known = to.agent.remote;
      if (known && known.ufrag !== parameters.ufrag) {
        to.agent.restart(to.now);
        this.#tell(to, from);
      }
      if (!to.agent.setRemoteParameters(to.now, parameters)) throw new Error("parameters refused");
      for (const candidate of candidates) to.agent.addRemoteCandidate(to.now, candidate);
      to.agent.endOfRemoteCandidates(to.now);
      to.running.wake();
    });
  }
}

test(`${SEEDS} seeds of restarts, outages, boosts, retries and lost sockets: the sides end up with one pair`, (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const world = new World(seed);
    const { network, a, b } = world;
    const random = seededRandom(seed + 1_000);
    for (let step = 0; step < 12; step++) {
      network.clock.advance(random.float() * 6_000);
      const side = random.float() < 0.5 ? a : b;
      switch (randomInt(random, 6)) {
        case 0:
          world.restart(side);
          break;
        case 1:
          side.agent.boost(side.now);
          break;
        case 2:
          side.agent.retry(side.now);
          break;
        case 3: {
          const cut = network.blockBoth(IPS.a[randomInt(random, 2)] ?? IPS.a[0], IPS.b[0]);
          network.clock.schedule(network.clock.now() + random.float() * 45_000, () => cut.remove());
          break;
        }
        case 4:
          a.agent.removeLocalSocket(a.now, 1);
          break;
        case 5:
          for (const pair of side.agent.pairs()) side.agent.probe(side.now, pair.id);
          break;
      }
      a.running.wake();
      b.running.wake();
      for (const one of [a, b]) {
        t.ok(one.agent.pairs().length <= 40, `seed ${seed}: ${one.agent.pairs().length} pairs`);
      }
    }
    // Calm: every cut is over, and one restart cures whatever consent was lost.
    network.clock.advance(50_000);
    world.restart(a);
    network.clock.advance(20_000);
    t.ok(agreed(a, b), `seed ${seed}: no agreed pair`);
    t.equal(a.agent.nominated?.remote.address.ip, IPS.b[0], `seed ${seed}`);
    t.equal(b.agent.nominated?.remote.address.ip, a.agent.nominated?.local.address.ip, `seed ${seed}`);
    t.notEqual(a.agent.role, b.agent.role, `seed ${seed}`);
  }
});

test("a restart during data loses no path: whatever the moment, some pair is valid on both sides throughout", (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const world = new World(seed);
    const { network, a, b } = world;
    t.ok(
      network.clock.runUntilDone(() => a.valid.length > 0 && b.valid.length > 0, 20_000),
      `seed ${seed}`,
    );
    const random = seededRandom(seed);
    for (let i = 0; i < 5; i++) {
      world.restart(random.float() < 0.5 ? a : b);
      for (let ms = 0; ms < 3_000; ms += 10) {
        network.clock.advance(10);
        if (a.valid.length === 0 || b.valid.length === 0)
          t.fail(`seed ${seed}: no valid pair at ${network.clock.now()}`);
      }
      network.clock.advance(random.float() * 4_000);
    }
  }
});
