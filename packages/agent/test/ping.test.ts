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
      local: SocketAddress.of("127.0.0.2", 7),
      localType: "host",
      remoteType: path === "direct" ? "host" : "relay",
      remote: path === "direct" ? SocketAddress.of("127.0.0.3", 5) : SocketAddress.of("127.0.0.1", 49_152),
    }),
  };
}

async function run(
  answers: readonly Answer[],
  values: { count: number; untilDirect: boolean; json: boolean },
  session = makeSession(answers),
) {
  const lines: string[] = [];
  const sleeps: number[] = [];
  const status = await pingSession(session, "office", values, {
    print: (line) => lines.push(line),
    sleep: async (ms) => void sleeps.push(ms),
    signal: new AbortController().signal,
  });
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
    "3 pings, 2 pongs, 33 % lost, min/avg/max 1/21/41 ms",
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
  t.same(
    [met.status, met.lines.slice(2)],
    [0, ["pong from office via direct 127.0.0.3:5 in 1 ms", "3 pings, 3 pongs, 0 % lost, min/avg/max 1/28/41 ms"]],
  );
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

test("where only this side's end is relayed, the address is the relay's, not the peer's", async (t) => {
  const session = makeSession([relay]);
  const status = () => ({ ...session.status(), localType: "relay" as const, remoteType: "srflx" as const });
  const { lines } = await run([], { count: 1, untilDirect: false, json: false }, { ...session, path: "relay", status });
  t.equal(lines[0], "pong from office via relay 127.0.0.2:7 in 41 ms");
});

test("a signal ends it: the summary and the exit status are those of the pings until then", async (t) => {
  const stopped = async (untilDirect: boolean, whileWaitingForAnAnswer: boolean) => {
    const abort = new AbortController();
    const lines: string[] = [];
    const session = makeSession([relay]);
    let pings = 0;
    const ping = () => {
      if (++pings < 3) return session.ping();
      abort.abort();
      return new Promise<never>(() => {});
    };
    const sleep = async () => (whileWaitingForAnAnswer || pings < 2 ? undefined : abort.abort());
    const print = (line: string) => void lines.push(line);
    const values = { count: 10, untilDirect, json: false };
    const result = pingSession({ ...session, ping }, "office", values, { print, signal: abort.signal, sleep });
    return { status: await result.catch(({ status }: { status: number }) => status), lines };
  };
  for (const whileWaitingForAnAnswer of [true, false]) {
    const { status, lines } = await stopped(false, whileWaitingForAnAnswer);
    t.equal(status, 0);
    t.same(lines.slice(2), ["2 pings, 2 pongs, 0 % lost, min/avg/max 41/41/41 ms"]);
    t.equal((await stopped(true, whileWaitingForAnAnswer)).status, 1);
  }
});
