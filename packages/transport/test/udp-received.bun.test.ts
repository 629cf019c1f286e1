// Bursts that are received by system calls of our own, over the real kernel: all of it comes, whole and in order, and is one turn.
import { parseSocketAddress, SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { Driver } from "../src/driver.ts";
import { bindUdp } from "../src/udp/bind.ts";
import { numbered, numberOf, range, until } from "./support/udp.ts";

/** So many that a socket with the system's default buffer holds them. */
const COUNT = 100;
const quiet = { onBatch: () => {}, onDrain: () => {} };

for (const ip of ["127.0.0.1", "::1"]) {
  test(`${ip}: a burst from two sources, of datagrams of all lengths`, async (t) => {
    const seen: string[] = [];
    const sizes: number[] = [];
    let drains = 0;
    const driver = new Driver();
    t.teardown(() => driver.close());
    const id = await driver.bind({
      address: SocketAddress.of(ip, 0),
      borrows: true,
      receive: (_now, _socket, batch) => {
        sizes.push(batch.length);
        for (const { data, from } of batch) {
          seen.push(`${from.key} ${numberOf({ data })} ${data.length} ${Bun.hash(data)}`);
          data.fill(0); // as a decryption in place does
        }
      },
    });
    const to = t.must(driver.socket(id)).address;
    const senders = [
      await bindUdp({ address: SocketAddress.of(ip, 0), handlers: quiet }),
      await bindUdp({ address: SocketAddress.of(ip, 0), handlers: quiet }),
    ];
    t.teardown(() => {
      for (const sender of senders) sender.close();
    });
    driver.add({ handleTimeout: () => {}, pollTimeout: () => null, pollTransmit: () => null, drain: () => drains++ });
    await until(() => drains > 0, "the driver is idle");
    drains = 0;
    const sent = range(COUNT).map((i) => numbered(i, i === 50 ? 20_000 : [30, 1472, 700, 1200][i % 4]));
    const expected: string[] = [];
    for (const [i, data] of sent.entries()) {
      const sender = t.must(senders[i % 40 < 30 ? 0 : 1]);
      t.equal(sender.send([{ data, to }]), 1);
      expected.push(`${sender.address.key} ${i} ${data.length} ${Bun.hash(data)}`);
    }
    await until(() => seen.length >= COUNT, "all have come");
    t.same(seen, expected);
    t.equal(driver.socket(id)?.stats().received, COUNT);
    if (process.platform !== "linux") return;
    t.same(sizes.slice(0, 2), [8, COUNT - 8], "the runtime's eight, and the rest");
    await until(() => drains > 0, "the turn has come");
    t.equal(drains, 1, "one turn for all of them");
  });
}

test("a socket whose receiver keeps what it gets has bytes of its own", async (t) => {
  const kept: Uint8Array[] = [];
  const socket = await bindUdp({
    address: parseSocketAddress("127.0.0.1:0"),
    handlers: { onBatch: (batch) => kept.push(...batch.map(({ data }) => data)), onDrain: () => {} },
  });
  t.teardown(() => socket.close());
  for (let round = 0; round < 2; round++) {
    socket.send(range(COUNT).map((i) => ({ data: numbered(COUNT * round + i, 600), to: socket.address })));
    await until(() => kept.length === COUNT * (round + 1), "all have come");
  }
  t.same(
    kept.map((data) => numberOf({ data })),
    range(2 * COUNT),
  );
});
