import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import type { PathAction } from "../../src/path/actions.ts";
import type { PathPair } from "../../src/path/known-pairs.ts";
import { PathPolicy } from "../../src/path/policy.ts";
import { SlotTable } from "../../src/path/slots.ts";

const RELAY: PathPair = { id: "relay", kind: "relay", priority: 1n };
const DIRECT: PathPair = { id: "direct", kind: "direct", priority: 100n };

/** A policy on virtual time, and what it wanted since it was last asked. */
class Bench {
  now = 0;
  readonly slots = new SlotTable();
  readonly policy = new PathPolicy(0, { slots: this.slots, random: seededRandom(1), explainNoDirect: () => "blocked" });

  at(ms: number): this {
    for (let due = this.policy.pollTimeout(); due && due.at <= ms; due = this.policy.pollTimeout()) {
      this.now = Math.max(this.now, due.at);
      this.policy.handleTimeout(this.now);
      this.actions.push(...this.take());
    }
    this.now = ms;
    return this;
  }

  after(act: () => void): this {
    act();
    return this;
  }

  readonly actions: string[] = [];

  take(): string[] {
    const taken: string[] = [];
    for (let action = this.policy.pollAction(); action; action = this.policy.pollAction())
      taken.push(this.#word(action));
    return taken;
  }

  #word(action: PathAction): string {
    if (action.type === "changed") return `changed ${action.to}`;
    if (action.type === "validate" || action.type === "migrate")
      return `${action.type} ${this.slots.pairOf(action.slot)}`;
    return action.type === "check" ? `check ${action.pair}` : action.type;
  }
}

type State = "connecting" | "relay" | "direct" | "validating" | "stranded" | "suspended";

/** Brings a policy into a state, with nothing left to be done; `now` is the time then. */
function inState(state: State): Bench {
  const bench = new Bench();
  const { policy, slots } = bench;
  if (state === "connecting") return bench;
  slots.bind(RELAY.id, []);
  policy.handleEstablished(0, RELAY, "connected");
  policy.handleAnswer(0, RELAY, 20);
  // The first bytes are not waited for any more.
  bench.at(600);
  if (state === "relay") return settled(bench);
  policy.handleAnswer(bench.now, DIRECT, 10);
  if (state === "validating") return settled(bench);
  policy.handleValidated(bench.now, slots.slotOf(DIRECT.id) ?? -1);
  policy.handleActivity(bench.now);
  bench.at(bench.now);
  policy.handleAnswer(bench.now, DIRECT, 10);
  if (state === "direct") return settled(bench);
  policy.handlePairLost(bench.now, RELAY.id, "its socket is gone");
  policy.handlePairLost(bench.now, DIRECT.id, "its socket is gone");
  if (state === "stranded") return settled(bench);
  return settled(bench.at(bench.now + 30_000));
}

function settled(bench: Bench): Bench {
  bench.take();
  bench.actions.length = 0;
  return bench;
}

const directSlot = (b: Bench): number => b.slots.slotOf(DIRECT.id) ?? -1;

const table: [state: State, event: string, act: (bench: Bench) => unknown, path: string, wanted: string[]][] = [
  [
    "connecting",
    "handshake complete on the relay",
    (b) => b.policy.handleEstablished(0, RELAY, "connected"),
    "relay",
    ["changed relay"],
  ],
  [
    "connecting",
    "handshake complete on direct",
    (b) => b.policy.handleEstablished(0, DIRECT, "connected"),
    "direct",
    ["changed direct"],
  ],
  ["connecting", "a pair answers", (b) => b.policy.handleAnswer(0, DIRECT, 10), "connecting", []],
  ["relay", "a direct pair answers", (b) => b.policy.handleAnswer(b.now, DIRECT, 10), "relay", ["validate direct"]],
  ["relay", "a direct pair answers, slower by 6 ms", (b) => b.policy.handleAnswer(b.now, DIRECT, 26), "relay", []],
  ["relay", "5 s without a direct pair", (b) => b.at(5_000), "relay", ["punch-failed", "retry"]],
  ["relay", "15 s", (b) => b.at(15_000), "relay", ["ping"]],
  ["validating", "validated", (b) => b.policy.handleValidated(b.now, directSlot(b)), "direct", ["migrate direct"]],
  [
    "validating",
    "validated after 1.9 s",
    (b) => b.at(b.now + 1_900).policy.handleValidated(b.now, directSlot(b)),
    "direct",
    ["migrate direct"],
  ],
  [
    "validating",
    "validated after 2 s, when it was given up",
    (b) => b.at(b.now + 2_000).policy.handleValidated(b.now, directSlot(b)),
    "relay",
    [],
  ],
  ["validating", "the pair is lost", (b) => b.policy.handlePairLost(b.now, "direct", "consent expired"), "relay", []],
  [
    "validating",
    "validated after it was lost",
    (b) => {
      b.policy.handlePairLost(b.now, "direct", "consent expired");
      b.policy.handleValidated(b.now, directSlot(b));
    },
    "relay",
    [],
  ],
  ["direct", "100 ms of silence", (b) => b.at(b.now + 100), "direct", ["check direct", "check relay"]],
  ["direct", "silence, and the answer is overdue", (b) => b.at(b.now + 180), "direct", ["probe-infrastructure"]],
  [
    "direct",
    "silence, the relay answers",
    (b) => {
      b.at(b.now + 110);
      b.policy.handleAnswer(b.now, RELAY, 20);
      b.at(b.now + 300);
    },
    "relay",
    ["migrate relay", "retry"],
  ],
  ["direct", "silence, nothing answers", (b) => b.at(b.now + 400), "direct", ["retry"]],
  [
    "direct",
    "a packet ends the silence",
    (b) => b.at(b.now + 110).policy.handleHeard(b.now, "direct"),
    "direct",
    ["ping"],
  ],
  [
    "direct",
    "the peer complains",
    (b) => b.after(() => b.policy.handlePeerReport(b.now)).at(b.now),
    "direct",
    ["check direct", "check relay"],
  ],
  [
    "direct",
    "the machine wakes",
    (b) => b.after(() => b.policy.handleWake(b.now)).at(b.now),
    "direct",
    ["check direct", "check relay", "probe-infrastructure", "retry"],
  ],
  ["direct", "QUIC refuses the move", (b) => b.policy.handleMigrateFailed(b.now), "direct", ["retry"]],
  ["direct", "silence for 1.5 s, nothing answers", (b) => b.at(b.now + 1_500), "direct", ["retry", "restart"]],
  ["stranded", "3 s", (b) => b.at(b.now + 3_000), "direct", ["restart"]],
  [
    "stranded",
    "signaling is back",
    (b) => b.after(() => b.policy.handleReachable(b.now)).at(b.now),
    "direct",
    ["restart"],
  ],
  [
    "stranded",
    "for 1 s, and the peer is gone",
    (b) =>
      b
        .at(b.now + 1_000)
        .after(() => b.policy.handlePeerGone(b.now))
        .at(b.now),
    "suspended",
    ["end"],
  ],
  ["stranded", "a direct pair answers", (b) => b.policy.handleAnswer(b.now, DIRECT, 10), "direct", ["migrate direct"]],
  ["stranded", "a relay pair answers", (b) => b.policy.handleAnswer(b.now, RELAY, 10), "relay", ["migrate relay"]],
  ["stranded", "30 s", (b) => b.at(b.now + 30_000), "suspended", ["changed suspended"]],
  ["suspended", "a relay pair answers", (b) => b.policy.handleAnswer(b.now, RELAY, 10), "relay", ["migrate relay"]],
  ["suspended", "10 min", (b) => b.at(b.now + 600_000), "suspended", ["end"]],
  [
    "stranded",
    "for 1 s, and the peer connected anew",
    (b) =>
      b
        .at(b.now + 1_000)
        .after(() => b.policy.handlePeerAnew(b.now))
        .at(b.now),
    "direct",
    ["restart"],
  ],
  [
    "stranded",
    "for 1 s, the peer connected anew and does not know the session",
    (b) =>
      b
        .at(b.now + 1_000)
        .after(() => {
          b.policy.handlePeerAnew(b.now);
          b.policy.handlePeerGone(b.now);
        })
        .at(b.now),
    "suspended",
    ["end"],
  ],
  [
    "suspended",
    "the peer connected anew",
    (b) => b.after(() => b.policy.handlePeerAnew(b.now)).at(b.now),
    "suspended",
    ["restart"],
  ],
  [
    "suspended",
    "the peer connected anew, and does not answer the restart",
    (b) => b.after(() => b.policy.handlePeerAnew(b.now)).at(b.now + 2_000),
    "suspended",
    ["end"],
  ],
  [
    "suspended",
    "the peer is gone",
    (b) => b.after(() => b.policy.handlePeerGone(b.now)).at(b.now + 2_000),
    "suspended",
    ["end"],
  ],
];

for (const [state, event, act, path, wanted] of table) {
  test(`path policy: ${state}, ${event}: ${path}${wanted.length > 0 ? `, ${wanted.join(", ")}` : ""}`, (t) => {
    const bench = inState(state);
    act(bench);
    const actions = [...bench.actions, ...bench.take()];
    t.equal(bench.policy.path, path);
    for (const action of wanted)
      t.ok(actions.includes(action), `wanted ${action}, got ${actions.join(", ") || "nothing"}`);
    if (wanted.length === 0) {
      const moves = actions.filter((action) => !action.startsWith("check") && action !== "probe-infrastructure");
      t.same(moves, []);
    }
  });
}
