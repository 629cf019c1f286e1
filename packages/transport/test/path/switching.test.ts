/** What goes on between two paths: what is known before a move, and what the move cost. */
import { test } from "@adit/harness";
import { SwitchGap } from "../../src/path/switch-gap.ts";
import { World } from "./world.ts";

test("the connector knows which path stands before the agent moves there, and only while the other one is silent", (t) => {
  const world = new World();
  const relay = world.wire("relay", "relay", 20);
  const direct = world.wire("direct", "direct", 10);
  world.establish(relay);
  world.valid(relay);
  world.valid(direct);
  world.runUntil(2_000);
  world.download(6_000);
  world.runUntil(4_000);
  t.equal(world.connector.sparePair, null);
  direct.up = direct.down = false;
  world.runUntil(4_050);
  t.equal(world.connector.sparePair, null, "silent for a moment");
  world.runUntil(4_150);
  t.equal(world.connector.sparePair, "relay", "which has answered what was asked when the silence began");
  t.equal(world.agent.activePair, "direct");
  world.runUntil(4_600);
  t.equal(world.agent.activePair, "relay");
  t.equal(world.connector.sparePair, null);
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
