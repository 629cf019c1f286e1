/** What a path gets at once when a transfer moves to it. */
import { type T, test } from "@adit/harness";
import { BASE_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES } from "../src/path/datagram-size.ts";
import { now, Transfer, type Wires } from "./support/two-paths.ts";

/** What the direct path carries in a round trip of the relay's is ten times what the relay's queue holds. */
const WIRES: Wires = {
  direct: { rttMs: 10, bytesPerMs: 25_000, queueBytes: 1_000_000 },
  relay: { rttMs: 60, bytesPerMs: 1_250, queueBytes: 75_000 },
};
/** RFC 9002 §7.2: ten packets. What was sent in vain on the path before comes again, eight packets at most; and a challenge. */
const FIRST_FLIGHT_BYTES = 10 * MAX_DATAGRAM_BYTES;
const COPIES_BYTES = 9 * BASE_DATAGRAM_BYTES;

async function firstFlight(t: T, transfer: Transfer, isPlanned: boolean): Promise<void> {
  const sender = transfer.sides[transfer.sender];
  const windowBytes = (): number =>
    sender.connection?.pathStats().find(({ active }) => active)?.congestionWindowBytes ?? 0;
  // What was received so far may have come over the path before.
  await transfer.until(() => windowBytes() > 100_000, "the direct path has room for much at once");
  if (!isPlanned) {
    for (const { wires } of Object.values(transfer.sides)) wires.direct.isCut = true;
    const diedAt = now();
    await transfer.until(() => now() > diedAt + 250, "the path is dead");
  }
  t.ok(windowBytes() > 100_000, `the direct path has room for ${windowBytes()} bytes at once`);
  const movedAt = now();
  transfer.migrate("relay");
  await transfer.reach(300_000);
  const { bytes, dropped } = sender.wires.relay.firstRoundTrip(movedAt);
  t.equal(dropped, 0, `${dropped} packets found the relay's queue full`);
  t.ok(bytes <= FIRST_FLIGHT_BYTES + COPIES_BYTES, `${bytes} bytes in the first round trip`);
}

for (const sender of ["agent", "connector"] as const) {
  for (const isPlanned of [true, false]) {
    const title = `the ${sender} sends and the path ${isPlanned ? "is left" : "dies"}: ten packets and what was lost are all that the next one gets at once`;
    test(title, async (t) => {
      const transfer = new Transfer(sender, WIRES);
      await transfer.open();
      await transfer.validate("relay");
      transfer.isPouring = true;
      await transfer.reach(2_000_000);
      await firstFlight(t, transfer, isPlanned); // QUIC has never used it
      for (const { wires } of Object.values(transfer.sides)) wires.direct.isCut = false;
      transfer.migrate("direct");
      await transfer.reach(2_000_000);
      await firstFlight(t, transfer, isPlanned); // and now it has
    });
  }
}
