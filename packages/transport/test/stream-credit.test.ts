import { test } from "@adit/harness";
import type { QuicConnection } from "@adit/quic";
import { echo, exchange, startNet } from "./support/endpoints.ts";

test("a session whose stream credit is eaten by aborted streams retires before it is stuck, and keeps what it carries", async (t) => {
  const { agent } = await startNet(t, { onService: (request) => void request.accept().then(echo) });
  const session = await agent.connect({ target: "office", service: "echo", waitMs: 5_000 });
  let retired = false;
  void session.retiring.then(() => {
    retired = true;
  });
  const kept = await session.openService("echo");
  // What aborted streams do to a connection is tested in @adit/quic; here they have eaten all but a few.
  const { carrier } = session as unknown as { readonly carrier: QuicConnection };
  const stats = carrier.stats.bind(carrier);
  let left = 65_536;
  carrier.stats = () => ({ ...stats(), peerStreamsLeft: left });
  for (left of [1_500, 1_025]) await exchange(await session.openService("echo"), "one more");
  t.equal(retired, false);
  left = 1_024;
  t.equal(await exchange(await session.openService("echo"), "the last"), "the last");
  t.equal(retired, true);
  t.equal(session.status().path, "direct", "it carries what it has");
  t.equal(await exchange(kept, "still here"), "still here");
  const { reason } = await session.closed;
  t.match(reason, /another session takes over/);
  const next = await agent.connect({ target: "office", service: "echo", waitMs: 5_000 });
  t.ok(await next.openService("echo"));
});
