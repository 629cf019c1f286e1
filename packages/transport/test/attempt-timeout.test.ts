import { test } from "@adit/harness";
import { attemptTimeoutMs } from "../src/peer/attempt-timeout.ts";

for (const [rttMs, timeoutMs, what] of [
  [0, 5_000, "nothing is known of the network yet"],
  [40, 5_000, "as a rule"],
  [400, 8_000, "twenty round trips, where those take longer"],
  [2_000, 9_000, "within the ten seconds that somebody waits"],
] as const) {
  test(`an attempt over ${rttMs} ms may take ${timeoutMs} ms: ${what}`, (t) =>
    t.equal(attemptTimeoutMs(rttMs), timeoutMs));
}
