import { test } from "@adit/harness";
import { FollowerPolicy } from "../../src/path/follower.ts";
import type { PathPair } from "../../src/path/known-pairs.ts";

const DIRECT: PathPair = { id: "direct", kind: "direct", priority: 100n };

/** A connector whose agent sent on the direct path at 0, with a round trip of 10 ms, and nothing since; when it reports, and what becomes of it. */
function silence(untilMs: number) {
  const policy = new FollowerPolicy();
  policy.handleActive(0, DIRECT);
  policy.handleAnswer(0, DIRECT, 10);
  policy.handleActivity(0);
  const reports: { readonly at: number; readonly silentMs: number }[] = [];
  const said: string[] = [];
  for (let due = policy.pollTimeout(); due && due.at <= untilMs; due = policy.pollTimeout()) {
    policy.handleTimeout(due.at);
    for (let action = policy.pollAction(); action; action = policy.pollAction()) {
      if (action.type === "report") reports.push({ at: due.at, silentMs: action.silentMs });
      else if (action.type === "changed") said.push(`${due.at} ${action.to}`);
      else if (action.type === "end") said.push(`${due.at} ${action.code}`);
    }
  }
  return { reports, said };
}

test("the agent is told as soon as an answer is overdue, before the path is given up, and then twice a second", (t) => {
  const { reports } = silence(2_000);
  const [first, second] = reports.map(({ at }) => at);
  t.ok(first !== undefined && first < 250, `first at ${first}`);
  t.ok(second !== undefined && second >= 400, `given up at ${second}`);
  t.same(
    reports.slice(1).map(({ at }) => at - (second ?? 0)),
    [0, 500, 1_000, 1_500].slice(0, reports.length - 1),
  );
  t.ok(reports.length >= 4);
});

test("a suspended session is asked after every five seconds, and ends after ten minutes", (t) => {
  const { reports, said } = silence(700_000);
  const [suspended, ended] = said.filter((one) => !one.startsWith("0 "));
  const suspendedAt = Number.parseInt(suspended ?? "", 10);
  t.match(suspended ?? "", / suspended$/);
  t.equal(ended, `${suspendedAt + 600_000} timeout`);
  const later = reports.filter(({ at }) => at > suspendedAt);
  t.ok(later.length >= 118 && later.length <= 121, `${later.length} reports in ten minutes`);
});
