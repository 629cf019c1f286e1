import { seededRandom, utf8 } from "@adit/core";
import { test } from "@adit/harness";
import { QuicEndpoint } from "../src/index.ts";
import { alice, bob, clientSlot, closed, config, mallory, now, Pair, serverSlot, types } from "./pair.ts";

test("both sides learn who the other is, and the protocol", (t) => {
  const pair = new Pair({ connect: { expectedPeerId: bob.peerId } });
  t.equal(pair.client.state, "handshaking");
  t.equal(pair.client.peerId, null);
  pair.handshake();
  t.same(pair.clientEvents[0], { type: "established", peerId: bob.peerId, alpn: "test/1" });
  t.same(pair.serverEvents[0], { type: "established", peerId: alice.peerId, alpn: "test/1" });
  t.equal(pair.client.peerId, bob.peerId);
  t.equal(pair.peer.peerId, alice.peerId);
});

test("both sides hand out connection IDs to the limit of 8", (t) => {
  const pair = new Pair().handshake();
  t.equal(pair.client.stats().spareConnectionIds, 7);
  t.equal(pair.peer.stats().spareConnectionIds, 7);
  t.equal(pair.clientEndpoint.connectionIdCount, 8);
  t.equal(pair.serverEndpoint.connectionIdCount, 8, "the ID that the client chose is forgotten");
});

test("a client that expected another key closes before anything is read", (t) => {
  const pair = new Pair({ connect: { expectedPeerId: mallory.peerId } });
  pair.exchange();
  t.same(types(pair.clientEvents), ["closed"]);
  const reason = t.must(closed(pair.clientEvents));
  t.same([reason.by, reason.isApp, reason.code], ["local", false, 0x12a]);
  t.match(reason.reason, new RegExp(`${bob.peerId}, not ${mallory.peerId}`));
  const seen = t.must(closed(pair.serverEvents));
  t.same([seen.by, seen.isApp, seen.code], ["peer", false, 0x12a]);
  t.throws(() => pair.client.openStream(), { code: "closed" });
});

test("a server admits whom it is told to, and never says established for others", (t) => {
  for (const check of [{ expectedPeerId: mallory.peerId }, { admit: () => false }]) {
    const endpoints = { client: new QuicEndpoint({ random: seededRandom(1) }), server: server(seededRandom(2)) };
    const client = endpoints.client.connect(now(), {
      config: config("client"),
      local: clientSlot(0),
      remote: serverSlot(0),
    });
    const out = new Uint8Array(1500);
    const first = t.must(client.send(out));
    const route = endpoints.server.route(out.subarray(0, first.length));
    const header = route.kind === "initial" ? route.header : t.fail(route.kind);
    const accepted = t.must(endpoints.server.accept(now(), header, serverSlot(0), clientSlot(0), check));
    accepted.recv(now(), out.slice(0, first.length), serverSlot(0), clientSlot(0));
    const events: string[] = [];
    for (let moved = true; moved; ) {
      moved = false;
      for (let p = accepted.send(out); p; p = accepted.send(out)) {
        client.recv(now(), out.slice(0, p.length), clientSlot(0), serverSlot(0));
        moved = true;
      }
      for (let p = client.send(out); p; p = client.send(out)) {
        accepted.recv(now(), out.slice(0, p.length), serverSlot(0), clientSlot(0));
        moved = true;
      }
      for (let event = accepted.pollEvent(); event; event = accepted.pollEvent()) events.push(event.type);
      while (client.pollEvent()) {}
    }
    t.same(events, ["closed"]);
    t.equal(accepted.closeReason?.by, "local");
    t.equal(client.closeReason?.by, "peer");
  }
});

test("protocols that differ make no connection", (t) => {
  const pair = new Pair({ client: { alpn: "other/1" } });
  pair.exchange();
  t.equal(t.must(closed(pair.clientEvents)).code, 0x178, "no_application_protocol");
  t.notOk([...types(pair.clientEvents), ...types(pair.serverEvents)].includes("established"));
});

test("a close carries its code and reason after what was written before it", (t) => {
  const pair = new Pair().handshake();
  const got: string[] = [];
  pair.onServerStream = (stream) => {
    const buffer = new Uint8Array(100);
    stream.onReadable = () => {
      const result = stream.read(buffer);
      got.push(typeof result === "number" ? new TextDecoder().decode(buffer.subarray(0, result)) : result);
    };
    stream.onClosed = (error) => got.push(`closed: ${error?.message}`);
  };
  pair.client.openStream().write(utf8("last words"));
  pair.client.close(42, "done");
  pair.exchange();
  t.equal(got[0], "last words");
  t.equal(got.at(-1), "closed: the peer closed the connection (application code 42): done");
  t.same(closed(pair.serverEvents), { type: "closed", by: "peer", isApp: true, code: 42, reason: "done" });
  t.same(closed(pair.clientEvents), { type: "closed", by: "local", isApp: true, code: 42, reason: "done" });
  pair.client.close(43, "again");
  t.equal(pair.client.closeReason?.code, 42, "the first close counts");
});

test("a closed connection is forgotten with all its connection IDs", async (t) => {
  const pair = new Pair().handshake();
  pair.client.openStream().write(utf8("x"));
  pair.client.close(0, "");
  await pair.until(() => pair.client.state === "closed" && pair.peer.state === "closed", "both sides drained");
  t.equal(pair.clientEndpoint.connectionIdCount + pair.serverEndpoint.connectionIdCount, 0);
  t.equal(pair.clientEndpoint.connectionCount + pair.serverEndpoint.connectionCount, 0);
  t.equal(pair.client.streamCount + pair.peer.streamCount, 0);
  t.equal(pair.client.send(new Uint8Array(1500)), null);
  t.equal(pair.client.pollTimeout(now()), null);
});

test("a handshake that gets no answer ends at its timeout, by the driver's clock", (t) => {
  const endpoint = new QuicEndpoint({ random: seededRandom(1) });
  const client = endpoint.connect(1000, {
    config: config("client", { handshakeTimeoutMs: 5000 }),
    local: clientSlot(0),
    remote: serverSlot(0),
  });
  const out = new Uint8Array(1500);
  while (client.send(out)) {}
  client.handleTimeout(5999);
  t.equal(client.pollEvent(), null);
  client.handleTimeout(6000);
  t.equal(client.pollEvent()?.type, "closed");
  t.same([client.closeReason?.by, client.state], ["timeout", "closed"]);
  t.equal(endpoint.connectionIdCount, 0);
});

test("a half-open connection at a server does not stay", (t) => {
  const pair = new Pair({ server: { handshakeTimeoutMs: 3000 } });
  pair.network = ({ up, slot, data }) => (up ? [{ up, slot, data }] : []);
  pair.exchange();
  t.equal(pair.peer.state, "handshaking");
  pair.peer.handleTimeout(now() + 3000);
  while (pair.peer.pollEvent()) {}
  t.equal(pair.peer.closeReason?.by, "timeout");
});

test("silence ends a connection at the idle timeout of the side that has the shorter one", async (t) => {
  const pair = new Pair({ client: { maxIdleTimeoutMs: 150 } }).handshake();
  await pair.until(() => pair.client.state === "closed", "idle timeout");
  t.equal(t.must(closed(pair.clientEvents)).by, "timeout");
  await pair.until(() => pair.peer.state === "closed", "idle timeout at the server");
});

test("a server at its bound refuses, and counts it", (t) => {
  const pair = new Pair({ maxConnections: 1 }).handshake();
  const other = pair.clientEndpoint.connect(now(), {
    config: config("client"),
    local: clientSlot(1),
    remote: serverSlot(1),
  });
  const out = new Uint8Array(1500);
  const sent = t.must(other.send(out));
  pair.deliver({ up: true, slot: 1, data: out.slice(0, sent.length) });
  t.equal(pair.serverEndpoint.connectionCount, 1);
  t.equal(pair.serverEndpoint.drops.get("connection-limit"), 1);
});

test("sizes and roles that cannot work are refused", (t) => {
  t.throws(() => config("client", { maxDatagramSizeBytes: 1100 }), { code: "invalid-argument" });
  const endpoint = new QuicEndpoint({ random: seededRandom(1) });
  const addresses = { local: clientSlot(0), remote: serverSlot(0) };
  t.throws(() => endpoint.connect(0, { config: config("server"), ...addresses }), { code: "invalid-argument" });
  const name = { host: "example.org", port: 1 };
  t.throws(() => endpoint.connect(0, { config: config("client"), local: clientSlot(0), remote: name }));
  t.equal(endpoint.connectionIdCount, 0);
  const client = endpoint.connect(0, { config: config("client"), ...addresses });
  t.throws(() => client.openStream(), { code: "not-established" });
  t.throws(() => client.migrate(clientSlot(1), serverSlot(1)), { code: "not-established" });
});

const server = (random: ReturnType<typeof seededRandom>) => new QuicEndpoint({ random, server: config("server") });
