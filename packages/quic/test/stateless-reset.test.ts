import { seededRandom, toHex } from "@adit/core";
import { test } from "@adit/harness";
import { QuicEndpoint } from "../src/index.ts";
import { statelessReset, statelessResetToken } from "../src/stateless-reset.ts";
import { clientSlot, config, now, Pair, serverSlot } from "./pair.ts";

const KEY = new Uint8Array(32).fill(7);

test("a server that was started anew ends the connections of its former life with the first packet of each", async (t) => {
  const pair = new Pair({ resetKey: KEY });
  pair.exchange();
  const other = new Pair({ resetKey: KEY, seed: 9 });
  other.exchange();
  const reborn = new QuicEndpoint({ random: seededRandom(77), server: config("server"), resetKey: KEY });
  pair.client.sendAckEliciting();
  const out = new Uint8Array(1500);
  const sent = t.must(pair.client.send(out));
  const packet = out.slice(0, sent.length);
  t.equal(reborn.route(packet).kind, "drop");
  const reset = t.must(reborn.resetFor(packet));
  t.ok(reset.length < packet.length, "never longer than what it answers");
  const damaged = reset.slice();
  damaged[damaged.length - 1] = (damaged[damaged.length - 1] ?? 0) ^ 1;
  pair.client.recv(now(), damaged, clientSlot(0), serverSlot(0));
  while (pair.client.pollEvent());
  t.equal(pair.client.state, "established", "a wrong token ends nothing");
  other.client.recv(now(), reset.slice(), clientSlot(0), serverSlot(0));
  while (other.client.pollEvent());
  t.equal(other.client.state, "established", "nor does one connection's token end another");
  pair.client.recv(now(), reset, clientSlot(0), serverSlot(0));
  const events = [];
  for (let event = pair.client.pollEvent(); event; event = pair.client.pollEvent()) events.push(event);
  t.equal(events.at(-1)?.type, "closed");
  t.equal(pair.client.state, "closed");
  t.equal(pair.clientEndpoint.connectionCount, 0);
});

test("nothing is reset without a key, in answer to short packets, or of a connection that stands", async (t) => {
  const keyless = new QuicEndpoint({ random: seededRandom(1), server: config("server") });
  const endpoint = new QuicEndpoint({ random: seededRandom(1), server: config("server"), resetKey: KEY });
  const short = (length: number) => new Uint8Array(length).fill(0x41);
  t.equal(keyless.resetFor(short(100)), null);
  t.equal(endpoint.resetFor(short(21)), null, "it would be no shorter");
  t.equal(endpoint.resetFor(short(22))?.length, 21);
  t.equal(endpoint.resetFor(short(1400))?.length, 43);
  t.equal(endpoint.resetFor(new Uint8Array(1200).fill(0xc0)), null, "a long header");
  const pair = new Pair({ resetKey: KEY });
  pair.exchange();
  pair.client.sendAckEliciting();
  const out = new Uint8Array(1500);
  const sent = t.must(pair.client.send(out));
  t.equal(pair.serverEndpoint.resetFor(out.slice(0, sent.length)), null);
});

test("two servers that know nothing of each other's packets fall silent", async (t) => {
  const ends = [1, 2].map(
    (seed) => new QuicEndpoint({ random: seededRandom(seed), server: config("server"), resetKey: KEY }),
  );
  let packet: Uint8Array | null = new Uint8Array(1400).fill(0x41);
  let exchanged = 0;
  for (; packet && exchanged < 100; exchanged++) packet = t.must(ends[exchanged % 2]).resetFor(packet);
  t.ok(exchanged < 30);
});

test("tokens differ by connection ID and by key, and resets look like any short packet", async (t) => {
  const random = seededRandom(3);
  const id = random.bytes(20);
  const token = statelessResetToken(KEY, id);
  t.equal(token.length, 16);
  t.notOk(toHex(token) === toHex(statelessResetToken(KEY, random.bytes(20))));
  t.notOk(toHex(token) === toHex(statelessResetToken(new Uint8Array(32), id)));
  for (let i = 0; i < 50; i++) t.equal((statelessReset(random, token, 100)?.[0] ?? 0) & 0xc0, 0x40);
});
