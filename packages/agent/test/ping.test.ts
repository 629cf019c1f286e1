import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import type { SessionPath } from "@adit/transport";
import { type PingedSession, pingSession } from "../src/ping.ts";

type Answer = { path: SessionPath; rttMs: number | null };

/** A session that answers as listed; then the last answer again. */
function makeSession(answers: readonly Answer[]): PingedSession {
  let next = 0;
  let path: SessionPath = "connecting";
  return {
    peer: { id: "peer", name: "office" },
    get path() {
      return path;
    },
    ping: async () => {
      const answer = answers[Math.min(next++, answers.length - 1)] ?? { path: "relay", rttMs: null };
      path = answer.path;
      if (answer.rttMs === null) throw new Error("no answer within 5 s");
      return answer.rttMs;
    },
    status: () => ({
      reason: "as it is",
      remote: path === "direct" ? SocketAddress.of("127.0.0.3", 5) : SocketAddress.of("127.0.0.1", 49_152),
    }),
  };
}

async function run(answers: readonly Answer[], values: { count: number; untilDirect: boolean; json: boolean }) {
  const lines: string[] = [];
  const sleeps: number[] = [];
  const sleep = async (ms: number) => void sleeps.push(ms);
  const status = await pingSession(makeSession(answers), "office", values, (line) => lines.push(line), sleep);
  return { status, lines, sleeps };
}

const relay = { path: "relay", rttMs: 41.23 } as const;
const direct = { path: "direct", rttMs: 0.3 } as const;
const lost = { path: "relay", rttMs: null } as const;

test("each answer is a line with its path and round trip, 1 s apart", async (t) => {
  const { status, lines, sleeps } = await run([relay, lost, direct], { count: 3, untilDirect: false, json: false });
  t.equal(status, 0);
  t.same(lines, [
    "pong from office via relay 127.0.0.1:49152 in 41 ms",
    "no answer from office: no answer within 5 s",
    "pong from office via direct 127.0.0.3:5 in 1 ms",
  ]);
  t.same(sleeps, [1000, 1000]);
});

test("as JSON each line is one object, and what is unknown is null", async (t) => {
  const { lines } = await run([relay, lost], { count: 2, untilDirect: false, json: true });
  const peer = { id: "peer", name: "office" };
  const reason = "as it is";
  t.same(
    lines.map((line) => JSON.parse(line)),
    [
      { seq: 1, peer, path: "relay", remote: "127.0.0.1:49152", reason, rttMs: 41.23, error: null },
      { seq: 2, peer, path: "relay", remote: "127.0.0.1:49152", reason, rttMs: null, error: "no answer within 5 s" },
    ],
  );
});

test("until direct: ends at the first direct answer with 0, or says why with 1 when there is none", async (t) => {
  const met = await run([relay, relay, direct], { count: 10, untilDirect: true, json: false });
  t.same([met.status, met.lines.length], [0, 3]);
  await t.rejects(run([relay], { count: 4, untilDirect: true, json: false }), {
    code: "failure",
    status: 1,
    message: "office was not reached directly in 4 pings: as it is",
  });
});

test("no answer at all is a timeout", async (t) => {
  await t.rejects(run([lost], { count: 2, untilDirect: false, json: false }), {
    code: "timeout",
    message: /office answered none of 2 pings/,
  });
});
