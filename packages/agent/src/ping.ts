import { setTimeout as delay } from "node:timers/promises";
import { type Context, ExitError, type OpenState, sentenceOf } from "@adit/program";
import { ANY_SERVICE } from "@adit/signaling";
import type { SessionPath, SessionStatus } from "@adit/transport";
import { Link, type LinkValues, type StartEndpoint } from "./link.ts";

export interface PingValues extends LinkValues {
  readonly count: number;
  readonly untilDirect: boolean;
  readonly json: boolean;
}

/** A session as far as ping is concerned; PeerSession is one. */
export interface PingedSession {
  readonly peer: { readonly id: string; readonly name: string | null };
  readonly path: SessionPath;
  ping(): Promise<number>;
  status(): Pick<SessionStatus, "remote" | "reason">;
}

const INTERVAL_MS = 1000;

/**
 * `adit-agent ping`: one line per round trip, over whatever path is active then.
 * @throws ExitError when no session comes up.
 */
export async function ping(
  start: StartEndpoint,
  values: PingValues,
  state: OpenState,
  context: Context,
): Promise<number> {
  const link = await Link.open(start, values, state, context);
  try {
    const session = await link.connect(ANY_SERVICE);
    const sleep = async (ms: number): Promise<void> => void (await delay(ms, undefined, { signal: context.signal }));
    return await pingSession(session, link.targetText, values, context.print, sleep);
  } catch (error) {
    if (context.signal.aborted) return 0;
    throw link.failure(error);
  } finally {
    await link.close();
  }
}

/**
 * The exit status: with `untilDirect` 0 at the first answer over a direct path; without it 0 when any ping was answered.
 * @throws ExitError `failure` when `untilDirect` was not reached, `timeout` when no ping was answered.
 */
export async function pingSession(
  session: PingedSession,
  target: string,
  values: Pick<PingValues, "count" | "untilDirect" | "json">,
  print: (text: string) => void,
  sleep: (ms: number) => Promise<void>,
): Promise<number> {
  let answers = 0;
  let failure = "";
  for (let seq = 1; seq <= values.count; seq++) {
    if (seq > 1) await sleep(INTERVAL_MS);
    const answer = await session.ping().then(
      (rttMs) => ({ rttMs: Math.round(rttMs * 100) / 100, error: null }),
      (error: unknown) => ({ rttMs: null, error: sentenceOf(error) }),
    );
    const { remote, reason } = session.status();
    if (answer.rttMs !== null) answers++;
    else failure = answer.error;
    const { id, name } = session.peer;
    const line = { seq, peer: { id, name }, path: session.path, remote: remote?.key ?? null, reason, ...answer };
    print(values.json ? JSON.stringify(line) : inWords(line, name ?? target));
    if (values.untilDirect && answer.rttMs !== null && session.path === "direct") return 0;
  }
  if (values.untilDirect) {
    const { reason } = session.status();
    throw new ExitError("failure", `${target} was not reached directly in ${values.count} pings: ${reason}`);
  }
  if (answers === 0) throw new ExitError("timeout", `${target} answered none of ${values.count} pings: ${failure}`);
  return 0;
}

interface PingLine {
  readonly path: SessionPath;
  readonly remote: string | null;
  readonly rttMs: number | null;
  readonly error: string | null;
}

function inWords({ path, remote, rttMs, error }: PingLine, name: string): string {
  if (rttMs === null) return `no answer from ${name}: ${error}`;
  return `pong from ${name} via ${path} ${remote} in ${Math.max(1, Math.round(rttMs))} ms`;
}
