import { createSocket } from "node:dgram";
import { once } from "node:events";
import { SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import type { LocalListener } from "@adit/program";
import { UdpListeners } from "../src/udp-listeners.ts";

const udp = (service: string, port = 0): LocalListener => ({
  protocol: "udp",
  service,
  address: SocketAddress.of("127.0.0.1", port),
});

async function client(t: T) {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  t.teardown(() => socket.close());
  return socket;
}

test("what comes before the start is kept, bounded, and handed over; answers come from the listener's address", async (t) => {
  let dropped = 0;
  const listeners = await UdpListeners.bind([udp("a"), udp("b")], (_reason, count) => {
    dropped += count;
  });
  t.teardown(() => listeners.close());
  const { address } = t.must(listeners.bound[1]);
  const socket = await client(t);
  for (let i = 0; dropped === 0; i++) {
    socket.send(String(i), address.port, address.ip);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const seen: string[] = [];
  listeners.start((listener, batch) => {
    for (const { data, from } of batch) {
      seen.push(`${listener.service} ${new TextDecoder().decode(data)}`);
      if (seen.length === 64) listener.send(from, new TextEncoder().encode("answer"));
    }
  });
  t.same(
    seen.slice(0, 64),
    [...Array(64).keys()].map((i) => `b ${i}`),
  );
  const [data, from] = (await once(socket, "message")) as [Buffer, { port: number }];
  t.same([data.toString(), from.port], ["answer", address.port]);
});

test("a taken UDP address is an error that names it, and nothing stays bound", async (t) => {
  const holder = await client(t);
  const taken = holder.address().port;
  const probe = await UdpListeners.bind([udp("a")], () => {});
  const free = t.must(probe.bound[0]).address.port;
  probe.close();
  await t.rejects(
    UdpListeners.bind([udp("a", free), udp("b", taken)], () => {}),
    {
      code: "address-in-use",
      message: new RegExp(`127\\.0\\.0\\.1:${taken} is in use`),
    },
  );
  (await UdpListeners.bind([udp("a", free)], () => {})).close();
});
