import { nullLogger } from "@adit/core";
import { test } from "@adit/harness";
import { Identity, type QuicConnection, type QuicStream } from "@adit/quic";
import { startEndpoint } from "../src/index.ts";
import { FakeIntermediate } from "./fake-intermediate.ts";

async function exchange(stream: QuicStream, text: string): Promise<string> {
  const writer = stream.writable.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  return new Response(stream.readable).text();
}

test("a session whose stream credit is eaten by aborted streams retires before it is stuck, and keeps what it carries", async (t) => {
  const intermediate = await FakeIntermediate.start();
  const identity = Identity.generate();
  const shared = {
    intermediate: { host: "127.0.0.1", port: intermediate.address.port },
    checkIntermediate: () => null,
    log: nullLogger,
  };
  const connector = await startEndpoint({
    ...shared,
    role: "connector",
    identity: Identity.generate(),
    name: "office",
    bind: { ip: "127.0.0.3", port: 0 },
    admit: (peerId) => peerId === identity.peerId,
    onService: (request) =>
      void request.accept().then((stream: QuicStream) => stream.readable.pipeTo(stream.writable).catch(() => {})),
  });
  const agent = await startEndpoint({ ...shared, role: "agent", identity, bind: { ip: "127.0.0.2", port: 0 } });
  t.teardown(async () => {
    await agent.close("test over");
    await connector.close("test over");
    intermediate.close();
  });
  await connector.waitRegistered();
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
