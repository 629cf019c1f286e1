import { parseSocketAddress, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import {
  type ErrorMessage,
  FrameReader,
  type Role,
  type SignalingMessage,
  SignalingServerConnection,
  signalingCodec,
} from "../src/index.ts";
import { CLIENT, CONNECTOR, INTERMEDIATE, OBSERVED, TURN } from "./pair.ts";

/** A connection whose client is played by the test. */
class Played {
  readonly connection = new SignalingServerConnection({
    now: 0,
    peerId: CLIENT,
    observed: OBSERVED,
    welcome: { peerId: INTERMEDIATE, turn: TURN },
    random: seededRandom(1),
  });
  readonly #reader = new FrameReader();

  says(now: number, message: SignalingMessage): void {
    this.connection.handleData(now, signalingCodec.encodeFrame(message));
  }

  hello(role: Role = "agent"): this {
    this.says(0, { type: "hello", version: 1, agent: "adit/0.1.0", role });
    this.sent();
    this.events();
    return this;
  }

  sent(): SignalingMessage[] {
    const out: SignalingMessage[] = [];
    for (let bytes = this.connection.pollBytes(); bytes; bytes = this.connection.pollBytes()) {
      for (const payload of this.#reader.frames(bytes)) out.push(signalingCodec.decode(payload));
    }
    return out;
  }

  events() {
    const out = [];
    for (let event = this.connection.pollEvent(); event; event = this.connection.pollEvent()) out.push(event);
    return out;
  }

  /** The code of the Error that was sent last of all, before the close. */
  lastError(): string | null {
    const last = this.sent().at(-1);
    return this.connection.isClosed && last?.type === "error" ? (last as ErrorMessage).code : null;
  }
}

test("Hello is answered with Welcome and a Ping", (t) => {
  const played = new Played();
  played.says(3, { type: "hello", version: 1, agent: "adit/0.1.0", role: "connector" });
  t.same(played.sent(), [
    { type: "welcome", version: 1, peerId: INTERMEDIATE, observed: OBSERVED, turn: TURN },
    { type: "ping", id: 1n },
  ]);
  t.same(played.events(), [{ type: "hello", role: "connector", agent: "adit/0.1.0" }]);
  played.says(33, { type: "pong", id: 1n });
  t.same(played.events(), [{ type: "rtt", rttMs: 30 }]);
  t.equal(played.connection.rttMs, 30);
});

test("no Hello within 5 s: Error{timeout} and a close, even when bytes trickle in", (t) => {
  const played = new Played();
  const hello = signalingCodec.encodeFrame({ type: "hello", version: 1, agent: "x", role: "agent" });
  for (let i = 0; i < 20; i++) played.connection.handleData(i * 240, hello.subarray(i, i + 1));
  t.equal(played.connection.pollTimeout()?.at, 5000);
  played.connection.handleTimeout(5000);
  t.same(played.events(), [{ type: "close", code: "timeout", reason: "no Hello within 5000 ms" }]);
  t.equal(played.lastError(), "timeout");
});

test("a message that has begun must be whole within 30 s, however often a byte comes; a whole one starts the clock anew", (t) => {
  const played = new Played();
  played.hello("agent");
  const frame = signalingCodec.encodeFrame({ type: "session-end", sessionId: 1n, reason: "x".repeat(200) });
  played.connection.handleData(10_000, frame.subarray(0, 3));
  played.connection.handleData(19_000, frame.subarray(3, 4));
  played.connection.handleData(29_000, Uint8Array.from([...frame.subarray(4), ...frame.subarray(0, 1)]));
  t.ok(played.connection.heldBytes > 0, "what came of the second is held");
  for (let i = 1; i < 30; i++) {
    played.connection.handleData(29_000 + i * 1_000, frame.subarray(i, i + 1));
    played.connection.handleTimeout(29_000 + i * 1_000);
    t.equal(played.connection.isClosed, false, `after ${i} s`);
  }
  played.connection.handleTimeout(59_000);
  t.equal(played.events().at(-1)?.type, "close");
  t.equal(played.lastError(), "timeout");
});

test("another version is refused by its number, whatever the rest of its Hello looks like", (t) => {
  for (const rest of [[], [1, 2, 3], new Array(400).fill(0xff)]) {
    const played = new Played();
    played.connection.handleData(
      1,
      Uint8Array.of(0, 0, (rest.length + 6) >> 8, (rest.length + 6) & 255, 0, 0, 0, 0, 2, 0, ...rest),
    );
    t.equal(played.lastError(), "unsupported-version");
    t.same(played.events(), [
      { type: "close", code: "unsupported-version", reason: "version 1 is spoken here, not 2" },
    ]);
  }
});

const session = { sessionId: 1n } as const;
const ice = { ufrag: "8hhY", pwd: "asd88fgpdd777uzjYhagZg", options: [] };
const unexpected: readonly (readonly [Role | null, SignalingMessage])[] = [
  [null, { type: "ping", id: 1n }],
  [null, { type: "register", requestId: 1n, name: "office" }],
  ["agent", { type: "hello", version: 1, agent: "x", role: "agent" }],
  ["agent", { type: "register", requestId: 1n, name: "office" }],
  ["agent", { type: "candidate-answer", ...session, ice, candidates: [] }],
  ["connector", { type: "connect", ...session, target: "office", expectedPeer: null }],
  ["connector", { type: "candidate-offer", ...session, serviceId: "web", ice, candidates: [], ticket: null }],
  ["agent", { type: "welcome", version: 1, peerId: INTERMEDIATE, observed: OBSERVED, turn: null }],
  ["connector", { type: "registered", requestId: 1n, name: "office" }],
  ["connector", { type: "incoming", ...session, peerId: CONNECTOR, peerObserved: OBSERVED }],
  ["agent", { type: "connected", ...session, peerId: CONNECTOR, name: null, peerObserved: OBSERVED }],
  ["agent", { type: "start-punching", ...session, targetTimeMs: 0, peerCandidates: [] }],
  ["agent", { type: "observed-address", observed: OBSERVED }],
];

for (const [role, message] of unexpected) {
  test(`"${message.type}" ${role ? `from a ${role}` : "before Hello"} is unexpected`, (t) => {
    const played = new Played();
    if (role) played.hello(role);
    played.says(1, message);
    t.equal(played.lastError(), "unexpected-message");
    t.equal(played.events().at(-1)?.type, "close");
  });
}

const passedOn: readonly (readonly [Role, SignalingMessage])[] = [
  ["agent", { type: "connect", ...session, target: "office", expectedPeer: null }],
  ["agent", { type: "candidate-offer", ...session, serviceId: "web", ice, candidates: [], ticket: null }],
  ["connector", { type: "register", requestId: 1n, name: "office" }],
  ["connector", { type: "candidate-answer", ...session, ice, candidates: [] }],
  ["agent", { type: "candidate", ...session, ufrag: "8hhY", candidate: null }],
  ["connector", { type: "restart", ...session, ice, candidates: [], answer: true }],
  ["connector", { type: "path-report", ...session, path: "direct", alive: false, silentMs: 300 }],
  ["agent", { type: "punching-result", ...session, outcome: "relay", detail: "" }],
  ["agent", { type: "session-end", ...session, reason: "" }],
  ["connector", { type: "error", code: "not-allowed", message: "", sessionId: 1n, requestId: null }],
];

for (const [role, message] of passedOn) {
  test(`"${message.type}" from a ${role} is passed on`, (t) => {
    const played = new Played().hello(role);
    played.says(1, message);
    t.same(played.events(), [{ type: "message", message }]);
    t.notOk(played.connection.isClosed);
  });
}

test("an unknown message, an oversized frame and an empty one get Error{bad-message} and a close", (t) => {
  for (const bytes of [
    [0, 0, 0, 4, 99, 0, 0, 0],
    [0, 1, 0, 1],
    [0, 0, 0, 0],
  ]) {
    const played = new Played().hello();
    played.connection.handleData(1, Uint8Array.from(bytes));
    t.equal(played.lastError(), "bad-message");
    t.equal(played.events().length, 1);
    played.says(2, { type: "ping", id: 1n });
    t.same([...played.sent(), ...played.events()], []);
  }
});

test("2,000 messages at once and 500 a second pass; more are refused", (t) => {
  const played = new Played().hello();
  const ping = signalingCodec.encodeFrame({ type: "ping", id: 1n });
  for (let i = 0; i < 1999; i++) played.connection.handleData(0, ping);
  t.notOk(played.connection.isClosed);
  played.sent();
  for (let second = 1; second <= 3; second++) {
    for (let i = 0; i < 500; i++) played.connection.handleData(second * 1000, ping);
    t.notOk(played.connection.isClosed);
    played.sent();
  }
  played.connection.handleData(3000, ping);
  t.equal(played.lastError(), "too-many");
});

test("silence saves up no more than 2,000 messages", (t) => {
  const played = new Played().hello();
  const ping = signalingCodec.encodeFrame({ type: "ping", id: 1n });
  for (let i = 0; i < 2000; i++) played.connection.handleData(20_000, ping);
  t.notOk(played.connection.isClosed);
  played.connection.handleData(20_000, ping);
  t.equal(played.lastError(), "too-many");
});

test("a client that does not read is given up at 256 KiB", (t) => {
  const played = new Played().hello();
  let sent = 0;
  while (played.connection.send({ type: "session-end", ...session, reason: "x".repeat(1000) })) sent++;
  t.ok(sent > 200 && sent < 262, `${sent} messages`);
  t.equal(played.events().at(-1)?.type, "close");
});

test("a silent client is pinged after 20 to 25 s, and given up 10 s later", (t) => {
  const played = new Played().hello();
  played.says(10, { type: "pong", id: 1n });
  played.events();
  const { at } = t.must(played.connection.pollTimeout());
  t.ok(at >= 20_010 && at <= 25_010, `at ${at}`);
  played.connection.handleTimeout(at);
  t.same(played.sent(), [{ type: "ping", id: 2n }]);
  played.connection.handleTimeout(at + 9999);
  t.notOk(played.connection.isClosed);
  played.connection.handleTimeout(at + 10_000);
  t.equal(played.lastError(), "timeout");
});

test("a new observed address is told once, and is in a Welcome that comes after", (t) => {
  const moved = parseSocketAddress("203.0.113.9:1024");
  const played = new Played().hello();
  played.connection.setObserved(OBSERVED);
  t.same(played.sent(), []);
  played.connection.setObserved(moved);
  t.same(played.sent(), [{ type: "observed-address", observed: moved }]);
  played.connection.renewTurn({ ...TURN, password: "new" });
  t.same(played.sent(), [
    { type: "welcome", version: 1, peerId: INTERMEDIATE, observed: moved, turn: { ...TURN, password: "new" } },
  ]);
});

test("before Hello nothing can be sent but a refusal", (t) => {
  const played = new Played();
  t.notOk(played.connection.send({ type: "session-end", ...session, reason: "" }));
  played.connection.renewTurn(null);
  t.same(played.sent(), []);
  played.connection.refuse("not-allowed", "this key is not on the list");
  t.equal(played.lastError(), "not-allowed");
});

test("goodbye is said once, and closes", (t) => {
  const played = new Played().hello();
  played.connection.goodbye("replaced");
  played.connection.goodbye("shutdown");
  played.connection.refuse("internal", "");
  t.same(played.sent(), [{ type: "goodbye", reason: "replaced" }]);
  t.same(played.events(), [{ type: "close", code: "ended", reason: "replaced" }]);
});

test("the client's Goodbye, its Error and a broken connection are closes without a word back", (t) => {
  const ends: [string, (played: Played) => unknown][] = [
    ["goodbye", (played) => played.says(1, { type: "goodbye", reason: "shutdown" })],
    [
      "ended",
      (played) => played.says(1, { type: "error", code: "internal", message: "", sessionId: null, requestId: null }),
    ],
    ["ended", (played) => played.connection.handleDisconnected("reset")],
  ];
  for (const [code, end] of ends) {
    const played = new Played().hello();
    end(played);
    t.ok(played.connection.isClosed);
    t.same(played.sent(), []);
    const last = played.events().at(-1);
    t.equal(last?.type === "close" ? `${last.code}` : null, code, "whether its program ends, or it may come back");
  }
});
