/** @number0/iroh: its endpoint without relays and discovery, one stream. */
import { Endpoint, EndpointAddr, EndpointId, presetMinimal, RelayMode } from "@number0/iroh";
import { type Job, runPeer } from "../lib/role.ts";
import { SinkMeter, tell } from "../lib/sink.ts";

const ALPN = [...new TextEncoder().encode("bench/1")];

/** Its endpoint ends when it is collected. */
const kept: Endpoint[] = [];

async function bind(): Promise<Endpoint> {
  const builder = Endpoint.builder();
  presetMinimal(builder);
  builder.relayMode(RelayMode.disabled());
  builder.alpns([ALPN]);
  builder.bindAddr("127.0.0.1:0");
  const endpoint = await builder.bind();
  kept.push(endpoint);
  return endpoint;
}

async function receive(bytes: number): Promise<void> {
  const endpoint = await bind();
  const address = endpoint.boundSockets().find((bound) => bound.startsWith("127."));
  if (!address) throw new Error("not bound to loopback");
  tell({ ready: JSON.stringify({ id: endpoint.id().toBytes(), address }) });
  const accepting = await (await endpoint.acceptNext())?.accept();
  if (!accepting) throw new Error("nobody came");
  const connection = await accepting.connect();
  const stream = await connection.acceptUni();
  const meter = new SinkMeter();
  while (meter.bytes < bytes) {
    const chunk = await stream.read(64 * 1024);
    if (chunk.length === 0) break;
    meter.take(chunk.length);
  }
  tell(meter.result());
}

async function send({ contact, bytes }: Job): Promise<void> {
  const { id, address } = JSON.parse(contact) as { id: number[]; address: string };
  const endpoint = await bind();
  const connection = await endpoint.connect(new EndpointAddr(EndpointId.fromBytes(id), null, [address]), ALPN);
  const stream = await connection.openUni();
  const chunk = new Array<number>(64 * 1024).fill(0x61); // what its binding takes
  for (let left = bytes; left > 0; left -= chunk.length) {
    await stream.writeAll(left < chunk.length ? chunk.slice(0, left) : chunk);
  }
  await stream.finish();
  await connection.closed();
}

await runPeer({ receive, send });
