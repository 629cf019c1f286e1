/** One session between two kinds of NAT, from nothing to where it ends up, with its times. */
import { epochMs } from "../tool/gaps.ts";
import { EXTRAS } from "./extras/index.ts";
import { mappedPorts } from "./extras/router.ts";
import { expectation } from "./judge.ts";
import type { SideKind } from "./kinds.ts";
import type { LogLine, Program } from "./programs.ts";
import type { Side } from "./side.ts";
import { LOCAL, type World } from "./world.ts";

export interface PairRun {
  readonly path: string;
  readonly localType: string | null;
  readonly remoteType: string | null;
  /** From the moment when the agent's listener took the user's connection, all three. Null: it did not come to that. */
  readonly firstByteMs: number;
  readonly directMs: number | null;
  readonly relayMs: number | null;
  /** How much of that at most the programs waited for a processor. */
  readonly waitedMs: number;
  readonly startedOnRelay: boolean;
  /** How long after the connector sent over a direct path the service's first bytes left; 0: before that, so they went over the relay. */
  readonly servedLateMs: number;
  readonly reason: string | null;
  /** What the session said of the path that it started on. */
  readonly startReason: string | null;
}

const SESSION_MS = 15_000;
/** The engine gives up punching, for the time being, after 5 s; after 10 s where the relay had a hiccup at that moment. */
const DECIDED_MS = 13_000;

/** The next attempt comes 2 s after the first was given up, and has 5 s too. */
const SECOND_ATTEMPT_MS = 8_000;

/** `secondAttempt`: as in PairJob. */
export async function runPair(world: World, secondAttempt: boolean): Promise<PairRun> {
  let failed = true;
  try {
    await world.beginRun();
    const begunMs = epochMs();
    const agent = world.startAgent();
    const waitedBeforeMs = agent.line(({ event }) => event === "listening", SESSION_MS).then(() => world.waitedMs);
    const { host, port } = LOCAL;
    const { connectedMs, firstByteMs } = await world.lab
      .station("agent")
      .ask("firstByte", host, port, "/hello", SESSION_MS);
    const start = await agent.expect("session-start", 1000);
    const direct = start.path === "direct" ? start : await becomesDirect(agent, secondAttempt && isToBeDirect(world));
    const waitedMs = world.waitedMs - (await waitedBeforeMs);
    const served = await world.service?.line((line) => line.event === "response", 1000, begunMs);
    const moved = (direct && (await world.connector?.line(toDirect, 1000, begunMs))) ?? null;
    const session = await world.session();
    if (!session) throw new Error(`the agent has no session any more:\n${agent.tail}`);
    failed = false;
    return {
      path: session.path,
      localType: session.localType,
      remoteType: session.remoteType,
      firstByteMs: firstByteMs - connectedMs,
      directMs: direct ? direct.timeMs - connectedMs : null,
      relayMs: start.path === "relay" ? start.timeMs - connectedMs : null,
      waitedMs,
      startedOnRelay: start.path === "relay",
      servedLateMs: moved ? Math.max(0, (served?.timeMs ?? moved.timeMs + SESSION_MS) - moved.timeMs) : 0,
      reason: session.reason,
      startReason: typeof start.reason === "string" ? start.reason : null,
    };
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`${message} (${new Date(epochMs()).toISOString()})\n${world.tails}`);
  } finally {
    await world.endRun({ failed });
  }
}

const toDirect = (line: LogLine): boolean => line.event === "path-changed" && line.to === "direct";
const isToBeDirect = ({ kind }: World): boolean => expectation(kind.text).path === "direct";

/** The first path that is direct; null when the engine says that there is none for the time being. */
async function becomesDirect(agent: Program, secondAttempt: boolean): Promise<LogLine | null> {
  const decided = await agent.line((line) => line.event === "punch-failed" || toDirect(line), DECIDED_MS);
  if (decided?.event !== "punch-failed") return decided;
  return secondAttempt ? await agent.line(toDirect, SECOND_ATTEMPT_MS) : null;
}

/** What a program had its router open is closed again when it has ended. @throws when it is not. */
export function expectNothingMapped({ extras }: SideKind, side: Side): void {
  if (!extras.some((name) => "mapsPorts" in EXTRAS[name])) return;
  const left = mappedPorts(side);
  if (left.length > 0) throw new Error(`left behind in the ${side.host}'s router: ${left.join("; ")}`);
}
