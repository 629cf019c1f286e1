import { fromHex, seededRandom, toHex } from "@adit/core";
import { test } from "@adit/harness";
import { type InitialHeader, type QuicConnection, QuicEndpoint, type VirtualAddress } from "../src/index.ts";
import { RETRY_TOKEN_LIFETIME_MS, RetryTokens, retryPacket } from "../src/retry.ts";
import { clientSlot, config, now, serverSlot } from "./pair.ts";

test("the integrity tag is that of RFC 9001 §A.4", async (t) => {
  const packet = retryPacket({
    originalId: fromHex("8394c8f03e515708"),
    clientId: new Uint8Array(0),
    retryId: fromHex("f067a5502a4262b5"),
    token: fromHex("746f6b656e"),
    unused: 0xf,
  });
  t.equal(toHex(packet), "ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba");
});

test("a token is good for its address, its connection ID and ten seconds, and cannot be made or changed by others", async (t) => {
  const random = seededRandom(4);
  const tokens = new RetryTokens(random);
  const original = random.bytes(8);
  const retryId = random.bytes(20);
  const remote = { host: "192.0.2.1", port: 1000 };
  const token = tokens.seal(100, original, retryId, remote);
  t.same(tokens.open(101, token, retryId, remote), original);
  t.equal(tokens.open(101, token, retryId, { ...remote, port: 1001 }), null);
  t.equal(tokens.open(101, token, retryId, { ...remote, host: "192.0.2.2" }), null);
  t.equal(tokens.open(101, token, random.bytes(20), remote), null);
  t.equal(tokens.open(100 + RETRY_TOKEN_LIFETIME_MS + 1, token, retryId, remote), null);
  t.equal(tokens.open(99, token, retryId, remote), null, "from the future");
  t.equal(new RetryTokens(random).open(101, token, retryId, remote), null, "another server's");
  for (let i = 0; i < token.length; i++) {
    const damaged = token.slice();
    damaged[i] = (damaged[i] ?? 0) ^ 1;
    t.equal(tokens.open(101, damaged, retryId, remote), null);
    t.equal(tokens.open(101, token.subarray(0, i), retryId, remote), null);
  }
});

/** A server that asks every client for a Retry, and a client of it. */
class RetryPair {
  readonly clientEndpoint = new QuicEndpoint({ random: seededRandom(5) });
  readonly serverEndpoint: QuicEndpoint;
  readonly client: QuicConnection;
  server: QuicConnection | null = null;
  readonly clientAddress: VirtualAddress = clientSlot(0);
  retries = 0;
  /** What the server sent per byte received before it accepted. */
  largestRetry = 0;

  constructor(options: { readonly resetKey?: Uint8Array; readonly datagrams?: boolean } = {}) {
    const { resetKey, datagrams = true } = options;
    const server = config("server", { datagrams, ...(datagrams ? {} : { maxPeerStreams: 2 }) });
    this.serverEndpoint = new QuicEndpoint({ random: seededRandom(6), server, ...(resetKey && { resetKey }) });
    this.client = this.clientEndpoint.connect(now(), {
      config: config("client"),
      local: this.clientAddress,
      remote: serverSlot(0),
    });
  }

  /** The client's next datagrams. */
  fromClient(): Uint8Array[] {
    const out = new Uint8Array(1500);
    const packets: Uint8Array[] = [];
    for (let sent = this.client.send(out); sent; sent = this.client.send(out)) packets.push(out.slice(0, sent.length));
    return packets;
  }

  toServer(data: Uint8Array, from = this.clientAddress): InitialHeader | null {
    const route = this.serverEndpoint.route(data);
    if (route.kind === "connection") route.connection.recv(now(), data, serverSlot(0), from);
    if (route.kind !== "initial") return null;
    if (!this.serverEndpoint.hasProvedAddress(now(), route.header, from)) {
      const retry = this.serverEndpoint.retry(now(), route.header, from);
      this.retries++;
      this.largestRetry = Math.max(this.largestRetry, retry.length / data.length);
      this.toClient(retry);
      return route.header;
    }
    this.server = this.serverEndpoint.accept(now(), route.header, serverSlot(0), from);
    this.server?.recv(now(), data, serverSlot(0), from);
    return route.header;
  }

  toClient(data: Uint8Array): void {
    const route = this.clientEndpoint.route(data);
    if (route.kind === "connection") route.connection.recv(now(), data, this.clientAddress, serverSlot(0));
  }

  run(rounds = 20): void {
    const out = new Uint8Array(1500);
    for (let i = 0; i < rounds; i++) {
      while (this.client.pollEvent());
      for (const data of this.fromClient()) this.toServer(data);
      while (this.server?.pollEvent());
      for (let sent = this.server?.send(out); sent; sent = this.server?.send(out)) {
        this.toClient(out.slice(0, sent.length));
      }
    }
  }
}

test("a client that is sent a Retry comes back with the token, and the handshake completes", async (t) => {
  const pair = new RetryPair();
  pair.run();
  t.equal(pair.retries, 1);
  t.equal(pair.client.state, "established");
  t.equal(pair.server?.state, "established");
  t.ok(pair.largestRetry < 0.2, `a Retry has ${pair.largestRetry} of the Initial's size`);
});

test("Retry goes together with stateless resets", async (t) => {
  for (const datagrams of [false, true]) {
    const pair = new RetryPair({ resetKey: new Uint8Array(32).fill(1), datagrams });
    pair.run();
    t.equal(pair.client.state, "established");
    pair.client.sendAckEliciting();
    const packet = t.must(pair.fromClient()[0]);
    const reborn = new RetryPair({ resetKey: new Uint8Array(32).fill(1) }).serverEndpoint;
    pair.client.recv(now(), t.must(reborn.resetFor(packet)), pair.clientAddress, serverSlot(0));
    while (pair.client.pollEvent());
    // With datagrams and many streams announced as well, the transport parameters have no room left for the token.
    t.equal(pair.client.state, datagrams ? "established" : "closed");
  }
});

test("a server keeps nothing of clients that did not prove their address", async (t) => {
  const pair = new RetryPair();
  const [initial] = pair.fromClient();
  for (let i = 0; i < 1_000; i++) pair.toServer(t.must(initial).slice(), { host: "198.51.100.7", port: 1 + i });
  t.equal(pair.retries, 1_000);
  t.equal(pair.serverEndpoint.connectionCount, 0);
  t.equal(pair.serverEndpoint.connectionIdCount, 0);
});

test("a token that was overheard opens nothing from another address, nor twice at once", async (t) => {
  const pair = new RetryPair();
  const [initial] = pair.fromClient();
  pair.toServer(t.must(initial));
  const [second] = pair.fromClient();
  const withToken = t.must(second);
  const header = t.must(pair.toServer(withToken.slice(), { host: "198.51.100.7", port: 99 }));
  t.ok(header.token.length > 0);
  t.equal(pair.serverEndpoint.connectionCount, 0);
  pair.toServer(withToken.slice());
  pair.toServer(withToken.slice());
  t.equal(pair.serverEndpoint.connectionCount, 1, "the second copy belongs to the connection that stands");
});

test("a token whose length goes beyond the datagram is dropped", async (t) => {
  const pair = new RetryPair();
  const [initial] = pair.fromClient();
  const data = t.must(initial).slice();
  const at = 7 + (data[5] ?? 0) + (data[6 + (data[5] ?? 0)] ?? 0);
  t.equal(data[at], 0, "an empty token");
  for (const length of [
    [0x7f, 0xff],
    [0x80, 0xff],
    [0xc0, 0xff],
  ]) {
    data.set(length, at);
    t.same(pair.serverEndpoint.route(data), { kind: "drop", reason: "bad-token" });
  }
});
