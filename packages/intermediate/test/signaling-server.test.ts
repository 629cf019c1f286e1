import { SocketAddress, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { Identity } from "@adit/quic";
import { PEER_CONNECTED_ANEW } from "@adit/signaling";
import { CREDENTIAL_LIFETIME_S } from "../src/credentials.ts";
import { RETRY_FROM_HANDSHAKES, RETRY_FROM_HANDSHAKES_PER_IP } from "../src/handshake-gate.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import { SERVER, SignalingKit, TURN_ADDRESS } from "./signaling-kit.ts";

test("a client is welcomed with its observed address, the server's PeerId and TURN credentials of its own", async (t) => {
  const kit = new SignalingKit();
  const agent = kit.join("agent", { ip: "8.8.4.4", port: 5555 });
  await kit.until("up", () => agent.client.isUp);
  const up = t.must(agent.event("up"));
  t.equal(up.observed.key, "8.8.4.4:5555");
  t.equal(up.intermediateId, kit.identity.peerId);
  const turn = t.must(up.turn);
  t.equal(turn.address.key, TURN_ADDRESS.key);
  t.equal(turn.realm, "adit");
  t.equal(turn.expiresInS, CREDENTIAL_LIFETIME_S);
  const [match] = kit.credentials.lookup(turn.username);
  t.same(match?.owner, { kind: "peer", key: `peer:${agent.identity.peerId}`, peerId: agent.identity.peerId });
});

test("registration, Connect and the whole introduction go over the wire", async (t) => {
  const kit = new SignalingKit();
  const connector = kit.join("connector", { name: "office", ip: "9.9.9.9" });
  const agent = kit.join("agent");
  await kit.until("both up", () => connector.event("registered") !== undefined && agent.client.isUp);
  t.equal(
    kit.server.rendezvous.registrations()[0]?.peerId,
    connector.identity.peerId,
    "the certificate's key, not a claim",
  );
  agent.say(kit.now, { type: "connect", sessionId: 7n, target: "office", expectedPeer: null });
  const ice = { ufrag: "abcd", pwd: "p".repeat(22), options: [] };
  agent.say(kit.now, { type: "candidate-offer", sessionId: 7n, serviceId: "web", ice, candidates: [], ticket: null });
  await kit.until("the offer", () => connector.got("candidate-offer").length > 0);
  t.equal(agent.got("connected")[0]?.peerId, connector.identity.peerId);
  t.equal(agent.got("connected")[0]?.peerObserved.key, "0.0.0.0:0", "it has not answered");
  t.equal(connector.got("incoming")[0]?.peerId, agent.identity.peerId);
  t.ok(kit.server.rendezvous.isSessionPeer(connector.identity.peerId, "8.8.8.8"));
  t.ok(kit.sessionChanges > 0);
  connector.say(kit.now, { type: "candidate-answer", sessionId: 7n, ice, candidates: [] });
  await kit.until("punching", () => agent.got("start-punching").length + connector.got("start-punching").length === 2);
  t.equal(agent.got("candidate-answer").length, 1);
  t.equal(agent.got("connected")[1]?.peerObserved.ip, "9.9.9.9");
});

test("a key that --allow does not list is told so, gets no credentials, and stops trying", async (t) => {
  const friend = Identity.generate();
  const kit = new SignalingKit({ allow: new Set([friend.peerId]) });
  const stranger = kit.join("agent");
  const admitted = kit.join("agent", { identity: friend });
  await kit.until("both know", () => stranger.event("stopped") !== undefined && admitted.client.isUp);
  t.equal(stranger.event("stopped")?.code, "not-allowed");
  t.equal(stranger.event("up"), undefined);
  await kit.until("it is gone", () => kit.server.clientCount === 1);
});

test("the same key registering anew replaces the older connection, which stops for good", async (t) => {
  const kit = new SignalingKit();
  const identity = Identity.generate();
  const older = kit.join("connector", { name: "office", identity, ip: "9.9.9.9" });
  await kit.until("registered", () => older.event("registered") !== undefined);
  const newer = kit.join("connector", { name: "office", identity, ip: "9.9.9.10" });
  await kit.until("replaced", () => older.event("stopped") !== undefined && newer.event("registered") !== undefined);
  t.equal(older.event("stopped")?.code, "replaced");
  t.equal(kit.server.rendezvous.registrations()[0]?.address.ip, "9.9.9.10");
  await kit.until("one is left", () => kit.server.clientCount === 1);
  t.equal(kit.server.rendezvous.registrations().length, 1);
});

test("a clean stop ends the client's sessions and its registration", async (t) => {
  const kit = new SignalingKit();
  const connector = kit.join("connector", { name: "office" });
  const agent = kit.join("agent");
  await kit.until("both up", () => connector.event("registered") !== undefined && agent.client.isUp);
  agent.say(kit.now, { type: "connect", sessionId: 7n, target: "office", expectedPeer: null });
  await kit.until("connected", () => agent.got("connected").length > 0);
  connector.client.stop(kit.now, "the connector is ending");
  await kit.until("told", () => agent.got("session-end").length > 0);
  t.equal(agent.got("session-end")[0]?.sessionId, 7n);
  t.equal(kit.server.rendezvous.registrations().length, 0);
  t.equal(kit.server.rendezvous.sessionCounts().active, 0);
  await kit.until(
    "QUIC has let go of it",
    () => kit.server.clientCount === 1 && kit.server.entrance.quic.connectionCount === 1,
  );
});

test("a client that gives its connection up and makes another keeps its sessions: it did not say Goodbye", async (t) => {
  const kit = new SignalingKit();
  const connector = kit.join("connector", { name: "office" });
  const agent = kit.join("agent");
  await kit.until("both up", () => connector.event("registered") !== undefined && agent.client.isUp);
  agent.say(kit.now, { type: "connect", sessionId: 7n, target: "office", expectedPeer: null });
  await kit.until("connected", () => agent.got("connected").length > 0);
  agent.endStream();
  await kit.until("up again", () => agent.events.filter(({ type }) => type === "up").length === 2);
  t.same(
    connector.got("session-end").map(({ reason }) => reason),
    [PEER_CONNECTED_ANEW],
  );
  t.equal(kit.server.rendezvous.sessionCounts().active, 1);
});

test("shutdown says Goodbye to everybody in one turn", async (t) => {
  const kit = new SignalingKit();
  const peers = [kit.join("agent"), kit.join("connector", { name: "office" }), kit.join("agent")];
  await kit.until("up", () => peers.every((peer) => peer.client.isUp));
  kit.server.shutdown(kit.now);
  for (let transmit = kit.server.pollTransmit(); transmit; transmit = kit.server.pollTransmit()) {
    const { to, data } = transmit;
    peers.find((peer) => peer.address.equals(to))?.receive(kit.now, data.slice());
  }
  for (const peer of peers) {
    peer.turn(kit.now);
    t.match(peer.event("down")?.reason ?? "nothing", /shutdown/);
  }
});

test("TURN credentials are renewed at half of their life, unasked", async (t) => {
  const kit = new SignalingKit();
  const agent = kit.join("agent");
  await kit.until("up", () => agent.client.isUp);
  t.equal(agent.event("turn"), undefined);
  const at = kit.now + (CREDENTIAL_LIFETIME_S * 1000) / 2 + 1_000;
  kit.server.handleTimeout(at);
  kit.server.drain(at);
  for (let transmit = kit.server.pollTransmit(); transmit; transmit = kit.server.pollTransmit()) {
    agent.receive(kit.now, transmit.data.slice());
  }
  agent.turn(kit.now);
  t.ok(t.must(agent.event("turn")).turn?.username.endsWith(`:${agent.identity.peerId}`));
});

test("a client whose NAT gives it a new address is told, and its sessions follow", async (t) => {
  const kit = new SignalingKit();
  const connector = kit.join("connector", { name: "office" });
  const agent = kit.join("agent");
  await kit.until("both up", () => connector.event("registered") !== undefined && agent.client.isUp);
  agent.say(kit.now, { type: "connect", sessionId: 7n, target: "office", expectedPeer: null });
  await kit.until("connected", () => agent.got("connected").length > 0);
  // The client does not notice: it goes on sending from its own address, the NAT in front changes.
  agent.address = SocketAddress.of("7.7.7.7", 4321);
  agent.say(kit.now, { type: "ping", id: 1n });
  await kit.until("told", () => agent.event("observed") !== undefined);
  t.equal(agent.event("observed")?.observed.key, "7.7.7.7:4321");
  t.ok(kit.server.rendezvous.isSessionPeer(connector.identity.peerId, "7.7.7.7"));
  t.notOk(kit.server.rendezvous.isSessionPeer(connector.identity.peerId, "8.8.8.8"));
});

test("clients that vanish in the handshake are forgotten; past a bound an address has to be proved first, which costs no memory", async (t) => {
  const kit = new SignalingKit();
  let sent = 0;
  for (let i = 0; i < 300; i++) {
    // One hello each, then silence.
    const peer = kit.join("agent", { ip: "6.6.6.6", port: 2000 + i });
    for (const data of peer.turn(kit.now)) {
      sent += data.length;
      kit.server.entrance.handleDatagram(kit.now, peer.address, data);
    }
    peer.alive = false;
  }
  t.equal(kit.server.clientCount, RETRY_FROM_HANDSHAKES_PER_IP);
  t.equal(kit.server.entrance.quic.connectionCount, RETRY_FROM_HANDSHAKES_PER_IP);
  t.equal(kit.server.entrance.retriesSent, 300 - RETRY_FROM_HANDSHAKES_PER_IP);
  let answered = 0;
  kit.server.drain(kit.now);
  for (let out = kit.server.pollTransmit(); out; out = kit.server.pollTransmit()) answered += out.data.length;
  t.ok(answered < 3 * sent, `${answered} bytes for ${sent} (RFC 9000 §8.1)`);
  kit.skewMs += 10_001;
  kit.pump();
  t.equal(kit.server.entrance.handshakeCount, 0);
  kit.peers.length = 0;
  const agent = kit.join("agent", { ip: "6.6.6.6" });
  await kit.until("the address gets in again", () => agent.client.isUp);
  t.equal(kit.server.rendezvous.connectionCount, 1);
});

test("under load a client that answers the Retry gets in, beside silent handshakes from everywhere", async (t) => {
  const kit = new SignalingKit();
  for (let i = 0; i < 600; i++) {
    const peer = kit.join("agent", { ip: `6.6.${i >> 8}.${i & 255}` });
    for (const data of peer.turn(kit.now)) kit.server.entrance.handleDatagram(kit.now, peer.address, data);
    peer.alive = false;
  }
  t.equal(kit.server.entrance.handshakeCount, RETRY_FROM_HANDSHAKES, "spoofed packets make no more state than that");
  kit.peers.length = 0;
  const agent = kit.join("agent", { ip: "8.8.4.4" });
  await kit.until("up", () => agent.client.isUp);
  t.equal(kit.server.rendezvous.connectionCount, 1);
});

test("handshakes of one address are bounded, and only proved ones are charged", async (t) => {
  const kit = new SignalingKit();
  kit.limits = { ...DEFAULT_LIMITS, handshakesPerIpPerSecond: 1 };
  // Spoofed first packets, for longer than the burst would last.
  for (let i = 0; i < 30; i++) {
    const forged = kit.join("agent", { ip: "8.8.4.4", port: 5000 + i });
    for (const data of forged.turn(kit.now)) kit.server.entrance.handleDatagram(kit.now, forged.address, data);
    forged.alive = false;
  }
  const inTime = Array.from({ length: 10 }, (_, i) => kit.join("agent", { ip: "8.8.4.4", port: 1 + i }));
  await kit.until("ten are up, after a Retry", () => inTime.every((agent) => agent.client.isUp));
  const late = kit.join("agent", { ip: "8.8.4.4", port: 99 });
  const elsewhere = kit.join("agent", { ip: "8.8.4.5" });
  await kit.until("refused", () => kit.server.drops.get("ip-handshakes") > 0 && elsewhere.client.isUp);
  t.notOk(late.client.isUp);
});

/** Clients that answer every Retry and then fall silent. */
function staller(kit: SignalingKit): (port: number, ip?: string) => void {
  const deliver = (from: SocketAddress, packets: Uint8Array[]): void => {
    for (const data of packets) kit.server.entrance.handleDatagram(kit.now, from, data);
    kit.server.drain(kit.now);
  };
  return (port, ip = "6.6.6.6") => {
    const peer = kit.join("agent", { ip, port });
    deliver(peer.address, peer.turn(kit.now));
    const answer = kit.server.pollTransmit();
    // A Retry (RFC 9000 §17.2.5: type 3), which it answers.
    if (answer && ((answer.data[0] ?? 0) & 0xf0) === 0xf0) {
      peer.receive(kit.now, answer.data.slice());
      deliver(peer.address, peer.turn(kit.now));
    }
    while (kit.server.pollTransmit());
    kit.peers.pop();
  };
}

test("who answers every Retry and then falls silent holds a quarter of the handshakes, and pays for each", async (t) => {
  const kit = new SignalingKit();
  const stall = staller(kit);
  for (let i = 0; i < 600; i++) stall(2_000 + i);
  t.equal(kit.server.entrance.handshakeCount, 128);
  t.ok(kit.server.drops.get("ip-handshakes") >= 400);
  const agent = kit.join("agent", { ip: "8.8.4.4" });
  await kit.until("everybody else gets in", () => agent.client.isUp);

  kit.limits = { ...DEFAULT_LIMITS, handshakesPerIpPerSecond: 1 };
  kit.skewMs += 10_001;
  kit.pump();
  t.equal(kit.server.entrance.handshakeCount, 0);
  const before = kit.server.drops.get("ip-handshakes");
  for (let i = 0; i < 60; i++) stall(4_000 + i);
  t.ok(kit.server.drops.get("ip-handshakes") > before, "handshakes that were proved and never ended were charged");
});

test("handshakes that nobody goes on with hold a place no longer than others need it: from many addresses they keep nobody out", async (t) => {
  const kit = new SignalingKit();
  const stall = staller(kit);
  for (let i = 0; i < 600; i++) stall(2_000 + i, `6.6.${i % 6}.6`);
  t.equal(kit.server.entrance.handshakeCount, 512);
  t.equal(kit.server.drops.get("handshakes"), 600 - 512, "the oldest made room");
  const agent = kit.join("agent", { ip: "8.8.4.4" });
  await kit.until("who is in earnest gets in", () => agent.client.isUp);
  t.ok(kit.server.entrance.handshakeCount <= 512);
  kit.skewMs += 10_001;
  kit.pump();
  t.equal(kit.server.entrance.handshakeCount, 0, "each was counted out once");
  t.ok(agent.client.isUp);
});

test("a client that writes another's address into its packets neither moves there nor has that one flooded", async (t) => {
  const kit = new SignalingKit();
  const connector = kit.join("connector", { name: "office" });
  const agent = kit.join("agent");
  await kit.until("both up", () => connector.event("registered") !== undefined && agent.client.isUp);
  agent.say(kit.now, { type: "connect", sessionId: 7n, target: "office", expectedPeer: null });
  await kit.until("connected", () => agent.got("connected").length > 0);
  const victim = SocketAddress.of("7.7.7.7", 4321);
  let forged = 0;
  let received = 0;
  for (let i = 0; i < 200; i++) {
    agent.say(kit.now, { type: "ping", id: BigInt(i) });
    for (const data of agent.turn(kit.now)) {
      forged += data.length;
      kit.server.entrance.handleDatagram(kit.now, victim, data);
    }
    kit.server.drain(kit.now);
    for (let out = kit.server.pollTransmit(); out; out = kit.server.pollTransmit()) {
      if (out.to.equals(victim)) received += out.data.length;
      else agent.receive(kit.now, out.data.slice());
    }
    kit.skewMs += 20;
    const due = kit.server.pollTimeout();
    if (due && due.at <= kit.now) kit.server.handleTimeout(kit.now);
  }
  t.ok(forged > 0 && received <= 3 * forged, `${received} bytes for ${forged} (RFC 9000 §8.1)`);
  t.equal(agent.event("observed"), undefined);
  t.notOk(kit.server.rendezvous.isSessionPeer(connector.identity.peerId, victim.ip), "the relay does not lead there");
});

test("a restart of the server is told to a client by the first packet it sends, not by its timeouts", async (t) => {
  const kit = new SignalingKit();
  const connector = kit.join("connector", { name: "office" });
  await kit.until("registered", () => connector.event("registered") !== undefined);
  kit.restartServer();
  connector.events.length = 0;
  const before = kit.now;
  connector.say(kit.now, { type: "ping", id: 1n });
  await kit.until("down", () => connector.event("down") !== undefined);
  t.equal(kit.server.entrance.resetsSent, 1);
  await kit.until("registered anew", () => connector.event("registered") !== undefined);
  t.ok(kit.now - before < 3_000, `after ${Math.round(kit.now - before)} ms, most of it the client's own backoff`);
});

test("messages are charged to the key over all its connections", async (t) => {
  const kit = new SignalingKit();
  kit.limits = { ...DEFAULT_LIMITS, messagesPerSecond: 1 };
  const identity = Identity.generate();
  const [first, second] = [kit.join("agent", { identity }), kit.join("agent", { identity, ip: "7.7.7.7" })];
  await kit.until("up", () => first.client.isUp && second.client.isUp);
  const ask = (peer: typeof first, id: bigint) =>
    peer.say(kit.now, { type: "connect", sessionId: id, target: "nobody", expectedPeer: null });
  for (let i = 0n; i < 4n; i++) ask(first, i);
  await kit.until("answered", () => first.got("error").length === 4);
  ask(second, 9n);
  await kit.until("refused", () => second.event("down") !== undefined);
  t.match(
    second.event("down")?.reason ?? "",
    /too-many: your key sends too many messages/,
    "and the client was told why",
  );
  t.equal(kit.accounts.counters.get("quota-messages"), 1);
});

test("a drain tells everybody to go and lets nobody in, and the sessions stay known to the relay", async (t) => {
  const kit = new SignalingKit();
  const connector = kit.join("connector", { name: "office", ip: "9.9.9.9" });
  const agent = kit.join("agent");
  await kit.until("both up", () => connector.event("registered") !== undefined && agent.client.isUp);
  agent.say(kit.now, { type: "connect", sessionId: 7n, target: "office", expectedPeer: null });
  await kit.until("announced", () => connector.got("incoming").length > 0);
  const ice = { ufrag: "abcd", pwd: "p".repeat(22), options: [] };
  connector.say(kit.now, { type: "candidate-answer", sessionId: 7n, ice, candidates: [] });
  await kit.until("answered", () => agent.got("candidate-answer").length > 0);
  kit.server.beginDrain(kit.now);
  await kit.until("told", () => agent.event("down") !== undefined && connector.event("down") !== undefined);
  t.match(agent.event("down")?.reason ?? "", /shutdown/);
  t.same(agent.got("session-end"), [], "the session goes on");
  t.ok(kit.server.rendezvous.isSessionPeer(agent.identity.peerId, "9.9.9.9"));
  await kit.until("they come back in vain", () => kit.server.drops.get("draining") > 0);
});

test("what is said before a refusal reaches the client ahead of the close: another version", async (t) => {
  const kit = new SignalingKit();
  const agent = kit.join("agent", { firstBytes: frame(Uint8Array.of(0, 0, 0, 0, 99, 0, 1, 2, 3)) });
  await kit.until("told", () => agent.event("stopped") !== undefined);
  t.equal(agent.event("stopped")?.code, "unsupported-version");
  t.match(agent.event("stopped")?.message ?? "", /version 1 is spoken here, not 99/);
});

test("10,000 damaged datagrams neither throw nor open anything, and the client that is up stays up", async (t) => {
  const seed = 77;
  const random = seededRandom(seed);
  const kit = new SignalingKit();
  const agent = kit.join("agent");
  const captured: Uint8Array[] = [];
  await kit.until("up", () => {
    for (const data of agent.turn(kit.now)) {
      captured.push(data.slice());
      kit.server.entrance.handleDatagram(kit.now, agent.address, data);
    }
    return agent.client.isUp;
  });
  for (let i = 0; i < 10_000; i++) {
    const template = captured[i % captured.length] ?? new Uint8Array(50);
    const data = template.slice(0, random.float() < 0.5 ? template.length : random.float() * template.length);
    // Never the destination ID and version of a first Initial left whole: a damaged copy of one may open a handshake, as any may.
    for (let k = 0; k < 6; k++) data[Math.floor(random.float() * Math.min(20, data.length))] = random.float() * 256;
    try {
      kit.server.entrance.handleDatagram(kit.now, SocketAddress.of("8.8.8.8", 1 + (i % 60_000)), data);
      if (i % 100 === 0) kit.pump();
    } catch (error) {
      t.fail(`seed ${seed}, datagram ${i}: ${error}`);
    }
  }
  agent.say(kit.now, { type: "connect", sessionId: 1n, target: "nobody", expectedPeer: null });
  await kit.until("an answer", () => agent.got("error").length > 0);
  t.equal(agent.got("error")[0]?.code, "not-found");
  t.equal(kit.server.rendezvous.connectionCount, 1);
  t.equal(SERVER.port, 4433);
});

function frame(payload: Uint8Array): Uint8Array {
  const out = new Uint8Array(4 + payload.length);
  new DataView(out.buffer).setUint32(0, payload.length);
  out.set(payload, 4);
  return out;
}
