import { concat, fromHex, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { now, type Packet, Pair, pattern, pour, Sink } from "./pair.ts";

test("10,000 malformed datagrams do not disturb a transfer", async (t) => {
  const seed = 2026;
  const random = seededRandom(seed);
  const pick = (length: number) => Math.floor(random.float() * length);
  const window = { maxStreamWindowBytes: 32_768 }; // so that the transfer takes its time
  const pair = new Pair({ seed, client: window, server: window });
  const seen: Packet[] = [];
  let real = 0;
  pair.network = (packet) => {
    seen[real++ % 256] = { ...packet, data: packet.data.slice() };
    return [packet];
  };
  pair.handshake();

  /** Random bytes, or a packet seen on the wire: cut, changed, grown, sent back, or repeated. */
  const mangle = (): Packet => {
    const source = seen[pick(seen.length)];
    if (!source || random.float() < 0.2) return { up: random.float() < 0.5, slot: 0, data: random.bytes(pick(1400)) };
    const data = source.data.slice();
    const kind = pick(6);
    if (kind === 0) return { ...source, data: data.slice(0, pick(data.length)) };
    if (kind === 1) data[pick(data.length)] = pick(256);
    if (kind === 2) data[pick(Math.min(30, data.length))] = pick(256);
    if (kind === 3) return { ...source, data: concat(data, random.bytes(1 + pick(50))) };
    if (kind === 4) return { ...source, up: !source.up, data };
    return { ...source, data };
  };

  const [up, down] = [pattern(1_500_000, 8), pattern(1_500_000, 9)];
  const stream = pair.client.openStream();
  let atServer: Sink | null = null;
  pair.onServerStream = (peer) => {
    atServer = new Sink(peer);
    pour(peer, down);
  };
  const atClient = new Sink(stream);
  pour(stream, up);
  for (let i = 0; i < 10_000; i++) {
    pair.deliver(mangle());
    if (i % 250 === 0) pair.turn();
  }
  t.notOk(atClient.ended, "the transfer was going on all the time");
  await pair.until(() => atClient.ended && (atServer?.ended ?? false), `the transfer, seed ${seed}`);
  t.ok(Buffer.from(atClient.bytes).equals(down), `seed ${seed}`);
  t.ok(Buffer.from((atServer as Sink | null)?.bytes ?? []).equals(up), `seed ${seed}`);
  t.same([pair.client.state, pair.peer.state], ["established", "established"], `seed ${seed}`);
  t.ok(pair.serverEndpoint.drops.total() + pair.clientEndpoint.drops.total() > 1000, `seed ${seed}`);

  // Initials that were repeated or changed may have left half-open connections: they end at their timeout.
  for (const connection of [...pair.serverEndpoint.connections()]) {
    if (connection === pair.server) continue;
    t.equal(connection.state, "handshaking", `seed ${seed}`);
    connection.handleTimeout(now() + 10_000);
    while (connection.pollEvent()) {}
    while (connection.send(new Uint8Array(1500))) {}
    t.notEqual(connection.state, "handshaking");
  }
});

test("a handshake goes through among forged packets that carry its connection IDs", (t) => {
  for (let seed = 0; seed < 20; seed++) {
    const random = seededRandom(seed);
    const pair = new Pair({ seed });
    pair.network = (packet) => {
      const data = packet.data;
      const forged: Packet[] = [];
      if (((data[0] as number) & 0x80) !== 0) {
        const idLength = data[5] as number;
        const ids = data.subarray(5, 7 + idLength + (data[6 + idLength] as number));
        const header = (first: string, version: string) => concat(fromHex(first + version), ids);
        const rest = random.bytes(1250);
        for (const first of ["c0", "d0", "e0", "f0"]) {
          forged.push({ ...packet, data: concat(header(first, "00000001"), rest) });
          forged.push({ ...packet, data: concat(header(first, "00000000"), rest.subarray(0, 8)) });
          forged.push({ ...packet, data: concat(header(first, "6b3343cf"), rest) });
        }
      }
      // The server's first packet must be a real one: whoever comes first to a connection that is not there yet, is it.
      return pair.server ? [...forged, packet] : [packet, ...forged];
    };
    pair.exchange();
    t.same([pair.client.state, pair.server?.state], ["established", "established"], `seed ${seed}`);
  }
});

test("datagrams that lead nowhere are counted by reason", (t) => {
  const pair = new Pair().handshake();
  const { serverEndpoint: server, clientEndpoint: client } = pair;
  const short = concat(fromHex("40"), new Uint8Array(40));
  const initial = new Uint8Array(1200);
  initial.set(fromHex("c000000001088394c8f03e51570800"));
  const cases: [typeof server, Uint8Array, string][] = [
    [server, new Uint8Array(0), "too-short"],
    [server, short, "unknown-connection"],
    [server, initial.subarray(0, 1100), "not-initial"],
    [client, initial, "no-server"],
    [server, concat(fromHex("d0"), initial.subarray(1)), "early-data"],
    [server, concat(fromHex("e0"), initial.subarray(1)), "not-initial"],
    [server, concat(fromHex("8000000000"), initial.subarray(5)), "version-negotiation"],
  ];
  for (const [endpoint, data, reason] of cases) {
    t.same(endpoint.route(data), { kind: "drop", reason });
    t.equal(Object.entries(endpoint.drops.toJSON()).find(([name]) => name === reason)?.[0], reason);
  }
  t.equal(server.route(initial).kind, "initial");
});
