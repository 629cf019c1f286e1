/** What a path that stands by costs the transfer beside it when it is validated: two connections over wires with a round trip, a rate and a queue. */
import { test } from "@adit/harness";
import { now, Transfer } from "./support/two-paths.ts";

const ACTIVE = { rttMs: 60, bytesPerMs: 100_000, queueBytes: 10_000_000 };

interface Case {
  readonly otherMs: number;
  /** How far slow start has come when the other path is asked. */
  readonly afterBytes: number;
}

/** One that overtakes what is under way, and one that the transfer overtakes by more packets than QUIC bears. */
const CASES: readonly Case[] = [
  { otherMs: 30, afterBytes: 1_000_000 },
  { otherMs: 140, afterBytes: 2_000_000 },
];
for (const sender of ["agent", "connector"] as const) {
  for (const { otherMs, afterBytes } of CASES) {
    test(`the ${sender} sends, and a relay that answers in ${otherMs} ms is made to stand by, and nothing counts as lost`, async (t) => {
      const transfer = new Transfer(sender, { direct: ACTIVE, relay: { ...ACTIVE, rttMs: otherMs } });
      await transfer.open();
      transfer.isPouring = true;
      await transfer.reach(afterBytes);
      await transfer.validate("relay");
      const acknowledgedAt = now() + 2 * ACTIVE.rttMs;
      await transfer.until(() => now() > acknowledgedAt, "what was sent is acknowledged");
      for (const { active, packetsLost } of transfer.sides[sender].connection?.pathStats() ?? [])
        t.equal(packetsLost, 0, `${packetsLost} packets lost on the ${active ? "active" : "other"} path`);
    });
  }
}
