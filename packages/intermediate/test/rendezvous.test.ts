import { SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import type { IntermediateMessage, SessionMessage, SignaledCandidate } from "@adit/signaling";
import { OPEN_POLICY, parsePolicy } from "../src/access-policy.ts";
import { Accounts } from "../src/accounts.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import { MemoryNameStore, NameStoreError } from "../src/names/name-store.ts";
import { Rendezvous } from "../src/rendezvous.ts";
import {
  ABSENCE_LIMIT_MS,
  FAREWELL_MS,
  MAX_SESSIONS_PER_CONNECTOR,
  UNANSWERED_LIMIT_MS,
} from "../src/session-table.ts";

const AGENT = "a".repeat(52);
const CONNECTOR = "c".repeat(52);
const STRANGER = "s".repeat(52);

const at = (ip: string, port = 1000): SocketAddress => SocketAddress.of(ip, port);

/** A rendezvous and what its clients got, by connection. */
class Kit {
  now = 0;
  changes = 0;
  readonly replaced: number[] = [];
  readonly names = new MemoryNameStore();
  policy = OPEN_POLICY;
  limits = DEFAULT_LIMITS;
  readonly rendezvous = new Rendezvous({
    onSessionsChanged: () => this.changes++,
    names: this.names,
    policy: () => this.policy,
    accounts: new Accounts({ limits: () => this.limits }),
  });
  readonly #inbox = new Map<number, IntermediateMessage[]>();
  #connection = 0;

  join(role: "agent" | "connector", peerId: string, ip: string): number {
    const connection = ++this.#connection;
    this.rendezvous.handleHello({ connection, peerId, role, observed: at(ip) });
    return connection;
  }

  connector(peerId = CONNECTOR, name = "office", ip = "9.9.9.9"): number {
    const connection = this.join("connector", peerId, ip);
    this.say(connection, { type: "register", requestId: 1n, name });
    return connection;
  }

  say(connection: number, message: SessionMessage): void {
    this.rendezvous.handleMessage(this.now, connection, message);
    this.#drain();
  }

  leave(connection: number, why: "broken" | "goodbye" = "broken"): void {
    this.rendezvous.handleClosed(this.now, connection, why);
    this.#drain();
  }

  advance(ms: number): void {
    this.now += ms;
    const due = this.rendezvous.pollTimeout();
    if (due && due.at <= this.now) this.rendezvous.handleTimeout(this.now);
  }

  /** What this connection was sent since the last call. */
  got(connection: number): IntermediateMessage[] {
    const messages = this.#inbox.get(connection) ?? [];
    this.#inbox.delete(connection);
    return messages;
  }

  types(connection: number): string[] {
    return this.got(connection).map((message) => (message.type === "error" ? `error:${message.code}` : message.type));
  }

  /** After something that was not a message. */
  settle(): void {
    this.#drain();
  }

  #drain(): void {
    for (let output = this.rendezvous.pollOutput(); output; output = this.rendezvous.pollOutput()) {
      if (output.type === "replaced") this.replaced.push(output.connection);
      else this.#inbox.set(output.connection, [...(this.#inbox.get(output.connection) ?? []), output.message]);
    }
  }
}

const connect = (sessionId: bigint, target = "office", expectedPeer: string | null = null): SessionMessage => ({
  type: "connect",
  sessionId,
  target,
  expectedPeer,
});

const candidate = (ip: string): SignaledCandidate => ({
  foundation: "1",
  component: 1,
  transport: "udp",
  priority: 1,
  address: at(ip, 4000),
  type: "host",
  related: null,
});

const ice = (ufrag: string) => ({ ufrag, pwd: "p".repeat(22), options: [] });

const offer = (sessionId: bigint, ...ips: string[]): SessionMessage => ({
  type: "candidate-offer",
  sessionId,
  serviceId: "web",
  ice: ice("agnt"),
  candidates: ips.map(candidate),
  ticket: null,
});

const answer = (sessionId: bigint, ...ips: string[]): SessionMessage => ({
  type: "candidate-answer",
  sessionId,
  ice: ice("cnct"),
  candidates: ips.map(candidate),
});

/** An agent and a connector with session 7, which the connector has answered. */
function introduced(kit: Kit): { agent: number; connector: number } {
  const connector = kit.connector();
  const agent = kit.join("agent", AGENT, "8.8.8.8");
  kit.say(agent, connect(7n));
  kit.say(connector, answer(7n));
  kit.got(agent);
  kit.got(connector);
  return { agent, connector };
}

test("an agent finds a connector by name and by PeerId; where it is, the agent learns when it has answered", (t) => {
  for (const target of ["office", CONNECTOR]) {
    const kit = new Kit();
    const connector = kit.connector();
    t.same(kit.got(connector), [{ type: "registered", requestId: 1n, name: "office" }]);
    const agent = kit.join("agent", AGENT, "8.8.8.8");
    kit.say(agent, connect(7n, target));
    const connected = { type: "connected", sessionId: 7n, peerId: CONNECTOR, name: "office" };
    t.same(kit.got(agent), [{ ...connected, peerObserved: at("0.0.0.0", 0) }]);
    t.same(kit.got(connector), [{ type: "incoming", sessionId: 7n, peerId: AGENT, peerObserved: at("8.8.8.8") }]);
    t.notOk(kit.rendezvous.isSessionPeer(AGENT, "9.9.9.9"), "nor does the relay lead a stranger there");
    t.ok(kit.rendezvous.isSessionPeer(CONNECTOR, "8.8.8.8"), "the connector prepares its relay before it answers");
    kit.say(connector, answer(7n, "1.1.1.1"));
    t.same(kit.got(agent).slice(0, 1), [{ ...connected, peerObserved: at("9.9.9.9") }], "ahead of the answer");
    t.ok(kit.rendezvous.isSessionPeer(AGENT, "9.9.9.9"));
    kit.say(connector, answer(7n, "1.1.1.1"));
    t.same(kit.types(agent), ["candidate-answer", "start-punching"], "once");
    kit.say(agent, connect(7n, target));
    t.same(kit.got(agent), [{ ...connected, peerObserved: at("9.9.9.9") }], "and whoever comes back at once");
  }
});

test("a connector that refuses, or ends what it never answered, stays unseen", (t) => {
  const refusals: SessionMessage[] = [
    { type: "error", code: "not-allowed", message: "", sessionId: 7n, requestId: null },
    { type: "session-end", sessionId: 7n, reason: "x" },
  ];
  for (const refusal of refusals) {
    const kit = new Kit();
    const connector = kit.connector();
    const agent = kit.join("agent", AGENT, "8.8.8.8");
    kit.say(agent, connect(7n));
    kit.say(connector, refusal);
    const told = kit.got(agent).flatMap((message) => (message.type === "connected" ? message.peerObserved.key : []));
    t.same(told, ["0.0.0.0:0"]);
    t.notOk(kit.rendezvous.isSessionPeer(AGENT, "9.9.9.9"));
  }
});

test("a session that its connector does not answer is forgotten after 30 s, and no timer is left", (t) => {
  const kit = new Kit();
  kit.connector();
  const agent = kit.join("agent", AGENT, "8.8.8.8");
  for (const id of [1n, 2n]) kit.say(agent, connect(id));
  kit.advance(UNANSWERED_LIMIT_MS - 1);
  t.equal(kit.rendezvous.sessionCounts().active, 2);
  kit.advance(1);
  t.equal(kit.rendezvous.sessionCounts().active, 0);
  t.notOk(kit.rendezvous.isSessionPeer(CONNECTOR, "8.8.8.8"));
  t.equal(kit.rendezvous.pollTimeout(), null);
});

test("keys in masses that ask for a connector and offer nothing keep nobody from it", (t) => {
  const kit = new Kit();
  kit.limits = { ...DEFAULT_LIMITS, sessionsPerKey: 1 };
  const connector = kit.connector();
  const friend = kit.join("agent", AGENT, "8.8.8.8");
  kit.say(friend, connect(7n));
  kit.say(connector, answer(7n));
  kit.got(friend);
  const attack = (id: number) => {
    const key = `${id}`.padStart(52, "x");
    const crowd = kit.join("agent", key, `6.${id >> 16}.${(id >> 8) & 255}.${id & 255}`);
    kit.say(crowd, connect(BigInt(100 + id)));
    return kit.types(crowd);
  };
  for (let id = 0; id < MAX_SESSIONS_PER_CONNECTOR + 100; id++) t.same(attack(id), ["connected"]);
  const other = kit.join("agent", STRANGER, "8.8.4.4");
  kit.say(other, connect(8n));
  t.same(kit.types(other), ["connected"]);
  kit.got(connector);
  kit.say(connector, answer(8n));
  t.same(kit.types(other), ["connected", "candidate-answer", "start-punching"]);
  t.ok(kit.rendezvous.isSessionPeer(AGENT, "9.9.9.9"), "what was answered stays");
  t.equal(kit.rendezvous.sessionCounts().active, MAX_SESSIONS_PER_CONNECTOR);
});

test("sessions are bounded by the address that asks for them, whatever keys it shows", (t) => {
  const kit = new Kit();
  kit.limits = { ...DEFAULT_LIMITS, sessionsPerIp: 3 };
  kit.connector();
  const ask = (key: string, ip: string, id: bigint) => {
    const agent = kit.join("agent", key.repeat(52), ip);
    kit.say(agent, connect(id));
    return kit.types(agent);
  };
  t.same(ask("e", "2001:db8::1", 1n), ["connected"]);
  t.same(ask("f", "2001:db8::2", 2n), ["connected"]);
  t.same(ask("g", "2001:db8::3:4", 3n), ["connected"]);
  t.same(ask("h", "2001:db8::4:5:6", 4n), ["error:too-many"], "a /64 is one host's");
  t.equal(kit.rendezvous.counters.get("ip-sessions"), 1);
  t.same(ask("i", "2001:db8:0:1::1", 5n), ["connected"]);
  kit.advance(UNANSWERED_LIMIT_MS);
  t.same(ask("h", "2001:db8::4:5:6", 4n), ["connected"], "it is given back");
});

test("who is not there is not found; a name of another key than expected is refused", (t) => {
  const kit = new Kit();
  const connector = kit.connector();
  const agent = kit.join("agent", AGENT, "8.8.8.8");
  kit.say(agent, connect(1n, "nobody"));
  kit.say(agent, connect(2n, STRANGER));
  kit.say(agent, connect(3n, "office", STRANGER));
  kit.say(agent, connect(4n, "office", CONNECTOR));
  t.same(kit.types(agent), ["error:not-found", "error:not-found", "error:peer-changed", "connected"]);
  t.equal(kit.rendezvous.sessionCounts().total, 1);
  kit.got(connector);
  kit.leave(connector);
  kit.say(agent, connect(5n));
  t.same(kit.types(agent), ["error:not-found"], "a registration goes with its connection");
  t.equal(kit.rendezvous.registrations().length, 0);
});

test("a name belongs to the key that took it first; a malformed one to nobody", (t) => {
  const kit = new Kit();
  kit.connector();
  const other = kit.join("connector", STRANGER, "7.7.7.7");
  kit.say(other, { type: "register", requestId: 5n, name: "office" });
  t.same(kit.got(other), [
    {
      type: "error",
      code: "name-taken",
      message: 'the name "office" belongs to another key; choose another one, or ask the operator',
      sessionId: null,
      requestId: 5n,
    },
  ]);
  for (const name of ["", "Office", "a b", "x".repeat(41), "ä"]) {
    kit.say(other, { type: "register", requestId: 6n, name });
    t.same(kit.types(other), ["error:bad-message"], name);
  }
  kit.say(other, { type: "register", requestId: 7n, name: "attic" });
  kit.say(other, { type: "register", requestId: 8n, name: "cellar" });
  t.same(kit.types(other), ["registered", "registered"]);
  t.same(
    kit.rendezvous
      .registrations()
      .map(({ name }) => name)
      .sort(),
    ["cellar", "office"],
    "one name per connector",
  );
});

test("the same key registering anew wins; the older connection is told `replaced`, its sessions move", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  const newer = kit.connector(CONNECTOR, "office", "9.9.9.10");
  t.same(kit.replaced, [connector]);
  t.same(kit.types(newer), ["registered"]);
  t.same(kit.types(agent), ["session-end"], "a hint: it may be a new process");
  kit.say(agent, offer(7n, "8.8.8.8"));
  t.same(kit.types(newer), ["candidate-offer"]);
  t.ok(kit.rendezvous.isSessionPeer(AGENT, "9.9.9.10"));
  t.notOk(kit.rendezvous.isSessionPeer(AGENT, "9.9.9.9"));
  kit.leave(connector); // the old connection's end, when it comes, takes nothing away
  t.equal(kit.rendezvous.registrations().length, 1);
  kit.say(agent, connect(8n));
  t.same(kit.types(agent), ["connected"]);
});

test("offer, answer, candidates, restarts and reports are passed to the other party unchanged", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  const both: readonly SessionMessage[] = [
    { type: "candidate", sessionId: 7n, ufrag: "agnt", candidate: candidate("1.2.3.4") },
    { type: "candidate", sessionId: 7n, ufrag: "agnt", candidate: null },
    { type: "restart", sessionId: 7n, ice: ice("next"), candidates: [], answer: false },
    { type: "path-report", sessionId: 7n, path: "relay", alive: false, silentMs: 400 },
  ];
  for (const [from, to, messages] of [
    [agent, connector, [offer(7n, "8.8.8.8"), ...both]],
    [connector, agent, both],
  ] as const) {
    for (const message of messages) {
      kit.say(from, message);
      t.same(kit.got(to), [message]);
      t.same(kit.got(from), []);
    }
  }
});

test("only the two parties may speak of a session", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  const stranger = kit.join("agent", STRANGER, "6.6.6.6");
  const listener = kit.connector(STRANGER, "attic", "6.6.6.6");
  // The connector's key in the agent's role is no party either.
  const turncoat = kit.join("agent", CONNECTOR, "9.9.9.9");
  kit.got(listener);
  for (const intruder of [stranger, listener, turncoat]) {
    kit.say(intruder, { type: "candidate", sessionId: 7n, ufrag: "agnt", candidate: candidate("6.6.6.6") });
    t.same(kit.types(intruder), ["error:unknown-session"]);
    kit.say(intruder, { type: "restart", sessionId: 7n, ice: ice("evil"), candidates: [], answer: true });
    t.same(kit.types(intruder), ["error:unknown-session"]);
    kit.say(intruder, { type: "punching-result", sessionId: 7n, outcome: "direct", detail: "" });
    kit.say(intruder, { type: "session-end", sessionId: 7n, reason: "x" });
    kit.say(intruder, { type: "error", code: "internal", message: "x", sessionId: 7n, requestId: null });
    t.same(kit.types(intruder), []);
  }
  kit.say(stranger, connect(7n));
  t.same(kit.types(stranger), ["error:unexpected-message"], "a session id in use cannot be taken over");
  t.same(kit.types(agent), []);
  t.same(kit.types(connector), []);
  t.same(kit.rendezvous.sessionCounts(), { total: 1, direct: 0, relayed: 0, failed: 0, active: 1 });
});

test("an answer starts punching on both sides at one moment: T minus half of each side's round trip", (t) => {
  const cases: readonly (readonly [number, number, number, number])[] = [
    // rtt of the agent, of the connector, then each one's delay
    [0, 0, 0, 0],
    [100, 40, 0, 30],
    [40, 100, 30, 0],
    [5000, 10, 0, 1000],
  ];
  for (const [agentRtt, connectorRtt, agentDelay, connectorDelay] of cases) {
    const kit = new Kit();
    const { agent, connector } = introduced(kit);
    kit.rendezvous.handleRtt(agent, agentRtt);
    kit.rendezvous.handleRtt(connector, connectorRtt);
    kit.say(agent, offer(7n, "8.8.8.8"));
    kit.say(agent, { type: "candidate", sessionId: 7n, ufrag: "agnt", candidate: candidate("8.8.4.4") });
    kit.say(agent, { type: "candidate", sessionId: 7n, ufrag: "old!", candidate: candidate("1.1.1.1") });
    kit.got(connector);
    kit.say(connector, answer(7n, "9.9.9.9"));
    const toAgent = kit.got(agent);
    const [toConnector] = kit.got(connector);
    t.same(
      toAgent.map(({ type }) => type),
      ["candidate-answer", "start-punching"],
      "the answer goes first",
    );
    const punch = toAgent[1];
    if (punch?.type !== "start-punching" || toConnector?.type !== "start-punching") return t.fail("no start-punching");
    t.equal(punch.targetTimeMs, agentDelay);
    t.equal(toConnector.targetTimeMs, connectorDelay);
    t.same(
      punch.peerCandidates.map(({ address }) => address.ip),
      ["9.9.9.9"],
    );
    t.same(
      toConnector.peerCandidates.map(({ address }) => address.ip),
      ["8.8.8.8", "8.8.4.4"],
    );
  }
});

test("a restart's answer starts punching again, with the new generation's candidates", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  kit.say(agent, offer(7n, "8.8.8.8"));
  kit.say(connector, answer(7n, "9.9.9.9"));
  kit.say(agent, {
    type: "restart",
    sessionId: 7n,
    ice: ice("nw01"),
    candidates: [candidate("8.8.1.1")],
    answer: false,
  });
  kit.got(agent);
  kit.got(connector);
  kit.say(connector, { type: "restart", sessionId: 7n, ice: ice("nw02"), candidates: [], answer: true });
  t.same(kit.types(agent), ["restart", "start-punching"]);
  const [punch] = kit.got(connector);
  if (punch?.type !== "start-punching") return t.fail("no start-punching");
  t.same(
    punch.peerCandidates.map(({ address }) => address.ip),
    ["8.8.1.1"],
  );
});

test("results are counted once per session, the last one, the agent's before the connector's", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  const result = (from: number, outcome: "direct" | "relay" | "failed") =>
    kit.say(from, { type: "punching-result", sessionId: 7n, outcome, detail: "" });
  const counts = () => {
    const { direct, relayed, failed } = kit.rendezvous.sessionCounts();
    return [direct, relayed, failed];
  };
  result(connector, "relay");
  t.same(counts(), [0, 1, 0]);
  result(agent, "relay");
  t.same(counts(), [0, 1, 0]);
  result(agent, "direct");
  t.same(counts(), [1, 0, 0]);
  result(connector, "failed");
  t.same(counts(), [1, 0, 0]);
  kit.say(agent, { type: "session-end", sessionId: 7n, reason: "done" });
  t.same(kit.rendezvous.sessionCounts(), { total: 1, direct: 1, relayed: 0, failed: 0, active: 0 });
  t.same(kit.types(agent), []);
  t.same(kit.got(connector), [{ type: "session-end", sessionId: 7n, reason: "done" }]);
});

test("an Error about a session reaches the other party and ends the session", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  kit.say(connector, { type: "error", code: "not-allowed", message: "no", sessionId: 7n, requestId: 9n });
  t.same(kit.got(agent), [{ type: "error", code: "not-allowed", message: "no", sessionId: 7n, requestId: null }]);
  t.equal(kit.rendezvous.sessionCounts().active, 0);
  t.notOk(kit.rendezvous.isSessionPeer(AGENT, "9.9.9.9"));
});

test("a session lets its parties reach each other's observed addresses, follows them, and ends with that", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  const reach = () => [
    kit.rendezvous.isSessionPeer(AGENT, "9.9.9.9"),
    kit.rendezvous.isSessionPeer(CONNECTOR, "8.8.8.8"),
    kit.rendezvous.isSessionPeer(CONNECTOR, "5.5.5.5"),
  ];
  t.same(reach(), [true, true, false]);
  t.notOk(kit.rendezvous.isSessionPeer(STRANGER, "9.9.9.9"));
  t.notOk(kit.rendezvous.isSessionPeer(AGENT, "8.8.8.8"), "one's own address is not the other's");
  let seen = kit.changes;
  kit.rendezvous.handleObserved(agent, at("8.8.8.8", 2222));
  t.equal(kit.changes, seen, "another port of the same address changes nothing");
  kit.rendezvous.handleObserved(agent, at("5.5.5.5"));
  t.ok(kit.changes > seen);
  t.same(reach(), [true, false, true]);
  kit.say(agent, connect(8n));
  kit.say(connector, { type: "session-end", sessionId: 7n, reason: "x" });
  t.same(reach(), [true, false, true], "the other session still does");
  seen = kit.changes;
  kit.say(connector, { type: "session-end", sessionId: 8n, reason: "x" });
  t.equal(kit.rendezvous.sessionCounts().active, 0);
  t.same(reach(), [true, false, true], "its last packets may still be under way");
  kit.advance(FAREWELL_MS);
  t.ok(kit.changes > seen);
  t.same(reach(), [false, false, false]);
});

test("a session outlives a broken connection for ten minutes, and goes on over the next one", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  kit.leave(agent);
  kit.say(connector, { type: "path-report", sessionId: 7n, path: "relay", alive: true, silentMs: 0 });
  t.equal(kit.rendezvous.counters.get("absent-peer"), 1);
  t.same(kit.types(connector), [], "and nothing is said about it");
  kit.advance(ABSENCE_LIMIT_MS - 1);
  t.ok(kit.rendezvous.isSessionPeer(CONNECTOR, "8.8.8.8"), "the relay lets it pass meanwhile");
  const back = kit.join("agent", AGENT, "5.5.5.5");
  t.ok(kit.rendezvous.isSessionPeer(CONNECTOR, "5.5.5.5"));
  t.notOk(kit.rendezvous.isSessionPeer(CONNECTOR, "8.8.8.8"));
  kit.say(connector, { type: "path-report", sessionId: 7n, path: "relay", alive: true, silentMs: 0 });
  t.same(kit.types(back), ["path-report"]);
  t.same(kit.types(connector), ["session-end"], "a hint: it may be a new process");
  kit.advance(ABSENCE_LIMIT_MS * 2);
  t.equal(kit.rendezvous.sessionCounts().active, 1);

  kit.leave(back);
  for (let i = 0; i < 200; i++) kit.advance(5_000);
  t.equal(kit.rendezvous.sessionCounts().active, 0);
  t.notOk(kit.rendezvous.isSessionPeer(CONNECTOR, "5.5.5.5"));
  t.same(kit.types(connector), [], "the other party is not told: between the two it may go on");
  t.equal(kit.rendezvous.pollTimeout(), null, "and no timer is left");
});

test("Connect with the id of one's own standing session introduces both again", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  kit.leave(agent);
  const back = kit.join("agent", AGENT, "5.5.5.5");
  kit.say(back, connect(7n));
  t.same(kit.types(back), ["connected"]);
  const [hint, ...rest] = kit.got(connector);
  t.equal(hint?.type, "session-end");
  t.same(rest, [{ type: "incoming", sessionId: 7n, peerId: AGENT, peerObserved: at("5.5.5.5") }]);
  t.equal(kit.rendezvous.sessionCounts().total, 1);
});

test("Goodbye ends a client's sessions at once, and only those of that connection", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  const second = kit.join("agent", AGENT, "8.8.8.9");
  kit.say(second, connect(8n));
  kit.got(connector);
  kit.leave(agent, "goodbye");
  t.same(kit.got(connector), [
    { type: "session-end", sessionId: 7n, reason: "the agent said goodbye to the intermediate" },
  ]);
  t.equal(kit.rendezvous.sessionCounts().active, 1);
});

test("an agent has 64 sessions at most; what its dead processes left behind makes way", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  for (let id = 100n; id < 100n + BigInt(DEFAULT_LIMITS.sessionsPerKey - 1); id++) kit.say(agent, connect(id));
  kit.got(agent);
  kit.say(agent, connect(999n));
  t.same(kit.types(agent), ["error:too-many"]);
  kit.leave(agent);
  const restarted = kit.join("agent", AGENT, "8.8.8.8");
  // One of them is spoken of again, so it lives; the oldest of the others goes.
  kit.say(restarted, { type: "candidate", sessionId: 7n, ufrag: "agnt", candidate: null });
  kit.got(restarted);
  kit.say(restarted, connect(999n));
  t.same(kit.types(restarted), ["connected"]);
  kit.got(connector);
  const alive = (sessionId: bigint) => {
    kit.say(connector, { type: "path-report", sessionId, path: "direct", alive: true, silentMs: 0 });
    return kit.types(connector).length === 0;
  };
  t.ok(alive(7n));
  t.notOk(alive(100n));
  t.ok(alive(101n));
});

test("a key does not connect to itself", (t) => {
  const kit = new Kit();
  introduced(kit);
  const self = kit.join("agent", CONNECTOR, "9.9.9.9");
  kit.say(self, connect(9n));
  t.same(kit.types(self), ["error:not-allowed"]);
});

test("10,000 messages at random between 12 clients: no throw, and the books balance when all have left", (t: T) => {
  const kit = new Kit();
  let state = 12345;
  const pick = (n: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % n;
  };
  const keys = [AGENT, CONNECTOR, STRANGER, "d".repeat(52)];
  const clients: { id: number; role: "agent" | "connector" }[] = [];
  for (let i = 0; i < 10_000; i++) {
    if (clients.length < 12) {
      const role = pick(2) ? "agent" : "connector";
      clients.push({ id: kit.join(role, keys[pick(4)] as string, `9.9.9.${pick(20)}`), role });
    }
    const index = pick(clients.length);
    const client = clients[index];
    if (!client) continue;
    const sessionId = BigInt(pick(30));
    const messages: SessionMessage[] = [
      client.role === "agent"
        ? connect(sessionId, pick(2) ? "office" : (keys[pick(4)] as string))
        : answer(sessionId, "1.1.1.1"),
      client.role === "agent"
        ? offer(sessionId, "2.2.2.2")
        : { type: "register", requestId: 1n, name: pick(2) ? "office" : "attic" },
      { type: "session-end", sessionId, reason: "x" },
      { type: "punching-result", sessionId, outcome: pick(2) ? "direct" : "relay", detail: "" },
      { type: "restart", sessionId, ice: ice("rrrr"), candidates: [], answer: pick(2) === 1 },
      { type: "error", code: "internal", message: "", sessionId, requestId: null },
    ];
    if (pick(40) === 0) {
      clients.splice(index, 1);
      kit.leave(client.id, pick(2) ? "broken" : "goodbye");
    } else kit.say(client.id, messages[pick(messages.length)] as SessionMessage);
    if (pick(10) === 0) kit.rendezvous.handleObserved(client.id, at(`9.9.8.${pick(20)}`));
    kit.advance(pick(2000));
  }
  const { total, direct, relayed, failed } = kit.rendezvous.sessionCounts();
  t.ok(total > 100 && direct > 0 && relayed > 0, `${total} sessions`);
  t.ok(direct + relayed + failed <= total);
  for (const { id } of clients) kit.leave(id, "goodbye");
  for (let i = 0; i < 300; i++) kit.advance(5_000);
  t.equal(kit.rendezvous.sessionCounts().active, 0);
  t.equal(kit.rendezvous.registrations().length, 0);
  for (const key of keys) {
    for (let i = 0; i < 20; i++) {
      t.notOk(kit.rendezvous.isSessionPeer(key, `9.9.9.${i}`) || kit.rendezvous.isSessionPeer(key, `9.9.8.${i}`));
    }
  }
});

test("a name stays its key's while nobody holds it, and after the others have tried", (t) => {
  const kit = new Kit();
  kit.leave(kit.connector());
  const thief = kit.connector(STRANGER, "office", "7.7.7.7");
  t.same(kit.types(thief), ["error:name-taken"]);
  t.equal(kit.rendezvous.registrations().length, 0);
  t.same(kit.types(kit.connector()), ["registered"]);
  t.equal(kit.rendezvous.counters.get("name-taken"), 1);
});

test("a name that an operator gives away is lost at once; one that is released is free", (t) => {
  const kit = new Kit();
  const office = kit.connector();
  const attic = kit.connector(STRANGER, "attic", "7.7.7.7");
  kit.got(office);
  kit.got(attic);
  kit.names.transfer("office", STRANGER, 0);
  kit.rendezvous.handleNamesChanged();
  kit.settle();
  t.same(kit.types(office), ["error:name-taken"], "without a request id: the connection ends, and tries anew");
  t.same(kit.types(attic), [], "others do not notice");
  t.same(
    kit.rendezvous.registrations().map(({ name }) => name),
    ["attic"],
  );
  kit.names.release("office");
  t.same(kit.types(kit.connector()), ["registered"]);
});

test("names that cannot be stored: the client is told, nothing else stops", (t) => {
  const kit = new Kit();
  const office = kit.connector();
  const agent = kit.join("agent", AGENT, "8.8.8.8");
  kit.got(office);
  kit.names.take = () => {
    throw new NameStoreError("disk-full", "no room");
  };
  t.same(kit.types(kit.connector(STRANGER, "attic", "7.7.7.7")), ["error:internal"]);
  t.equal(kit.rendezvous.counters.get("names-unavailable"), 1);
  kit.names.ownerOf = () => {
    throw new NameStoreError("damaged", "no sense");
  };
  kit.rendezvous.handleNamesChanged();
  kit.settle();
  kit.say(agent, connect(1n));
  t.same(kit.types(agent), ["connected"], "who is registered stays so");
});

test("the policy decides who registers and who connects; one that is read anew drops nobody and counts at once", (t) => {
  const kit = new Kit();
  const office = kit.connector();
  const agent = kit.join("agent", AGENT, "8.8.8.8");
  kit.say(agent, connect(1n));
  kit.got(agent);
  kit.got(office);
  kit.policy = parsePolicy("test", { connect: [], register: [] });
  t.equal(kit.rendezvous.registrations().length, 1);
  t.equal(kit.rendezvous.sessionCounts().active, 1);
  kit.say(agent, { ...offer(1n, "8.8.8.8") });
  t.same(kit.types(office), ["candidate-offer"], "a session that stands goes on");
  kit.say(agent, connect(2n));
  const [refusal] = kit.got(agent);
  t.ok(
    refusal?.type === "error" && refusal.code === "not-allowed" && refusal.message.includes(AGENT),
    "it names the key",
  );
  t.same(kit.types(kit.connector(STRANGER, "attic")), ["error:not-allowed"]);
  kit.policy = parsePolicy("test", { register: [] });
  kit.say(agent, connect(3n));
  t.same(kit.types(agent), ["error:not-allowed"], "nobody is led to a name that its key may not have any more");
  t.same([kit.rendezvous.counters.get("policy-connect"), kit.rendezvous.counters.get("policy-register")], [2, 1]);
});

test("registrations are charged to the key, whatever connection they come over", (t) => {
  const kit = new Kit();
  kit.limits = { ...DEFAULT_LIMITS, registrationsPerMinute: 3 };
  for (let i = 0; i < 3; i++) kit.leave(kit.connector());
  const fourth = kit.connector(CONNECTOR, "office", "203.0.113.9");
  t.same(kit.types(fourth), ["error:too-many"], "a new connection and another address do not help");
  t.same(kit.types(kit.connector(STRANGER, "attic")), ["registered"]);
  kit.advance(20_000);
  t.same(kit.types(kit.connector()), ["registered"]);
});

test("new names are bounded per address, across keys", (t) => {
  const kit = new Kit();
  kit.limits = { ...DEFAULT_LIMITS, newNamesPerIpPerHour: 2 };
  const from = (ip: string, i: number) => kit.types(kit.connector(String(i).repeat(52), `name-${i}`, ip));
  t.same([from("7.7.7.7", 1), from("7.7.7.7", 2), from("7.7.7.7", 3)].flat(), [
    "registered",
    "registered",
    "error:too-many",
  ]);
  t.same(from("7.7.7.8", 4), ["registered"]);
});

test("while it drains nobody registers and nothing is introduced; what stands is served", (t) => {
  const kit = new Kit();
  const { agent, connector } = introduced(kit);
  kit.rendezvous.drain();
  kit.say(agent, connect(99n));
  t.same(kit.types(agent), ["error:internal"]);
  t.same(kit.types(kit.connector(STRANGER, "attic")), ["error:internal"]);
  kit.say(agent, offer(7n, "8.8.8.8"));
  t.same(kit.types(connector), ["candidate-offer"]);
  t.equal(kit.rendezvous.counters.get("draining"), 2);
});
