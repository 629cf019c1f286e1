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

export const lossy20StaysUp = staysUp(LOSSY_20);
export const satellite450StaysUp = staysUp(SATELLITE_450);
export const slow5mbitStaysUp = staysUp(SLOW_5MBIT);

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
  const request = async (timeoutMs: number): Promise<number> => {
    const { connectedMs, firstByteMs } = await world.lab
      .station("agent")
      .ask("firstByte", LOCAL.host, LOCAL.port, "/hello", timeoutMs);
    return firstByteMs - connectedMs;
  };
  const upMs = await request(COMES_UP_MS);
  let longestMs = 0;
  for (const endMs = performance.now() + MINUTE_MS; performance.now() < endMs; ) {
    const begunMs = performance.now();
    longestMs = Math.max(longestMs, await request(ANSWERED_MS));
    await Bun.sleep(Math.max(0, begunMs + EVERY_MS - performance.now()));
  }
  const sessions = agent.lines.filter(({ event }) => event === "session-start").length;
  if (sessions !== 1) throw new Error(`${sessions} sessions, where one was to stay up`);
  const session = await world.session();
  if (!session) throw new Error("the session is gone");
  return { ...none, gapMs: longestMs, upMs, handshakes: session.handshakes, path: session.path };
}
