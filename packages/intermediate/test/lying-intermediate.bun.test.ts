/**
 * An intermediate that was taken over: the real one, whose rendezvous says and hears what the attacker wants. It may delay and refuse;
 * it must not read, nor stand in for a peer whose key is known.
 */
import { type Millis, nullLogger, SocketAddress, seededRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Identity, type QuicStream } from "@adit/quic";
import type { IntermediateMessage, SignaledCandidate } from "@adit/signaling";
import { bindUdp, type Endpoint, type Incoming, startEndpoint } from "@adit/transport";
import { CHECKS_AT_ONCE, CHECKS_PER_SECOND } from "@adit/transport/internal";
import { Intermediate } from "../src/server.ts";
import type { ConnectionId } from "../src/session-table.ts";

const SECRET = "the secret that only the two peers may know";

interface Attack {
  /** What is sent instead, to whom; null for nothing. */
  says?(message: IntermediateMessage, to: ConnectionId): { message: IntermediateMessage; to: ConnectionId } | null;
  /** Whom a message is taken to come from. */
  hears?(from: ConnectionId): ConnectionId;
}

class Stage {
  readonly agentKey = Identity.generate();
  readonly officeKey = Identity.generate();
  readonly evilKey = Identity.generate();
  attack: Attack = {};
  /** Services that were handed a stream, by who serves. */
  readonly served: string[] = [];
  readonly intermediate: Intermediate;
  readonly #connections = new Map<string, ConnectionId>();
  readonly #forged: { connection: ConnectionId; message: IntermediateMessage }[] = [];
  readonly #t: T;

  private constructor(t: T, intermediate: Intermediate) {
    this.#t = t;
    this.intermediate = intermediate;
    const { rendezvous } = intermediate.signaling;
    const hello = rendezvous.handleHello.bind(rendezvous);
    rendezvous.handleHello = (client) => {
      this.#connections.set(client.peerId, client.connection);
      hello(client);
    };
    const poll = rendezvous.pollOutput.bind(rendezvous);
    const handle = rendezvous.handleMessage.bind(rendezvous);
    rendezvous.handleMessage = (now: Millis, from, message) => handle(now, this.attack.hears?.(from) ?? from, message);
    rendezvous.pollOutput = () => {
      const forged = this.#forged.shift();
      if (forged) return { type: "send", ...forged };
      for (let output = poll(); output; output = poll()) {
        if (output.type !== "send" || !this.attack.says) return output;
        const lie = this.attack.says(output.message, output.connection);
        if (lie) return { type: "send", connection: lie.to, message: lie.message };
      }
      return null;
    };
  }

  static async start(t: T): Promise<Stage> {
    const intermediate = await Intermediate.start({
      identity: Identity.generate(),
      listen: [SocketAddress.of("127.0.0.1", 0)],
      stun: [SocketAddress.of("127.0.0.1", 0)],
      relayPorts: { first: 30_000, last: 39_999 },
      allowPrivateRelay: true,
      realm: "adit",
    });
    t.teardown(() => intermediate.close());
    return new Stage(t, intermediate);
  }

  connector(identity: Identity, name: string, ip: string, admit: (peerId: string) => boolean): Promise<Endpoint> {
    return this.#endpoint({
      identity,
      role: "connector",
      name,
      bind: { ip, port: 0 },
      admit,
      onService: (request) => {
        this.served.push(name);
        void Promise.resolve(request.accept()).then(echo);
      },
    });
  }

  agent(identity: Identity, ip: string): Promise<Endpoint> {
    return this.#endpoint({ identity, role: "agent", bind: { ip, port: 0 } });
  }

  async #endpoint(
    o: Omit<Parameters<typeof startEndpoint>[0], "intermediate" | "checkIntermediate" | "log">,
  ): Promise<Endpoint> {
    const { ip: host, port } = this.intermediate.signalingAddress;
    const endpoint = await startEndpoint({
      ...o,
      intermediate: { host, port },
      checkIntermediate: () => null,
      log: nullLogger,
    });
    this.#t.teardown(() => endpoint.close("the test is over"));
    await endpoint.waitRegistered();
    return endpoint;
  }

  /** The signaling connection of a key. */
  connectionOf(identity: Identity): ConnectionId {
    const connection = this.#connections.get(identity.peerId);
    if (connection === undefined) throw new Error("it never said Hello");
    return connection;
  }

  /** Says something that nobody asked for. */
  forge(connection: ConnectionId, message: IntermediateMessage): void {
    this.#forged.push({ connection, message });
    this.intermediate.handleNamesChanged(); // nothing has; but what waits is delivered
  }
}

function echo(stream: QuicStream): void {
  void stream.readable.pipeTo(stream.writable).catch(() => {});
}

async function exchange(stream: QuicStream, text: string): Promise<string> {
  const writer = stream.writable.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  return new Response(stream.readable).text();
}

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
  const toBoth = (id: bigint): IntermediateMessage[] => [
    { type: "candidate", sessionId: id, ufrag: "evilufrag", candidate: null },
    { type: "restart", sessionId: id, ice: ice(), candidates: [], answer: random.float() < 0.5 },
    { type: "path-report", sessionId: id, path: "direct", alive: false, silentMs: 60_000 },
    { type: "start-punching", sessionId: id, targetTimeMs: 1_000, peerCandidates: [] },
    { type: "observed-address", observed: there },
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

/** Somebody who has nothing to do with it, on a port of all addresses 127.9.x.y, and what he was sent, by the sender's IP. */
async function victim(
  t: T,
): Promise<{ candidates(count: number): SignaledCandidate[]; from(ip: string): Uint8Array[] }> {
  const received = new Map<string, Uint8Array[]>();
  const onBatch = (batch: readonly Incoming[]) => {
    for (const { data, from } of batch) received.set(from.ip, [...(received.get(from.ip) ?? []), data.slice()]);
  };
  const address = SocketAddress.of("0.0.0.0", 0);
  const socket = await bindUdp({ address, handlers: { onBatch, onDrain: () => {} } });
  t.teardown(() => socket.close());
  let next = 0;
  const candidate = (): SignaledCandidate => {
    const number = next++;
    return {
      foundation: `v${number}`,
      component: 1,
      transport: "udp",
      priority: 0x7fffff00 - number,
      address: SocketAddress.of(`127.9.${number >> 8}.${number & 255}`, socket.address.port),
      type: "host",
      related: null,
    };
  };
  return {
    candidates: (count) => Array.from({ length: count }, candidate),
    from: (ip) => received.get(ip) ?? [],
  };
}

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
