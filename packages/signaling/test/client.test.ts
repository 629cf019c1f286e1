import { parseSocketAddress, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import {
  type ErrorMessage,
  FrameReader,
  type IntermediateMessage,
  SignalingClient,
  type SignalingMessage,
  signalingCodec,
} from "../src/index.ts";
import { CONNECTOR, INTERMEDIATE, OBSERVED, Pair, TURN } from "./pair.ts";

const ICE = { ufrag: "8hhY", pwd: "asd88fgpdd777uzjYhagZg", options: [] };

const error = (code: string, about: Partial<ErrorMessage> = {}): ErrorMessage => ({
  type: "error",
  code,
  message: `told: ${code}`,
  sessionId: null,
  requestId: null,
  ...about,
});

/** A client whose intermediate is played by the test. */
class Played {
  readonly client: SignalingClient;
  readonly #reader = new FrameReader();

  constructor(options: { role?: "agent" | "connector"; name?: string } = {}) {
    this.client = new SignalingClient({ role: "agent", random: seededRandom(1), ...options });
  }

  connect(now: number): void {
    this.client.handleTimeout(now);
    this.client.handleConnected(now);
  }

  says(now: number, message: SignalingMessage): void {
    this.client.handleData(now, signalingCodec.encodeFrame(message));
  }

  welcome(now: number): void {
    this.says(now, { type: "welcome", version: 1, peerId: INTERMEDIATE, observed: OBSERVED, turn: TURN });
  }

  sent(): SignalingMessage[] {
    const out: SignalingMessage[] = [];
    for (let bytes = this.client.pollBytes(); bytes; bytes = this.client.pollBytes()) {
      for (const payload of this.#reader.frames(bytes)) out.push(signalingCodec.decode(payload));
    }
    return out;
  }

  commands(): string[] {
    const out: string[] = [];
    for (let command = this.client.pollCommand(); command; command = this.client.pollCommand()) out.push(command.type);
    return out;
  }

  events() {
    const out = [];
    for (let event = this.client.pollEvent(); event; event = this.client.pollEvent()) out.push(event);
    return out;
  }

  /** Connected, welcomed, and everything so far taken. */
  up(now = 0): this {
    this.connect(now);
    this.welcome(now);
    this.sent();
    this.commands();
    this.events();
    return this;
  }
}

test("an agent connects, says Hello, is welcomed, and knows the round trip", (t) => {
  const pair = new Pair();
  pair.run(1000);
  t.same(pair.eventTypes(), ["up", "rtt"]);
  t.same(pair.clientEvents[0], { type: "up", observed: OBSERVED, turn: TURN, intermediateId: INTERMEDIATE });
  t.equal(pair.lastClientEvent("rtt")?.rttMs, 40);
  t.equal(pair.client.rttMs, 40);
  t.equal(pair.server?.rttMs, 40);
  t.equal(pair.server?.role, "agent");
});

test("a connector registers its name on each connection", (t) => {
  const pair = new Pair({ role: "connector", name: "office" });
  pair.onServerEvent = (event, server) => {
    if (event.type !== "message" || event.message.type !== "register") return;
    server.send({ type: "registered", requestId: event.message.requestId, name: event.message.name });
  };
  pair.run(1000);
  t.ok(pair.client.isRegistered);
  pair.breakConnection("the network changed");
  t.notOk(pair.client.isRegistered);
  pair.run(3000);
  t.ok(pair.client.isRegistered);
  t.same(
    pair.eventTypes().filter((type) => type !== "rtt"),
    ["up", "registered", "down", "up", "registered"],
  );
});

test("send works only while up, and keeps nothing for later", (t) => {
  const played = new Played();
  const end = { type: "session-end", sessionId: 1n, reason: "" } as const;
  t.notOk(played.client.send(0, end));
  played.connect(0);
  t.notOk(played.client.send(0, end));
  t.same(
    played.sent().map(({ type }) => type),
    ["hello"],
  );
  played.welcome(1);
  t.ok(played.client.send(1, end));
  t.same(
    played.sent().map(({ type }) => type),
    ["ping", "session-end"],
  );
  played.client.handleDisconnected(2, "gone");
  t.notOk(played.client.send(2, end));
  played.connect(10_000);
  t.same(
    played.sent().map(({ type }) => type),
    ["hello"],
  );
});

test("unreachable: each attempt is given up after 5 s, and the delays grow to 5 s with jitter", (t) => {
  const pair = new Pair();
  pair.reachable = false;
  pair.run(120_000);
  const delays = pair.clientEvents.flatMap((event) => (event.type === "down" ? [event.retryInMs] : []));
  for (const [i, nominal] of [250, 500, 1000, 2000, 4000, 5000, 5000].entries()) {
    const delay = t.must(delays[i]);
    t.ok(delay > nominal / 2 && delay <= nominal, `delay ${i} is ${delay}, nominal ${nominal}`);
  }
  const connects = pair.commands.filter(({ type }) => type === "connect");
  t.equal(connects[1]?.at, 5000 + t.must(delays[0]));
  t.ok(pair.commands.every(({ type }, i) => type === (i % 2 === 0 ? "connect" : "disconnect")));
  pair.reachable = true;
  pair.run(140_000);
  t.ok(pair.client.isUp);
});

test("a connection that stood starts the backoff anew; one that falls at once does not", (t) => {
  const lastDelay = (standsMs: number) => {
    const played = new Played();
    let now = 0;
    let delay = 0;
    for (let i = 0; i < 8; i++) {
      played.connect(now);
      played.welcome(now);
      played.client.handleDisconnected(now + standsMs, "gone");
      for (const event of played.events()) if (event.type === "down") delay = event.retryInMs;
      now += standsMs + delay;
    }
    return delay;
  };
  t.ok(lastDelay(100) > 2500);
  t.ok(lastDelay(6000) <= 250);
});

test("no Welcome within 5 s: disconnected, and tried again", (t) => {
  const played = new Played();
  played.connect(0);
  played.client.handleTimeout(4999);
  t.same(played.commands(), ["connect"]);
  played.client.handleTimeout(5000);
  t.same(played.commands(), ["disconnect"]);
  const [down] = played.events();
  t.equal(down?.type === "down" && down.reason, "no Welcome within 5000 ms");
});

test("Register without an answer is sent once more with the same id, then the connection is given up", (t) => {
  const played = new Played({ role: "connector", name: "office" });
  played.connect(0);
  played.welcome(0);
  const first = t.must(played.sent().find(({ type }) => type === "register"));
  played.client.handleTimeout(4999);
  played.client.handleData(4999, signalingCodec.encodeFrame({ type: "ping", id: 1n }));
  t.notOk(played.sent().some(({ type }) => type === "register"));
  played.client.handleTimeout(5000);
  t.same(played.sent(), [first]);
  played.client.handleData(9000, signalingCodec.encodeFrame({ type: "ping", id: 2n }));
  played.sent();
  played.client.handleTimeout(10_000);
  t.same(played.sent(), [error("timeout", { message: "Register was not answered within 5000 ms, 2 times" })]);
  t.same(played.commands(), ["connect", "disconnect"]);
});

test("a taken name is asked for again, while the connection stays; an answer to another request counts for nothing", (t) => {
  const played = new Played({ role: "connector", name: "office" });
  played.connect(0);
  played.welcome(0);
  const register = t.must(played.sent().find((message) => message.type === "register"));
  played.says(1, error("name-taken", { requestId: register.requestId ^ 1n }));
  played.says(1, { type: "registered", requestId: register.requestId ^ 1n, name: "office" });
  t.notOk(played.client.isRegistered);
  t.same(
    played.events().map(({ type }) => type),
    ["up"],
  );
  played.says(2, error("name-taken", { requestId: register.requestId }));
  const [refused] = played.events();
  if (refused?.type !== "register-refused") return t.fail("no register-refused");
  t.equal(refused.code, "name-taken");
  t.ok(refused.retryInMs > 0 && refused.retryInMs <= 1000);
  t.ok(played.client.isUp);

  played.client.handleTimeout(2 + refused.retryInMs);
  const again = t.must(played.sent().find((message) => message.type === "register"));
  t.notEqual(again.requestId, register.requestId);
  played.says(2000, { type: "registered", requestId: again.requestId, name: "office" });
  t.ok(played.client.isRegistered);
});

for (const code of ["replaced", "not-allowed", "unsupported-version"]) {
  test(`after Error{${code}} it stops for good`, (t) => {
    const played = new Played().up();
    played.says(1, error(code));
    t.same(played.events(), [{ type: "stopped", code, message: `told: ${code}` }]);
    t.same(played.commands(), ["disconnect"]);
    t.equal(played.client.pollTimeout(), null);
    played.client.handleDisconnected(2, "closed");
    played.client.handleTimeout(100_000);
    t.same([...played.events(), ...played.commands()], []);
  });
}

test("Goodbye{replaced} stops it, Goodbye{shutdown} does not", (t) => {
  const replaced = new Played().up();
  replaced.says(1, { type: "goodbye", reason: "replaced" });
  t.ok(replaced.client.isStopped);
  const shutdown = new Played().up();
  shutdown.says(1, { type: "goodbye", reason: "shutdown" });
  t.notOk(shutdown.client.isStopped);
  t.same(
    shutdown.events().map(({ type }) => type),
    ["down"],
  );
  t.ok(t.must(shutdown.client.pollTimeout()).at > 1);
});

test("an Error about the connection that may pass ends in another attempt; one about a session is the session's", (t) => {
  const played = new Played().up();
  played.says(1, error("not-found", { sessionId: 7n }));
  t.same(played.events(), [{ type: "message", message: error("not-found", { sessionId: 7n }) }]);
  // Codes that end a connection for good are about the session here.
  played.says(1, error("not-allowed", { sessionId: 7n }));
  t.equal(played.events()[0]?.type, "message");
  t.ok(played.client.isUp);
  played.says(2, error("internal"));
  t.equal(played.events()[0]?.type, "down");
});

test("an intermediate that answers with another version stops it", (t) => {
  const played = new Played();
  played.connect(0);
  played.says(1, { type: "welcome", version: 2, peerId: INTERMEDIATE, observed: OBSERVED, turn: null });
  const [stopped] = played.events();
  t.equal(stopped?.type === "stopped" && stopped.code, "unsupported-version");
});

const nonsense: readonly (readonly [string, Uint8Array, string])[] = [
  ["a frame of 4 GiB", Uint8Array.of(255, 255, 255, 255), "bad-message"],
  ["an unknown message", Uint8Array.of(0, 0, 0, 4, 99, 0, 0, 0), "bad-message"],
  [
    "what only clients say",
    signalingCodec.encodeFrame({ type: "register", requestId: 1n, name: "a" }),
    "unexpected-message",
  ],
  [
    "what is for connectors",
    signalingCodec.encodeFrame({ type: "incoming", sessionId: 1n, peerId: CONNECTOR, peerObserved: OBSERVED }),
    "unexpected-message",
  ],
];

for (const [name, bytes, code] of nonsense) {
  test(`${name} from the intermediate is answered with ${code}, then it disconnects`, (t) => {
    const played = new Played().up();
    played.client.handleData(1, bytes);
    const [answer] = played.sent();
    t.equal(answer?.type === "error" && answer.code, code);
    t.same(played.commands(), ["disconnect"]);
    t.notOk(played.client.isUp);
  });
}

test("a message before Welcome is unexpected", (t) => {
  const played = new Played();
  played.connect(0);
  played.says(1, { type: "observed-address", observed: OBSERVED });
  const answer = played.sent().at(-1);
  t.equal(answer?.type === "error" && answer.code, "unexpected-message");
});

test("what was behind the last frame of a broken connection does not reach the next one", (t) => {
  const played = new Played().up();
  const frame = signalingCodec.encodeFrame({ type: "observed-address", observed: OBSERVED });
  played.client.handleData(1, frame.subarray(0, 10));
  played.client.handleDisconnected(2, "gone");
  played.client.handleData(3, frame.subarray(10));
  t.same([...played.sent(), ...played.commands()], [], "what comes late is nobody's word");
  played.connect(10_000);
  played.welcome(10_001);
  t.ok(played.client.isUp);
});

test("session messages, a new observed address and renewed credentials come out as events", (t) => {
  const played = new Played().up();
  const connected: IntermediateMessage = {
    type: "connected",
    sessionId: 9n,
    peerId: CONNECTOR,
    name: "office",
    peerObserved: OBSERVED,
  };
  const observed = parseSocketAddress("[2001:db8::7]:40112");
  played.says(1, connected);
  played.says(2, { type: "observed-address", observed });
  played.says(3, { type: "welcome", version: 1, peerId: INTERMEDIATE, observed, turn: { ...TURN, password: "new" } });
  t.same(played.events(), [
    { type: "message", message: connected },
    { type: "observed", observed },
    { type: "turn", turn: { ...TURN, password: "new" } },
  ]);
});

const passedOn: readonly (readonly ["agent" | "connector", IntermediateMessage])[] = [
  ["agent", { type: "connected", sessionId: 1n, peerId: CONNECTOR, name: null, peerObserved: OBSERVED }],
  ["agent", { type: "candidate-answer", sessionId: 1n, ice: ICE, candidates: [] }],
  ["connector", { type: "incoming", sessionId: 1n, peerId: CONNECTOR, peerObserved: OBSERVED }],
  ["connector", { type: "candidate-offer", sessionId: 1n, serviceId: "web", ice: ICE, candidates: [], ticket: null }],
  ["agent", { type: "start-punching", sessionId: 1n, targetTimeMs: 9, peerCandidates: [] }],
  ["connector", { type: "candidate", sessionId: 1n, ufrag: "8hhY", candidate: null }],
  ["agent", { type: "restart", sessionId: 1n, ice: ICE, candidates: [], answer: false }],
  ["agent", { type: "path-report", sessionId: 1n, path: "relay", alive: true, silentMs: 0 }],
  ["connector", { type: "session-end", sessionId: 1n, reason: "" }],
];

for (const [role, message] of passedOn) {
  test(`"${message.type}" is passed on to a ${role}`, (t) => {
    const played = new Played({ role }).up();
    played.says(1, message);
    t.same(played.events(), [{ type: "message", message }]);
  });
}

test("a Pong that answers no Ping measures nothing", (t) => {
  const played = new Played();
  played.connect(0);
  played.welcome(0);
  const ping = t.must(played.sent().find((message) => message.type === "ping"));
  played.events();
  played.says(5, { type: "pong", id: ping.id + 1n });
  t.same(played.events(), []);
  played.says(7, { type: "pong", id: ping.id });
  t.same(played.events(), [{ type: "rtt", rttMs: 7 }]);
  played.says(9, { type: "pong", id: ping.id });
  t.same(played.events(), []);
});

const idle: readonly [role: "agent" | "connector", minMs: number, maxMs: number, noticedMs: number][] = [
  ["agent", 8_000, 10_040, 12_540],
  ["connector", 12_000, 15_040, 20_040],
];
for (const [role, minMs, maxMs, noticedMs] of idle) {
  test(`idle, it pings within ${minMs} to ${maxMs} ms and stays up for an hour: ${role}`, (t) => {
    const pair = new Pair({ role });
    pair.run(1000);
    pair.clientEvents.length = 0;
    pair.run(3_600_000);
    t.ok(pair.client.isUp);
    const pings = pair.eventTypes().filter((type) => type === "rtt").length;
    t.ok(pings >= 3_599_000 / maxMs - 1 && pings <= 3_599_000 / minMs, `${pings} pings`);
    t.equal(pair.commands.length, 1);
  });

  test(`an intermediate that falls silent is noticed within ${noticedMs} ms, and the client comes back when it can: ${role}`, (t) => {
    const pair = new Pair({ role });
    pair.run(1000);
    pair.silent = true;
    pair.run(1000 + noticedMs);
    const down = t.must(pair.lastClientEvent("down"));
    t.equal(down.reason, "the intermediate does not answer");
    pair.silent = false;
    pair.run(40_000);
    t.ok(pair.client.isUp);
  });
}

test("a probe notices a silent connection after 1 s, and leaves a living one alone", (t) => {
  const living = new Pair();
  living.run(1000);
  living.client.probe(living.now);
  living.run(2900);
  t.same(living.eventTypes(), ["up", "rtt", "rtt"]);

  const silent = new Pair();
  silent.run(1000);
  silent.silent = true;
  silent.client.probe(silent.now);
  silent.run(1999);
  t.equal(silent.lastClientEvent("down"), null);
  silent.run(2000);
  t.equal(silent.lastClientEvent("down")?.reason, "the intermediate does not answer");
});

test("a probe may be given more patience", (t) => {
  const pair = new Pair();
  pair.run(1000);
  pair.silent = true;
  pair.client.probe(pair.now, 2_500);
  pair.run(3_499);
  t.equal(pair.lastClientEvent("down"), null);
  pair.run(3_500);
  t.equal(pair.lastClientEvent("down")?.reason, "the intermediate does not answer");
});

test("stop says Goodbye, then disconnects, and nothing comes after", (t) => {
  const pair = new Pair();
  pair.run(1000);
  pair.client.stop(pair.now);
  pair.run(2000);
  t.same(pair.serverEvents.at(-1), { type: "close", code: "goodbye", reason: "shutdown" });
  t.equal(pair.commands.at(-1)?.type, "disconnect");
  t.equal(pair.client.pollTimeout(), null);
  pair.client.stop(pair.now);
  t.same(pair.eventTypes(), ["up", "rtt"]);
});

test("stop before the first attempt does nothing at all", (t) => {
  const played = new Played();
  played.client.stop(0);
  t.same([...played.commands(), ...played.sent(), ...played.events()], []);
});

test("stop during an attempt breaks the attempt off", (t) => {
  const played = new Played();
  played.client.handleTimeout(0);
  played.client.stop(1);
  t.same(played.commands(), ["connect", "disconnect"]);
  played.client.handleConnected(2);
  t.same(played.sent(), []);
});

test("what was written makes room again", (t) => {
  const played = new Played().up();
  for (let i = 0; i < 1000; i++) {
    t.ok(played.client.send(1, { type: "session-end", sessionId: 1n, reason: "x".repeat(1000) }));
    t.equal(played.sent().length, 1);
  }
});

test("an intermediate that does not read is given up at 256 KiB", (t) => {
  const played = new Played().up();
  let sent = 0;
  while (played.client.send(1, { type: "session-end", sessionId: 1n, reason: "x".repeat(1000) })) sent++;
  t.ok(sent > 200 && sent < 262, `${sent} messages`);
  t.same(played.commands(), ["disconnect"]);
});

test("a message that the intermediate would refuse is thrown back at the caller, and the connection stands", (t) => {
  const played = new Played().up();
  t.throws(() => played.client.send(1, { type: "connect", sessionId: 1n, target: "NO", expectedPeer: null }), {
    code: "bad-message",
  });
  t.ok(played.client.isUp);
});
