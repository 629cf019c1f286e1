// The system calls of our own beside the runtime's, over the real kernel: the same batches arrive the same way.
import { parseSocketAddress, SocketAddress, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { bindUdp } from "../src/udp/bind.ts";
import { BunUdpSocket } from "../src/udp/bun-udp.ts";
import { UdpCounts } from "../src/udp/counts.ts";
import type { Outgoing, UdpSocket } from "../src/udp/udp.ts";
import { numbered, range } from "./support/udp.ts";

const handlers = { onBatch: () => {}, onDrain: () => {} };

/** A socket of the runtime alone. */
async function plainSocket(ip: string): Promise<UdpSocket> {
  const native = await Bun.udpSocket({ hostname: ip });
  const address = SocketAddress.of(ip, native.port);
  return new BunUdpSocket({ address, native, handlers, counts: new UdpCounts(), gatherer: { close: () => {} } });
}

/** Two sockets, and what came to them: number, length, and a sum of the bytes. */
async function receivers(ip: string) {
  const seen: string[][] = [[], []];
  const bind = (at: number) =>
    bindUdp({
      address: SocketAddress.of(ip, 0),
      handlers: {
        onBatch: (batch) => {
          for (const { data } of batch) seen[at]?.push(`${data.length}: ${Bun.hash(data)}`);
        },
        onDrain: () => {},
      },
    });
  return { seen, sockets: [await bind(0), await bind(1)] };
}

for (const ip of ["127.0.0.1", "::1"]) {
  test(`${ip}: what our calls send arrives as what the runtime sends`, async (t) => {
    const random = seededRandom(7);
    const below = (limit: number) => Math.floor(random.float() * limit);
    const { seen, sockets } = await receivers(ip);
    const foreign = parseSocketAddress(ip === "::1" ? "127.0.0.1:9" : "[::1]:9");
    let place = sockets[0]?.address ?? foreign;
    const batches = range(40).map(() =>
      range(30).map((i): Outgoing => {
        if (below(5) === 0) place = sockets[below(2)]?.address ?? foreign;
        if (below(60) === 0) return { data: numbered(i), to: foreign };
        return { data: numbered(below(200), [0, 30, 30, 30, 700, 1200][below(6)] ?? 0), to: place };
      }),
    );
    const results = [];
    for (const sender of [await bindUdp({ address: SocketAddress.of(ip, 0), handlers }), await plainSocket(ip)]) {
      for (const list of seen) list.length = 0;
      for (const [i, batch] of batches.entries()) {
        const expected = batches
          .slice(0, i + 1)
          .flat()
          .filter(({ to }) => to !== foreign).length;
        t.equal(sender.send(batch), batch.length);
        for (let n = 0; n < 2_000 && (seen[0]?.length ?? 0) + (seen[1]?.length ?? 0) < expected; n++) {
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      }
      const { sent, sendErrors } = sender.stats();
      results.push({ seen: seen.map((list) => [...list]), sent, sendErrors });
      sender.close();
    }
    t.same(results[0], results[1]);
    t.ok((results[0]?.sendErrors.EAFNOSUPPORT ?? 0) > 0, "some could not be sent");
    for (const socket of sockets) socket.close();
  });
}
