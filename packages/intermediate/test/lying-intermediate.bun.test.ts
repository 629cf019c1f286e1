/** An intermediate that was taken over may delay and refuse; it must not read, nor stand in for a peer whose key is known. */
import { SocketAddress, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import type { Identity } from "@adit/quic";
import type { CandidateOffer, IntermediateMessage, SignaledCandidate, WireErrorCode } from "@adit/signaling";
import { bindUdp, type Incoming, issueTicket, readTicket } from "@adit/transport";
import { CHECKS_AT_ONCE, CHECKS_PER_SECOND } from "@adit/transport/internal";
import { exchange, SECRET, Stage, victim } from "./lying-kit.ts";

test("another connector behind a pinned name is refused at once when it is named, and by its certificate when it is not", async (t) => {
  const stage = await Stage.start(t);
  await stage.connector(stage.officeKey, "office", "127.0.0.2", () => true);
  await stage.connector(stage.evilKey, "evil", "127.0.0.4", () => true);
  const agent = await stage.agent(stage.agentKey, "127.0.0.3");
  const pinned = {
    target: "office",
    expectedPeer: stage.officeKey.peerId,
    service: "web",
    waitMs: 0,
    timeoutMs: 2_000,
  };
  const [office, evil] = [stage.connectionOf(stage.officeKey), stage.connectionOf(stage.evilKey)];

  stage.attack = {
    says: (message, to) => ({
      message: message.type === "connected" ? { ...message, peerId: stage.evilKey.peerId } : message,
      to,
    }),
  };
  await t.rejects(agent.connect(pinned), { code: "peer-changed" });

  // The right key's name, and the wrong connector plays its part in everything that follows.
  let diverted = 0;
  stage.attack = {
    says: (message, to) => {
      if (to === office) diverted++;
      return { message, to: to === office ? evil : to };
    },
    hears: (from) => (from === evil ? office : from),
  };
  const outcome = await agent.connect(pinned).then(
    () => "connected",
    (error: { code?: string }) => error.code ?? String(error),
  );
  t.ok(outcome !== "connected", outcome);
  t.ok(diverted >= 2, "Incoming and the offer went to the other connector");
  t.same(stage.served, [], "no stream was opened to it");

  stage.attack = {};
  const session = await agent.connect({ ...pinned, timeoutMs: 5_000 });
  t.equal(
    await exchange(await session.openService("web"), SECRET),
    SECRET,
    "the right one is reached when the lies end",
  );
  t.same(stage.served, ["office"]);
});

test("a stranger whom the intermediate passes off as an allowed agent gets no stream", async (t) => {
  const stage = await Stage.start(t);
  await stage.connector(stage.officeKey, "office", "127.0.0.2", (peerId) => peerId === stage.agentKey.peerId);
  const stranger = await stage.agent(stage.evilKey, "127.0.0.4");
  const wanted = { target: "office", service: "web", waitMs: 0, timeoutMs: 2_000 };
  await t.rejects(stranger.connect(wanted), { code: "not-allowed" });
  let told = 0;
  stage.attack = {
    says: (message, to) => {
      if (message.type !== "incoming") return { message, to };
      told++;
      return { message: { ...message, peerId: stage.agentKey.peerId }, to };
    },
  };
  const reached = await stranger.connect(wanted).then(
    async (session) => {
      const stream = await session.openService("web");
      return exchange(stream, SECRET);
    },
    (error: { code?: string }) => `refused: ${error.code}`,
  );
  t.equal(told, 1);
  t.ok(reached !== SECRET, reached);
  t.same(stage.served, []);
});

test("candidates that lead to the attacker show it nothing that can be read", async (t) => {
  const stage = await Stage.start(t);
  const captured: Uint8Array[] = [];
  const onBatch = (batch: readonly Incoming[]) => {
    for (const { data } of batch) captured.push(data.slice());
  };
  const listener = await bindUdp({
    address: SocketAddress.of("127.0.0.9", 0),
    handlers: { onBatch, onDrain: () => {} },
  });
  t.teardown(() => listener.close());
  await stage.connector(stage.officeKey, "office", "127.0.0.2", () => true);
  const agent = await stage.agent(stage.agentKey, "127.0.0.3");
  const own: SignaledCandidate = {
    foundation: "evil",
    component: 1,
    transport: "udp",
    priority: 0x7fffffff,
    address: listener.address,
    type: "host",
    related: null,
  };
  stage.attack = {
    says: (message, to) => {
      if ("candidates" in message) return { message: { ...message, candidates: [own, ...message.candidates] }, to };
      return { message: message.type === "start-punching" ? { ...message, peerCandidates: [own] } : message, to };
    },
  };
  const session = await agent.connect({ target: "office", service: "web", waitMs: 0 });
  t.equal(await exchange(await session.openService("web"), SECRET), SECRET);
  const deadline = performance.now() + 5_000;
  while (captured.length === 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
  t.ok(captured.length > 0, "checks went there");
  t.ok(
    captured.every((data) => (data[0] ?? 255) < 4),
    "checks and nothing else: no QUIC packet before an answer to a check",
  );
  t.notOk(captured.some((data) => Buffer.from(data).includes(SECRET)));
});

test("forged messages of every kind do not disturb a session that stands", async (t) => {
  const seed = 31;
  const random = seededRandom(seed);
  const stage = await Stage.start(t);
  await stage.connector(stage.officeKey, "office", "127.0.0.2", () => true);
  const agent = await stage.agent(stage.agentKey, "127.0.0.3");
  let sessionId = 0n;
  stage.attack = {
    says: (message, to) => {
      if (message.type === "connected") sessionId = message.sessionId;
      return { message, to };
    },
  };
  const session = await agent.connect({ target: "office", service: "web", waitMs: 0 });
  const stream = await session.openService("web");
  const [from, to] = [stage.connectionOf(stage.agentKey), stage.connectionOf(stage.officeKey)];
  const ice = () => ({ ufrag: "evilufrag", pwd: "p".repeat(24), options: [] });
  const there = SocketAddress.of("127.0.0.9", 9);
  const forgedError = (sessionId: bigint, code: WireErrorCode): IntermediateMessage => ({
    type: "error",
    code,
    message: "forged",
    sessionId,
    requestId: null,
  });
  const toBoth = (id: bigint): IntermediateMessage[] => [
    { type: "candidate", sessionId: id, ufrag: "evilufrag", candidate: null },
    { type: "restart", sessionId: id, ice: ice(), candidates: [], answer: random.float() < 0.5 },
    { type: "path-report", sessionId: id, path: "direct", alive: false, silentMs: 60_000 },
    { type: "start-punching", sessionId: id, targetTimeMs: 1_000, peerCandidates: [] },
    { type: "observed-address", observed: there },
    { type: "session-end", sessionId: id, reason: "peer-stopped" },
    ...(["session-gone", "not-allowed", "internal"] as const).map((code) => forgedError(id, code)),
  ];
  const toAgent = (id: bigint): IntermediateMessage[] => [
    { type: "connected", sessionId: id, peerId: stage.evilKey.peerId, name: "x", peerObserved: there },
    { type: "candidate-answer", sessionId: id, ice: ice(), candidates: [] },
    ...toBoth(id),
  ];
  const toConnector = (id: bigint): IntermediateMessage[] => [
    { type: "incoming", sessionId: id, peerId: stage.evilKey.peerId, peerObserved: there },
    { type: "candidate-offer", sessionId: id, serviceId: "web", ice: ice(), candidates: [], ticket: null },
    ...toBoth(id),
  ];
  for (let i = 0; i < 200; i++) {
    const id = i % 2 === 0 ? sessionId : BigInt(Math.floor(random.float() * 1e9));
    const messages = random.float() < 0.5 ? toAgent(id) : toConnector(id);
    const message = messages[Math.floor(random.float() * messages.length)];
    if (message) stage.forge(messages[0]?.type === "connected" ? from : to, message);
    if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  t.equal(await exchange(stream, SECRET), SECRET, `seed ${seed}: the stream that was open`);
  t.equal(await exchange(await session.openService("web"), SECRET), SECRET, `seed ${seed}: and a new one`);
  t.equal(session.status().handshakes, 1);
  t.same(new Set(stage.served), new Set(["office"]));
});

test("sessions made up in an allowed agent's name, with a victim's addresses for candidates, send him a bounded number of checks", async (t) => {
  const stage = await Stage.start(t);
  const target = await victim(t);
  await stage.connector(stage.officeKey, "office", "127.0.0.2", (peerId) => peerId === stage.agentKey.peerId);
  const agent = await stage.agent(stage.agentKey, "127.0.0.3");
  const office = stage.connectionOf(stage.officeKey);
  const started = performance.now();
  for (let i = 1n; i <= 40n; i++) {
    const ice = { ufrag: `evil${i}`, pwd: "p".repeat(24), options: [] };
    const observed = SocketAddress.of("127.9.9.9", 9);
    stage.forge(office, { type: "incoming", sessionId: i, peerId: stage.agentKey.peerId, peerObserved: observed });
    const candidates = target.candidates(64);
    stage.forge(office, { type: "candidate-offer", sessionId: i, serviceId: "web", ice, candidates, ticket: null });
    stage.forge(office, {
      type: "start-punching",
      sessionId: i,
      targetTimeMs: 0,
      peerCandidates: target.candidates(64),
    });
  }
  while (target.from("127.0.0.2").length < CHECKS_AT_ONCE) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 500)); // what an unbounded one would go on with
  const bound = CHECKS_AT_ONCE + (CHECKS_PER_SECOND * (performance.now() - started)) / 1000;
  const sent = target.from("127.0.0.2");
  t.ok(sent.length <= bound, `${sent.length} checks, ${bound.toFixed()} at most`);
  t.ok(
    sent.every((data) => (data[0] ?? 255) < 4 && data.length < 150),
    "checks alone, no QUIC packet",
  );
  const session = await agent.connect({ target: "office", service: "web", waitMs: 0 });
  t.equal(await exchange(await session.openService("web"), SECRET), SECRET, "and who is meant gets through meanwhile");
});

test("offers and tickets that were recorded let nobody in again", async (t) => {
  const stage = await Stage.start(t);
  const connector = await stage.connector(stage.officeKey, "office", "127.0.0.2", () => false);
  const agent = await stage.agent(stage.agentKey, "127.0.0.3");
  const stranger = await stage.agent(stage.evilKey, "127.0.0.4");
  const { identity, signalingAddress } = stage.intermediate;
  const ticket = readTicket(
    issueTicket(stage.officeKey, {
      intermediate: { peerId: identity.peerId, host: signalingAddress.ip, port: signalingAddress.port },
      services: [],
      expiresAtS: Math.floor(Date.now() / 1000) + 3600,
    }),
  );
  let recorded: CandidateOffer | null = null;
  const refusals: (bigint | null)[] = [];
  stage.attack = {
    hears: (from, message) => {
      if (message.type === "candidate-offer") recorded ??= message;
      if (message.type === "error") refusals.push(message.sessionId);
      return from;
    },
  };
  const wanted = {
    target: "office",
    expectedPeer: stage.officeKey.peerId,
    service: "web",
    waitMs: 0,
    timeoutMs: 2_000,
  };
  const session = await agent.connect({ ...wanted, ticket });
  t.equal(await exchange(await session.openService("web"), SECRET), SECRET);
  session.close();
  await session.closed;
  const offer = t.must<CandidateOffer | null>(recorded) as CandidateOffer;
  t.ok(offer.ticket !== null);

  const office = stage.connectionOf(stage.officeKey);
  const replay = (sessionId: bigint, { peerId }: Identity, ufrag = offer.ice.ufrag): void => {
    stage.forge(office, { type: "incoming", sessionId, peerId, peerObserved: SocketAddress.of("127.0.0.4", 9) });
    stage.forge(office, { ...offer, sessionId, ice: { ...offer.ice, ufrag } });
  };
  replay(1n, stage.agentKey); // another session
  replay(2n, stage.evilKey); // another agent
  replay(3n, stage.agentKey, "evilufrag"); // another fragment
  while (refusals.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  t.same(refusals, [1n, 2n, 3n]);

  // The offer itself, for the session that it was made for: there is nobody but its agent who could go on from there.
  const says = stage.attack.says;
  stage.attack = {
    ...stage.attack,
    says: (message, to) => {
      if (message.type === "incoming") return { message: { ...message, peerId: stage.agentKey.peerId }, to };
      if (message.type !== "candidate-offer") return says?.(message, to) ?? { message, to };
      return { message: { ...offer, sessionId: message.sessionId }, to };
    },
  };
  await t.rejects(stranger.connect(wanted), /./);
  while (connector.status().sessions.length === 0) {
    replay(offer.sessionId, stage.agentKey); // without effect as long as the session's end is being said
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.equal(connector.status().sessions[0]?.path, "connecting", "it waits for an agent's key in vain, for 15 s");
  t.same(stage.served, ["office"], "nobody but the agent was served");
});

test("ICE parameters that were exchanged for others' lead to nobody else, and hold up no later attempt", async (t) => {
  const stage = await Stage.start(t);
  await stage.connector(stage.officeKey, "office", "127.0.0.2", () => true);
  const agent = await stage.agent(stage.agentKey, "127.0.0.3");
  const wanted = { target: "office", expectedPeer: stage.officeKey.peerId, service: "web", waitMs: 0 };
  const evil = { ufrag: "evilufrag", pwd: "p".repeat(24), options: [] };
  for (const changed of [["candidate-offer"], ["candidate-answer"], ["candidate-offer", "candidate-answer"]]) {
    for (const ice of [{ pwd: evil.pwd }, { ufrag: evil.ufrag }, evil]) {
      stage.attack = {
        says: (message, to) =>
          changed.includes(message.type) && "ice" in message
            ? { message: { ...message, ice: { ...message.ice, ...ice } }, to }
            : { message, to },
      };
      // Where only one side's checks are spoiled, the other one's are enough.
      const outcome = await agent.connect({ ...wanted, timeoutMs: 500 }).then(
        async (session) => exchange(await session.openService("web"), SECRET),
        (error: { code?: string }) => error.code,
      );
      t.ok(outcome === "timeout" || outcome === SECRET, `${outcome}`);
      if (changed.length === 2) t.equal(outcome, "timeout");
    }
  }
  stage.attack = {};
  const session = await agent.connect({ ...wanted, timeoutMs: 5_000 });
  t.equal(await exchange(await session.openService("web"), SECRET), SECRET);
  t.same(new Set(stage.served), new Set(["office"]));
});
