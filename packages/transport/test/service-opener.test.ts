import { nullLogger } from "@adit/core";
import { test } from "@adit/harness";
import type { QuicConnection, QuicStream } from "@adit/quic";
import { ServiceOpener } from "../src/peer/service-opener.ts";

test("a request for a service has the path looked at, which an idle session does not do by itself", async (t) => {
  const stream = {
    id: 4,
    write: (data: Uint8Array) => data.length,
    read: () => "end",
    reset: () => {},
    stopSending: () => {},
  } as unknown as QuicStream;
  const connection = {
    openStream: () => stream,
    stats: () => ({ peerStreamsLeft: 60_000 }),
  } as unknown as QuicConnection;
  const asked: number[] = [];
  const opener = new ServiceOpener({
    session: "1",
    head: { sent: 0, received: 0 },
    log: nullLogger,
    connection: () => connection,
    isOver: () => false,
    onAsked: (now) => asked.push(now),
  });
  await t.rejects(opener.open(1_000, "web", "tcp"), { code: "timeout" });
  t.same(asked, [1_000]);
});
