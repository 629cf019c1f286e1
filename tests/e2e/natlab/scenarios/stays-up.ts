/** Bad networks, as somebody sees them who works over one: a small request every second. */
import { LOCAL, type World } from "../world.ts";
import { LOSSY_20, SATELLITE_450, SLOW_5MBIT } from "./bad-networks.ts";
import { type BadNetwork, none, type Scenario, type ScenarioRun } from "./scenario.ts";

const MINUTE_MS = 60_000;
const EVERY_MS = 1_000;
/** As long as the agent lets an early connection wait for its session. */
const COMES_UP_MS = 10_000;
/** Nobody waits longer for a page. */
const ANSWERED_MS = 10_000;

export const lossy20ComesUp = comesUp(LOSSY_20);
export const satellite450ComesUp = comesUp(SATELLITE_450);
export const slow5mbitComesUp = comesUp(SLOW_5MBIT);
export const lossy20StaysUp = staysUp(LOSSY_20);
export const satellite450StaysUp = staysUp(SATELLITE_450);
export const slow5mbitStaysUp = staysUp(SLOW_5MBIT);

function comesUp({ words, quality }: BadNetwork): Scenario {
  return {
    words: `${words}: the first request, with nothing connected before`,
    world: { quality },
    startsAlone: true,
    maxBytes: 1,
    change: () => {},
    instead: async (world) => {
      world.startAgent();
      return await finish(world, { upMs: await request(world, COMES_UP_MS), gapMs: 0 });
    },
  };
}

function staysUp({ words, quality }: BadNetwork): Scenario {
  return {
    words: `${words}: a small request every second for a minute, in one session`,
    world: { quality },
    startsAlone: true,
    maxBytes: 1,
    change: () => {},
    instead: workForAMinute,
  };
}

async function workForAMinute(world: World): Promise<ScenarioRun> {
  const agent = world.startAgent();
  const upMs = await request(world, 2 * COMES_UP_MS); // the other scenario is about that
  let longestMs = 0;
  for (const endMs = performance.now() + MINUTE_MS; performance.now() < endMs; ) {
    const begunMs = performance.now();
    longestMs = Math.max(longestMs, await request(world, ANSWERED_MS));
    await Bun.sleep(Math.max(0, begunMs + EVERY_MS - performance.now()));
  }
  const sessions = agent.lines.filter(({ event }) => event === "session-start").length;
  if (sessions !== 1) throw new Error(`${sessions} sessions, where one was to stay up`);
  return await finish(world, { upMs, gapMs: longestMs });
}

/** How long it took to its first byte. */
async function request(world: World, timeoutMs: number): Promise<number> {
  const station = world.lab.station("agent");
  const { connectedMs, firstByteMs } = await station.ask("firstByte", LOCAL.host, LOCAL.port, "/hello", timeoutMs);
  return firstByteMs - connectedMs;
}

async function finish(world: World, found: Pick<ScenarioRun, "upMs" | "gapMs">): Promise<ScenarioRun> {
  const session = await world.session();
  if (!session) throw new Error("the session is gone");
  return { ...none, ...found, handshakes: session.handshakes, path: session.path };
}
