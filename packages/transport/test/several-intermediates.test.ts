import { nullLogger } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Identity } from "@adit/quic";
import { type Endpoint, type EndpointOptions, startEndpoint } from "../src/index.ts";
import { FakeIntermediate } from "./fake-intermediate.ts";

interface World {
  readonly first: FakeIntermediate;
  readonly second: FakeIntermediate;
  readonly start: (role: "agent" | "connector", changes?: Partial<EndpointOptions>) => Promise<Endpoint>;
}

async function world(t: T): Promise<World> {
  const [first, second] = [await FakeIntermediate.start(), await FakeIntermediate.start()];
  t.teardown(() => {
    first.close();
    second.close();
  });
  const intermediate = [first, second].map(at);
  const start: World["start"] = async (role, changes = {}) => {
    const endpoint = await startEndpoint({
      role,
      identity: Identity.generate(),
      ...(role === "connector" ? { name: "office", admit: () => true } : {}),
      bind: { ip: role === "connector" ? "127.0.0.3" : "127.0.0.2", port: 0 },
      intermediate,
      checkIntermediate: () => null,
      log: nullLogger,
      ...changes,
    });
    t.teardown(() => endpoint.close("test over"));
    return endpoint;
  };
  return { first, second, start };
}

const at = ({ address }: FakeIntermediate) => ({ host: "127.0.0.1", port: address.port });

async function connectedTo(endpoint: Endpoint, count: number): Promise<void> {
  while (endpoint.status().intermediates.filter(({ connected }) => connected).length < count) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const ask = { target: "office", service: "any", waitMs: 5_000 };

test("a program is at all its intermediates; the first of them is the one in use", async (t) => {
  const { first, second, start } = await world(t);
  const connector = await start("connector");
  await connectedTo(connector, 2);
  const status = connector.status();
  t.same(
    status.intermediates.map(({ address, connected, transport }) => ({ address, connected, transport })),
    [first, second].map(({ address }) => ({ address: address.key, connected: true, transport: "quic" })),
  );
  t.equal(status.intermediate.address, first.address.key);
  t.equal(status.udpReach, "open");
  first.close();
  while (connector.status().intermediate.address !== second.address.key) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
});

test("a session is introduced at both, and both sides have one of it", async (t) => {
  const { first, second, start } = await world(t);
  const connector = await start("connector");
  const agent = await start("agent");
  await connectedTo(connector, 2);
  await connectedTo(agent, 2);
  const session = await agent.connect(ask);
  for (const { log } of [first, second]) t.ok(log.includes("connect"), `connect in ${log.join(" ")}`);
  t.equal(session.status().handshakes, 1);
  t.equal(connector.status().sessions.length, 1);
});

test("a connector that only the second intermediate knows is found there", async (t) => {
  const { second, start } = await world(t);
  const connector = await start("connector", { intermediate: at(second) });
  await connector.waitRegistered();
  const agent = await start("agent");
  await connectedTo(agent, 2);
  const session = await agent.connect(ask);
  t.equal(session.peer.id, connector.peerId);
});

test("an intermediate that is not there holds nobody up", async (t) => {
  const { first, second, start } = await world(t);
  first.close();
  const connector = await start("connector");
  await connector.waitRegistered();
  const agent = await start("agent");
  const session = await agent.connect(ask);
  t.equal(session.peer.id, connector.peerId);
  t.equal(agent.status().intermediate.address, second.address.key);
});

test("a name that no intermediate knows is not found, and both were asked", async (t) => {
  const { first, second, start } = await world(t);
  const agent = await start("agent");
  await connectedTo(agent, 2);
  await t.rejects(agent.connect({ ...ask, target: "nowhere", waitMs: 100 }), { code: "not-found" });
  t.same([first.log.includes("connect"), second.log.includes("connect")], [true, true]);
});

test("what the connector refuses is refused at once, whoever brings the word", async (t) => {
  const { start } = await world(t);
  const connector = await start("connector", { admit: () => false });
  const agent = await start("agent");
  await connectedTo(connector, 2);
  await connectedTo(agent, 2);
  await t.rejects(agent.connect(ask), { code: "not-allowed" });
});

test("a session that stands is introduced to an intermediate that comes later", async (t) => {
  const { second, start } = await world(t);
  const connector = await start("connector");
  await connectedTo(connector, 2);
  // The second one is out of the agent's sight at first.
  const later = await FakeIntermediate.start();
  const port = later.address.port;
  later.close();
  const agent = await start("agent", { intermediate: [at(second), { host: "127.0.0.1", port }] });
  const session = await agent.connect(ask);
  const back = await FakeIntermediate.start("127.0.0.1", port);
  t.teardown(() => back.close());
  while (!back.log.includes("connect")) await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(session.status().handshakes, 1);
});

test("a connector answers a standing session where it is announced later: until then nothing leads to it there", async (t) => {
  const { second, start } = await world(t);
  const later = await FakeIntermediate.start();
  const port = later.address.port;
  later.close();
  const intermediate = [at(second), { host: "127.0.0.1", port }];
  const connector = await start("connector", { intermediate });
  await connector.waitRegistered();
  const agent = await start("agent", { intermediate });
  const session = await agent.connect(ask);
  const back = await FakeIntermediate.start("127.0.0.1", port);
  t.teardown(() => back.close());
  while (!back.log.includes("candidate-answer")) await new Promise((resolve) => setTimeout(resolve, 5));
  t.notOk(back.log.includes("candidate-offer"), "the agent says Connect alone");
  t.equal(session.status().handshakes, 1);
});

test("the session goes on, and others begin, when one of two intermediates is gone", async (t) => {
  const { first, start } = await world(t);
  const connector = await start("connector");
  const agent = await start("agent");
  await connectedTo(connector, 2);
  await connectedTo(agent, 2);
  const session = await agent.connect(ask);
  first.close();
  t.ok((await session.ping()) >= 0);
  const another = await agent.connect(ask);
  t.ok((await another.ping()) >= 0);
  t.equal(session.status().handshakes, 1);
});

test("one that does not have the expected key is left alone; the other one serves", async (t) => {
  const { first, second, start } = await world(t);
  const wrong = first.address.key;
  const connector = await start("connector", {
    checkIntermediate: (_peerId, address) => (address === wrong ? "another key than before" : null),
  });
  let stopped = false;
  connector.onStopped = () => {
    stopped = true;
  };
  await connector.waitRegistered();
  t.same([connector.status().intermediate.address, stopped], [second.address.key, false]);
});

test("when all refuse for good, the first one's words are told", async (t) => {
  const { start } = await world(t);
  const agent = await start("agent", { checkIntermediate: (_peerId, address) => `not ${address}` });
  await t.rejects(agent.waitRegistered(), { code: "intermediate-changed", message: /^not 127\.0\.0\.1:/ });
});
