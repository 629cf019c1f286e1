import { nullLogger } from "@adit/core";
import type { T } from "@adit/harness";
import { Identity, type QuicStream } from "@adit/quic";
import { type Endpoint, type EndpointOptions, startEndpoint } from "../../src/index.ts";
import { FakeIntermediate } from "../fake-intermediate.ts";

export interface Net {
  readonly intermediate: FakeIntermediate;
  readonly connector: Endpoint;
  readonly agent: Endpoint;
}

/** An intermediate without a relay, a connector named `office`, which takes `connectorOptions`, and an agent that it lets in. */
export async function startNet(t: T, connectorOptions: Partial<EndpointOptions>): Promise<Net> {
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
    ...connectorOptions,
  });
  const agent = await startEndpoint({ ...shared, role: "agent", identity, bind: { ip: "127.0.0.2", port: 0 } });
  t.teardown(async () => {
    await agent.close("test over");
    await connector.close("test over");
    intermediate.close();
  });
  await connector.waitRegistered();
  return { intermediate, connector, agent };
}

/** Sends back what comes. */
export function echo(stream: QuicStream): void {
  void stream.readable.pipeTo(stream.writable).catch(() => {});
}

/** Sends the text and its end; gives all that comes back. */
export async function exchange(stream: QuicStream, text: string): Promise<string> {
  const writer = stream.writable.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  return new Response(stream.readable).text();
}
