import { type T, test } from "@adit/harness";
import { Identity, QuicConnection } from "@adit/quic";
import {
  canSendUnfragmented,
  type EndpointOptions,
  issueTicket,
  type PeerSession,
  readTicket,
  type Ticket,
} from "../src/index.ts";
import { echo, exchange, type Net, startNet } from "./support/endpoints.ts";

/** The connector echoes. */
const network = (t: T, changes: Partial<EndpointOptions> = {}): Promise<Net> =>
  startNet(t, {
    onService: (request) => {
      if (request.name === "echo") void request.accept().then(echo);
      else void request.refuse("service-unknown", `there is no service "${request.name}" here`);
    },
    ...changes,
  });

test("two endpoints meet through an intermediate without a relay, and bytes go both ways directly", async (t) => {
  const { agent, connector } = await network(t);
  const session = await agent.connect({ target: "office", service: "echo", waitMs: 5_000 });
  const stream = await session.openService("echo");
  t.equal(await exchange(stream, "hello"), "hello");
  const status = session.status();
  t.equal(status.path, "direct");
  t.equal(status.localType, "host");
  t.equal(status.remoteType, "host");
  t.equal(status.handshakes, 1);
  t.equal(status.peer.id, connector.peerId);
  t.equal(status.peer.name, "office");
  t.ok((await session.ping()) >= 0);
  t.equal(connector.status().sessions[0]?.peer.id, agent.peerId);
  // What every path carries; more is proved behind it, where datagrams can be kept in one piece.
  const largest = (await canSendUnfragmented()) ? 1472 : 1200;
  while (session.status().datagramBytes !== largest) await new Promise((resolve) => setTimeout(resolve, 5));
});

test("a service that does not exist is refused with the connector's words", async (t) => {
  const { agent } = await network(t);
  const session = await agent.connect({ target: "office", service: "nosuch", waitMs: 5_000 });
  await t.rejects(session.openService("nosuch"), { code: "service-unknown", message: /"?there is no service/ });
  t.equal(await exchange(await session.openService("echo"), "still here"), "still here");
});

test("an agent that is not allowed is told so before any packet is sent to it", async (t) => {
  const { agent } = await network(t, { admit: () => false });
  await t.rejects(agent.connect({ target: "office", service: "echo", waitMs: 2_000 }), {
    code: "not-allowed",
    message: new RegExp(`--allow ${agent.peerId}`),
  });
});

test("a ticket lets in whom no list names, to the services that it opens, until it expires", async (t) => {
  const identity = Identity.generate();
  const { agent, intermediate } = await network(t, { identity, admit: () => false });
  const ticket = (services: readonly string[], expiresInS: number) =>
    readTicket(
      issueTicket(identity, {
        intermediate: { peerId: intermediate.identity.peerId, host: "127.0.0.1", port: intermediate.address.port },
        services,
        expiresAtS: Date.now() / 1000 + expiresInS,
      }),
    );
  const connect = (service: string, of: Ticket) =>
    agent.connect({ target: "office", expectedPeer: identity.peerId, service, ticket: of, waitMs: 5_000 });

  const session = await connect("echo", ticket(["echo"], 60));
  t.equal(await exchange(await session.openService("echo"), "hello"), "hello");
  await t.rejects(session.openService("other"), {
    code: "service-unknown",
    message: /the ticket does not open other; it opens echo/,
  });
  session.close();
  await t.rejects(connect("other", ticket(["echo"], 60)), { message: /does not open other/ });
  await t.rejects(connect("echo", ticket([], -1)), { code: "not-allowed", message: /the ticket has expired/ });
  const foreign = { ...ticket([], 60), claim: readTicket(issueTicket(Identity.generate(), ticket([], 60))).claim };
  await t.rejects(connect("echo", foreign), { code: "not-allowed", message: /signed by another connector/ });
});

test("a service opens at once while another stream of the session sends all it can", async (t) => {
  const { agent } = await network(t);
  const session = await agent.connect({ target: "office", service: "echo", waitMs: 5_000 });
  const busy = await session.openService("echo");
  const chunk = new Uint8Array(65_536);
  const pour = (): void => {
    try {
      while (busy.write(chunk) > 0);
    } catch {
      // the session was closed at the end of the test
    }
  };
  busy.onWritable = pour;
  busy.onReadable = () => {
    while (typeof busy.read(chunk) === "number");
  };
  pour();
  for (let i = 0; i < 20; i++) t.equal(await exchange(await session.openService("echo"), `number ${i}`), `number ${i}`);
});

test("an unknown name is asked for again until the wait is over", async (t) => {
  const { agent } = await network(t);
  const before = performance.now();
  await t.rejects(agent.connect({ target: "nowhere", service: "echo", waitMs: 1_200 }), { code: "not-found" });
  t.ok(performance.now() - before > 500);
});

test("a name that leads to another key than the pinned one is refused", async (t) => {
  const { agent } = await network(t);
  const expectedPeer = Identity.generate().peerId;
  await t.rejects(agent.connect({ target: "office", service: "echo", waitMs: 2_000, expectedPeer }), {
    code: "peer-changed",
  });
});

test("the session goes on when the intermediate is gone", async (t) => {
  const { agent, intermediate } = await network(t);
  const session = await agent.connect({ target: "office", service: "echo", waitMs: 5_000 });
  intermediate.close();
  t.equal(await exchange(await session.openService("echo"), "alone"), "alone");
});

test("closing a session tells the other side, and its streams end", async (t) => {
  const { agent, connector } = await network(t);
  const session = await agent.connect({ target: "office", service: "echo", waitMs: 5_000 });
  const stream = await session.openService("echo");
  session.close("enough");
  t.equal((await session.closed).reason, "enough");
  await t.rejects(async () => {
    for (;;)
      await new Promise((resolve, reject) =>
        stream.read(new Uint8Array(1)) === "end" ? reject(new Error()) : setImmediate(resolve),
      );
  });
  while (connector.status().sessions.length > 0) await new Promise((resolve) => setImmediate(resolve));
});

test("the totals of an endpoint hold what ended sessions did", async (t) => {
  const { agent, connector } = await network(t);
  const session = await agent.connect({ target: "office", service: "echo", waitMs: 5_000 });
  t.equal(await exchange(await session.openService("echo"), "12345"), "12345");
  const { sentBytes, receivedBytes, sessions } = agent.status().totals;
  t.same({ sentBytes, receivedBytes, sessions }, { sentBytes: 5, receivedBytes: 5, sessions: 1 });
  session.close("enough");
  while (connector.status().sessions.length > 0) await new Promise((resolve) => setImmediate(resolve));
  const again = await agent.connect({ target: "office", service: "echo", waitMs: 5_000 });
  t.equal(await exchange(await again.openService("echo"), "123"), "123");
  for (const { totals } of [agent.status(), connector.status()]) {
    t.equal(totals.sessions, 2);
    t.equal(totals.handshakes, 2);
    t.same([totals.sentBytes, totals.receivedBytes], [8, 8]);
    t.ok(totals.packetsSent > 10);
    t.ok(totals.packetsReceived > 10);
  }
});

test("fifty sessions share one socket on each side", async (t) => {
  const { agent, connector } = await network(t);
  const sessions: PeerSession[] = [];
  // Ten at a time: an attempt has 5 s, which fifty handshakes at once may need on a machine with other work.
  while (sessions.length < 50) {
    const ten = Array.from({ length: 10 }, () => agent.connect({ target: "office", service: "echo", waitMs: 5_000 }));
    sessions.push(...(await Promise.all(ten)));
  }
  const answers = await Promise.all(
    sessions.map(async (session, i) => exchange(await session.openService("echo"), `session ${i}`)),
  );
  t.same(
    answers,
    sessions.map((_, i) => `session ${i}`),
  );
  t.equal(agent.localAddresses.length, 1);
  t.equal(connector.localAddresses.length, 1);
});

test("both sides' connections are told the round trip of the path that carries them", async (t) => {
  const { prototype } = QuicConnection;
  const own = Object.getOwnPropertyDescriptor(prototype, "roundTripMs");
  const told = new Map<string, number | null>();
  Object.defineProperty(prototype, "roundTripMs", {
    configurable: true,
    set(this: QuicConnection, rttMs: number | null) {
      told.set(this.role, rttMs);
      own?.set?.call(this, rttMs);
    },
  });
  try {
    const { agent, connector } = await network(t);
    const session = await agent.connect({ target: "office", service: "echo", waitMs: 5_000 });
    t.equal(await exchange(await session.openService("echo"), "hello"), "hello");
    const sides = [
      ["client", () => session.status()],
      ["server", () => connector.status().sessions[0]],
    ] as const;
    for (const [role, status] of sides) {
      while (typeof told.get(role) !== "number") await new Promise((resolve) => setTimeout(resolve, 5));
      // The status rounds it.
      const agrees = () => Math.abs((told.get(role) ?? Number.NaN) - (status()?.rttMs ?? Number.NaN)) < 0.1;
      while (!agrees()) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    t.same([...told.keys()].sort(), ["client", "server"]);
  } finally {
    if (own) Object.defineProperty(prototype, "roundTripMs", own);
  }
});
