import { type T, test } from "@adit/harness";
import { type DatagramFlow, ServiceRefusedError } from "../src/index.ts";
import { startNet } from "./support/endpoints.ts";

/** A connector that echoes the datagrams of `echo`, takes those of `sink`, and has nothing else. */
async function network(t: T) {
  /** The connector's ends of the flows that were opened. */
  const served: DatagramFlow[] = [];
  const { agent } = await startNet(t, {
    onService: async (request) => {
      const { name, protocol } = request;
      if (protocol !== "udp") return request.refuse("service-unavailable", "UDP only");
      if (name !== "echo" && name !== "sink") return request.refuse("service-unknown", `no service ${name}`);
      const flow = await request.acceptFlow();
      served.push(flow);
      flow.onDatagram = (payload) => {
        if (name === "echo") flow.send(payload);
      };
    },
  });
  const session = await agent.connect({ target: "office", service: "echo", waitMs: 5_000 });
  return { agent, session, served };
}

const nextDatagram = (flow: DatagramFlow): Promise<Uint8Array> =>
  new Promise((resolve) => {
    flow.onDatagram = resolve;
  });
const closeOf = (flow: DatagramFlow): Promise<Error | null> =>
  new Promise((resolve) => {
    flow.onClosed = resolve;
  });

test("datagrams of every size come back on their own flow, and count as application bytes", async (t) => {
  const { session } = await network(t);
  const [one, two] = await Promise.all([session.openFlow("echo"), session.openFlow("echo")]);
  let sentBytes = 0;
  for (const [flow, size] of [
    [one, 0],
    [two, 1],
    [one, 512],
    [two, one.maxPayloadBytes],
  ] as const) {
    const payload = new Uint8Array(size).fill(size % 251);
    const answer = nextDatagram(flow);
    t.equal(flow.send(payload), "sent");
    t.same(await answer, payload);
    sentBytes += size;
  }
  const status = session.status();
  t.equal(status.sentBytes, sentBytes);
  t.equal(status.receivedBytes, sentBytes);
});

test("what is too large for the path is refused by size, and nothing else is harmed", async (t) => {
  const { session } = await network(t);
  const flow = await session.openFlow("echo");
  t.equal(flow.send(new Uint8Array(flow.maxPayloadBytes + 1)), "too-large");
  t.ok(flow.maxPayloadBytes >= 1150, `${flow.maxPayloadBytes} of the 1200 bytes that every path carries`);
  const answer = nextDatagram(flow);
  flow.send(Uint8Array.of(7));
  t.same(await answer, Uint8Array.of(7));
});

test("a flow that is closed ends on the other side, in order, and takes nothing more", async (t) => {
  const { session, served } = await network(t);
  const flow = await session.openFlow("sink");
  const peer = served[0] as DatagramFlow;
  const ended = closeOf(peer);
  flow.close();
  t.equal(await ended, null);
  t.equal(flow.send(Uint8Array.of(1)), "closed");
  t.equal(peer.send(Uint8Array.of(1)), "closed");
  t.equal(await closeOf(peer), null, "who asks late is told too");
});

test("a connector that closes a flow ends it at the agent", async (t) => {
  const { session, served } = await network(t);
  const flow = await session.openFlow("sink");
  const ended = closeOf(flow);
  served[0]?.close();
  t.equal(await ended, null);
});

test("a service that is not there is refused by its code; the end of the session ends the flows", async (t) => {
  const { session } = await network(t);
  await session.openFlow("nothing").then(
    () => t.fail("opened"),
    (error: unknown) => t.ok(error instanceof ServiceRefusedError && error.code === "service-unknown", String(error)),
  );
  const flow = await session.openFlow("sink");
  const ended = closeOf(flow);
  session.close("test over");
  t.ok((await ended) instanceof Error);
});

test("bytes on the stream of a flow are a breach: the flow ends", async (t) => {
  const { session, served } = await network(t);
  // What an agent that gets it wrong would do: a flow whose stream is written to.
  const internals = session as unknown as {
    carrier: { openStream(): import("@adit/quic").QuicStream };
  };
  const stream = internals.carrier.openStream();
  const { openServiceCodec } = await import("@adit/signaling");
  stream.write(openServiceCodec.encodeFrame({ type: "open-service", name: "sink", protocol: "udp" }));
  while (served.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const ended = closeOf(served[0] as DatagramFlow);
  stream.write(Uint8Array.of(1, 2, 3));
  t.match(String(await ended), /carries no bytes/);
});
