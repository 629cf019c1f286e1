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
  status(): Pick<SessionStatus, "local" | "remote" | "localType" | "remoteType" | "reason">;
}

/** What pingSession does to the outside. */
export interface PingContext extends Pick<Context, "print" | "signal"> {
  /** Until then, or until `signal` is aborted. */
  sleep(ms: number): Promise<void>;
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
  const { print, signal } = context;
  const link = await Link.open(start, values, state, context);
  try {
    const session = await link.connect(ANY_SERVICE);
    const sleep = (ms: number): Promise<void> => delay(ms, undefined, { signal }).catch(() => {});
    return await pingSession(session, link.targetText, values, { print, signal, sleep });
  } catch (error) {
    if (error instanceof ExitError) throw error;
    if (!signal.aborted) throw link.failure(error);
    if (values.untilDirect)
      throw new ExitError("failure", `${link.targetText} was not reached before this was stopped`);
    return 0;
  } finally {
    await link.close();
  }
}

/**
 * The exit status: with `untilDirect` 0 at the first answer over a direct path; without it 0 when any ping was answered. A signal
 * ends it sooner, with the summary and the status of the pings that were made.
 * @throws ExitError `failure` when `untilDirect` was not reached, `timeout` when no ping was answered.
 */
export async function pingSession(
  session: PingedSession,
  target: string,
  { count, untilDirect, json }: Pick<PingValues, "count" | "untilDirect" | "json">,
  { print, signal, sleep }: PingContext,
): Promise<number> {
  const { id, name } = session.peer;
  const lines: PingLine[] = [];
  const isReached = () => untilDirect && lines.some(({ path, rttMs }) => path === "direct" && rttMs !== null);
  while (lines.length < count && !isReached()) {
    if (lines.length > 0) await sleep(INTERVAL_MS);
    const answer = await answerOf(session, signal);
    if (answer === null) break;
    const { remote, reason, ...ends } = session.status();
    const known = { path: session.path, remote: remote?.key ?? null, reason };
    const line = { seq: lines.length + 1, peer: { id, name }, ...known, ...answer };
    lines.push(line);
    print(json ? JSON.stringify(line) : inWords(line, name ?? target, { remote, ...ends }));
  }
  if (!json && lines.length > 0) print(summary(lines));
  if (isReached()) return 0;
  const pings = `${lines.length} ping${lines.length === 1 ? "" : "s"}`;
  if (untilDirect)
    throw new ExitError("failure", `${target} was not reached directly in ${pings}: ${session.status().reason}`);
  const failure = lines.every(({ rttMs }) => rttMs === null) ? lines.at(-1)?.error : undefined;
  if (failure) throw new ExitError("timeout", `${target} answered none of ${pings}: ${failure}`);
  return 0;
}

/** With `json`, what is printed of each. */
interface PingLine {
  readonly seq: number;
  readonly peer: PingedSession["peer"];
  readonly path: SessionPath;
  readonly remote: string | null;
  readonly reason: string;
  readonly rttMs: number | null;
  readonly error: string | null;
}

/** Null when the signal came first. */
function answerOf(session: PingedSession, signal: AbortSignal): Promise<Pick<PingLine, "rttMs" | "error"> | null> {
  if (signal.aborted) return Promise.resolve(null);
  return new Promise((resolve) => {
    const stop = () => resolve(null);
    signal.addEventListener("abort", stop, { once: true });
    session
      .ping()
      .then(
        (rttMs) => resolve({ rttMs: Math.round(rttMs * 100) / 100, error: null }),
        (error: unknown) => resolve({ rttMs: null, error: sentenceOf(error) }),
      )
      .finally(() => signal.removeEventListener("abort", stop));
  });
}

type PathEnds = Omit<ReturnType<PingedSession["status"]>, "reason">;

function inWords({ path, rttMs, error }: PingLine, name: string, ends: PathEnds): string {
  if (rttMs === null) return `no answer from ${name}: ${error}`;
  return `pong from ${name} via ${path}${placeOf(ends)} in ${shown(rttMs)} ms`;
}

/** The relay's address where only this side's end of the path is relayed, else the other side's. */
function placeOf({ local, remote, localType, remoteType }: PathEnds): string {
  const place = localType === "relay" && remoteType !== "relay" ? local : remote;
  return place ? ` ${place.key}` : "";
}

/** What ping has always said last: how many came back, and the least, the mean and the longest round trip. */
function summary(lines: readonly PingLine[]): string {
  const rttsMs = lines.flatMap(({ rttMs }) => rttMs ?? []);
  const lost = `${Math.round((1 - rttsMs.length / lines.length) * 100)} % lost`;
  const counts = `${lines.length} pings, ${rttsMs.length} pongs, ${lost}`;
  if (rttsMs.length === 0) return counts;
  const mean = rttsMs.reduce((sum, rttMs) => sum + rttMs, 0) / rttsMs.length;
  const times = [Math.min(...rttsMs), mean, Math.max(...rttsMs)].map(shown);
  return `${counts}, min/avg/max ${times.join("/")} ms`;
}

const shown = (rttMs: number): number => Math.max(1, Math.round(rttMs));
