// Runs inside a network namespace that udp-namespace.test.ts makes; prints one JSON object.
// Argument 1: runtime. 127.0.0.9 is dropped by a rule in OUTPUT; 10.9.9.2 lies behind a slow link.
import { parseSocketAddress } from "@adit/core";
import { bindUdp } from "../../src/udp/bind.ts";
import { canSendUnfragmented } from "../../src/udp/socket-calls.ts";
import type { UdpRuntime } from "../../src/udp/udp.ts";

const runtime = process.argv[2] as UdpRuntime;
const result: Record<string, unknown> = {};

async function firewall(): Promise<void> {
  const got: number[] = [];
  const receiver = await bindUdp({
    address: parseSocketAddress("127.0.0.1:0"),
    runtime,
    handlers: { onBatch: (batch) => got.push(...batch.map(({ data }) => data[0] ?? -1)), onDrain: () => {} },
  });
  const sender = await bindUdp({
    address: parseSocketAddress("0.0.0.0:0"),
    runtime,
    handlers: { onBatch: () => {}, onDrain: () => {} },
  });
  const dropped = parseSocketAddress("127.0.0.9:9");
  const batch = Array.from({ length: 60 }, (_, i) => ({
    data: Uint8Array.of(i),
    to: i % 3 === 1 ? dropped : receiver.address,
  }));
  result.dealt = sender.send(batch);
  await waitFor(() => got.length >= 40, 1000);
  result.got = got;
  result.sendErrors = sender.stats().sendErrors;
  sender.close();
  receiver.close();
}

/** 600 datagrams of 1200 bytes over 8 Mb/s, offered as fast as the socket takes them. */
async function slowLink(): Promise<void> {
  let drains = 0;
  const sender = await bindUdp({
    address: parseSocketAddress("10.9.9.1:0"),
    runtime,
    handlers: { onBatch: () => {}, onDrain: () => void drains++ },
  });
  const batch = Array.from({ length: 600 }, () => ({
    data: new Uint8Array(1200),
    to: parseSocketAddress("10.9.9.2:9"),
  }));
  const startedAt = performance.now();
  let short = 0;
  for (let dealt = 0; dealt < batch.length; ) {
    const before = drains;
    dealt += sender.send(batch, dealt);
    if (dealt === batch.length) break;
    short++;
    if (!(await waitFor(() => drains > before, 2000))) throw new Error("no drain");
  }
  await waitFor(() => sender.stats().sent === 600, 2000);
  Object.assign(result, { short, drains, sent: sender.stats().sent, tookMs: performance.now() - startedAt });
  sender.close();
}

/** Three datagrams of 4,000 bytes over a loopback whose MTU is 1,500; the one in the middle must not be fragmented. */
async function fragments(): Promise<void> {
  const got: number[] = [];
  const receiver = await bindUdp({
    address: parseSocketAddress("127.0.0.1:0"),
    runtime,
    handlers: { onBatch: (batch) => got.push(...batch.map(({ data }) => data[0] ?? -1)), onDrain: () => {} },
  });
  const sender = await bindUdp({
    address: parseSocketAddress("127.0.0.1:0"),
    runtime,
    handlers: { onBatch: () => {}, onDrain: () => {} },
  });
  const batch = [0, 1, 2].map((i) => ({
    data: new Uint8Array(4_000).fill(i),
    to: receiver.address,
    dontFragment: i === 1,
  }));
  const dealt = sender.send(batch);
  await waitFor(() => got.length >= 3, 500);
  result.whole = { dealt, got, sendErrors: sender.stats().sendErrors, can: await canSendUnfragmented() };
  sender.close();
  receiver.close();
}

async function waitFor(condition: () => boolean, timeoutMs: number): Promise<boolean> {
  for (const limit = performance.now() + timeoutMs; !condition(); ) {
    if (performance.now() > limit) return false;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return true;
}

await firewall();
await slowLink();
await fragments();
console.log(JSON.stringify(result));
