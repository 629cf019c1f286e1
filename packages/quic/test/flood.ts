/**
 * What a flood of first packets costs a server: answered with a Retry, which keeps nothing, and taken.
 *
 *   bun packages/quic/test/flood.ts [PACKETS]
 */
import { seededRandom } from "@adit/core";
import { QuicEndpoint } from "../src/index.ts";
import { memory } from "./churn.ts";
import { clientSlot, config, now, serverSlot } from "./pair.ts";

const packets = Number(process.argv[2] ?? 10_000);
/** Connections at one time where they are taken; the intermediate has 512 handshakes at one time at most. */
const AT_ONCE = 500;
const out = new Uint8Array(2048);

/** Clients that say hello and never answer. */
function* hellos(count: number): Generator<Uint8Array> {
  const clients = new QuicEndpoint({ random: seededRandom(1) });
  const shared = config("client");
  for (let i = 0; i < count; i++) {
    const client = clients.connect(now(), { config: shared, local: clientSlot(i), remote: serverSlot(0) });
    const sent = client.send(out);
    clients.forget(client);
    yield out.slice(0, sent?.length);
  }
}

function measure(name: string, count: number, answer: (server: QuicEndpoint, initial: Uint8Array) => number): void {
  const server = new QuicEndpoint({ random: seededRandom(2), server: config("server") });
  const flood = [...hellos(Math.min(count, 2_000))];
  const before = memory();
  let bytes = 0;
  const start = process.cpuUsage();
  for (let i = 0; i < count; i++) bytes += answer(server, (flood[i % flood.length] as Uint8Array).slice());
  const { user, system } = process.cpuUsage(start);
  const residentKb = memory().residentKb - before.residentKb;
  const perPacketUs = Math.round(((user + system) / count) * 10) / 10;
  const answeredBytes = Math.round(bytes / count);
  console.log(
    JSON.stringify({ name, packets: count, perPacketUs, answeredBytes, kept: server.connectionCount, residentKb }),
  );
}

measure("retry", packets, (server, initial) => {
  const route = server.route(initial);
  return route.kind === "initial" ? server.retry(now(), route.header, clientSlot(0)).length : 0;
});

measure("accepted", AT_ONCE, (server, initial) => {
  const route = server.route(initial);
  if (route.kind !== "initial") return 0;
  const connection = server.accept(now(), route.header, serverSlot(0), clientSlot(0));
  connection?.recv(now(), initial, serverSlot(0), clientSlot(0));
  let bytes = 0;
  for (let sent = connection?.send(out); sent; sent = connection?.send(out)) bytes += sent.length;
  return bytes;
});
