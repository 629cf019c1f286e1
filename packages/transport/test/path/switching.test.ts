/** What goes on between two paths: what is known before a move, and what the move cost. */
import { test } from "@adit/harness";
import { FollowerPolicy } from "../../src/path/follower.ts";
import type { PathPair } from "../../src/path/known-pairs.ts";
import { SwitchGap } from "../../src/path/switch-gap.ts";
import { settled } from "./world.ts";

test("the connector knows which path stands before the agent moves there, and only while the other one is silent", (t) => {
  const { world, direct } = settled();
  world.download(6_000);
  world.runUntil(4_000);
  t.equal(world.connector.sparePair(world.now), null);
  direct.up = direct.down = false;
  world.runUntil(4_050);
  t.equal(world.connector.sparePair(world.now), null, "silent for a moment");
  world.runUntil(4_150);
  t.equal(world.connector.sparePair(world.now), "relay", "which has answered what was asked when the silence began");
  t.equal(world.agent.activePair, "direct");
  world.runUntil(4_600);
  t.equal(world.agent.activePair, "relay");
  t.equal(world.connector.sparePair(world.now), null);
});

test("a path whose round trip is not over yet is not taken for silent, whatever another one says", (t) => {
  const follower = new FollowerPolicy();
  const slow: PathPair = { id: "slow", kind: "relay", priority: 2n };
  const quick: PathPair = { id: "quick", kind: "relay", priority: 1n };
  follower.handleActive(0, slow);
  follower.handleAnswer(0, slow, 200);
  follower.handleAnswer(0, quick, 20);
  follower.handleActivity(0);
  let spareAt: number | null = null;
  for (let now = 1; now <= 400 && spareAt === null; now++) {
    for (let due = follower.pollTimeout(); due && due.at <= now; due = follower.pollTimeout())
      follower.handleTimeout(now);
    while (follower.pollAction()) follower.handleAnswer(now, quick, 0);
    if (follower.sparePair(now) !== null) spareAt = now;
  }
  t.equal(follower.sparePair(t.must(spareAt)), "quick");
  t.ok(t.must(spareAt) >= 100 + 200, `at ${spareAt} ms`);
});

test("a switch costs the time from the last packet on the old path to the first on the new one", (t) => {
  const gap = new SwitchGap();
  gap.begin("direct");
  gap.handleHeard(100, "direct");
  t.equal(gap.handleHeard(200, "relay"), null, "ahead of the move");
  gap.start(300, "relay");
  t.equal(gap.handleHeard(310, "direct"), null, "late");
  t.equal(gap.handleHeard(320, "other"), null);
  t.equal(gap.handleHeard(350, "relay"), 40);
  t.equal(gap.handleHeard(360, "relay"), null, "once");
  gap.start(400, "direct");
  t.equal(gap.abandon(), true);
  t.equal(gap.handleHeard(500, "direct"), null);
  t.equal(gap.abandon(), false);
});
