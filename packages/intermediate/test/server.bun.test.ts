import {
  type Millis,
  monotonicClock,
  nullLogger,
  SocketAddress,
  seededRandom,
  systemRandom,
  toHex,
  utf8,
} from "@adit/core";
import { type T, test } from "@adit/harness";
import {
  decodeStun,
  getXorAddress,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StunBuilder,
  TurnClient,
  type TurnEvent,
} from "@adit/ice";
import { Identity } from "@adit/quic";
import { bindUdp, Driver, type DriverComponent, type Incoming, startEndpoint, type UdpSocket } from "@adit/transport";
import { Intermediate, type IntermediateOptions } from "../src/server.ts";

const LOOPBACK = SocketAddress.of("127.0.0.1", 0);
const USER = { name: "alice", password: "secret-of-alice" };

async function startIntermediate(t: T, o: Partial<IntermediateOptions> = {}): Promise<Intermediate> {
  const intermediate = await Intermediate.start({
    identity: Identity.generate(),
    listen: [LOOPBACK],
    stun: [LOOPBACK],
    relayPorts: { first: 20_000, last: 29_999 },
    allowPrivateRelay: true,
    realm: "adit",
    turnUsers: [USER],
    ...o,
  });
  t.teardown(() => intermediate.close());
  return intermediate;
}

/** The TURN client of packages/ice on a socket of its own. */
class Client implements DriverComponent {
  readonly driver: Driver;
  readonly turn: TurnClient;
  readonly received: { from: string; text: string; channel: boolean }[] = [];
  readonly events: TurnEvent[] = [];
  #outgoing: Uint8Array[] = [];

  private constructor(driver: Driver, turn: TurnClient) {
    this.driver = driver;
    this.turn = turn;
  }

  static async start(
    t: T,
    server: SocketAddress,
    credentials: { username: string; password: string },
  ): Promise<Client> {
    const driver = new Driver();
    t.teardown(() => driver.close());
    let client: Client | null = null;
    const socket = await driver.bind({
      address: LOOPBACK,
      receive: (now, _socket, batch) => {
        for (const { data } of batch) client?.receive(now, data);
      },
    });
    const turn = new TurnClient({ server, socket, relaySocket: 1000, random: systemRandom, ...credentials });
    client = new Client(driver, turn);
    turn.start(monotonicClock.now());
    driver.add(client);
    return client;
  }

  receive(now: Millis, data: Uint8Array): void {
    const relayed = this.turn.handleDatagram(now, data);
    if (!relayed) return;
    const text = new TextDecoder().decode(relayed.data);
    this.received.push({ from: relayed.peer.key, text, channel: ((data[0] ?? 0) & 0xc0) === 0x40 });
  }

  send(peer: SocketAddress, text: string): void {
    this.#outgoing.push(this.turn.send(peer, utf8(text)));
    this.driver.wake();
  }

  bind(peer: SocketAddress): void {
    this.turn.bindChannel(monotonicClock.now(), peer);
    this.driver.wake();
  }

  permit(ip: string): void {
    this.turn.addPermission(monotonicClock.now(), ip);
    this.driver.wake();
  }

  async event<K extends TurnEvent["type"]>(type: K): Promise<Extract<TurnEvent, { type: K }>> {
    await until(`the event ${type}`, () => this.events.some((event) => event.type === type));
    const at = this.events.findIndex((event) => event.type === type);
    return this.events.splice(at, 1)[0] as Extract<TurnEvent, { type: K }>;
  }

  handleTimeout(now: Millis): void {
    this.turn.handleTimeout(now);
  }

  pollTimeout() {
    return this.turn.pollTimeout();
  }

  pollTransmit() {
    const data = this.#outgoing.shift();
    return data ? { data, socket: this.turn.socket, to: this.turn.server } : this.turn.pollTransmit();
  }

  drain(): void {
    for (let event = this.turn.pollEvent(); event; event = this.turn.pollEvent()) this.events.push(event);
  }
}

async function startPeer(t: T): Promise<{ socket: UdpSocket; received: { from: SocketAddress; text: string }[] }> {
  const received: { from: SocketAddress; text: string }[] = [];
  const onBatch = (batch: readonly Incoming[]) => {
    for (const { data, from } of batch) received.push({ from, text: new TextDecoder().decode(data) });
  };
  const socket = await bindUdp({ address: SocketAddress.of("127.0.0.2", 0), handlers: { onBatch, onDrain: () => {} } });
  t.teardown(() => socket.close());
  return { socket, received };
}

async function until(what: string, done: () => boolean, timeoutMs = 5_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!done()) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const alice = { username: USER.name, password: USER.password };

test("our TURN client moves data both ways through real sockets: indications first, then ChannelData", async (t) => {
  const intermediate = await startIntermediate(t);
  const listeners = intermediate.driver.sockets.size;
  const client = await Client.start(t, intermediate.stunAddress, alice);
  const { relayed } = await client.event("allocated");
  t.equal(relayed.ip, "127.0.0.1");
  t.ok(relayed.port >= 20_000 && relayed.port <= 29_999);
  const peer = await startPeer(t);

  client.permit("127.0.0.2");
  t.ok((await client.event("permission")).ok);
  client.send(peer.socket.address, "by indication");
  await until("the indication", () => peer.received.length === 1);
  t.same(peer.received[0], { from: relayed, text: "by indication" });
  peer.socket.send([{ data: utf8("back"), to: relayed }]);
  await until("the answer", () => client.received.length === 1);
  t.same(client.received[0], { from: peer.socket.address.key, text: "back", channel: false });

  client.bind(peer.socket.address);
  t.ok((await client.event("channel")).ok);
  for (let i = 0; i < 200; i++) client.send(peer.socket.address, `out ${i}`);
  await until("200 out", () => peer.received.length === 201);
  t.equal(peer.received[200]?.text, "out 199");
  peer.socket.send(Array.from({ length: 200 }, (_, i) => ({ data: utf8(`in ${i}`), to: relayed })));
  await until("200 in", () => client.received.length === 201);
  t.same(client.received[200], { from: peer.socket.address.key, text: "in 199", channel: true });
  t.equal(intermediate.turn.stats.relayedPackets, 402);

  client.turn.close(monotonicClock.now());
  client.driver.wake();
  await until("the release", () => intermediate.turn.stats.allocations === 0);
  await until("its socket is closed", () => intermediate.driver.sockets.size === listeners);
});

test("two clients meet at their relayed addresses", async (t) => {
  const intermediate = await startIntermediate(t, { allowPrivateRelay: false });
  const one = await Client.start(t, intermediate.stunAddress, alice);
  const two = await Client.start(t, intermediate.stunAddress, alice);
  const [first, second] = [(await one.event("allocated")).relayed, (await two.event("allocated")).relayed];
  one.bind(second);
  two.bind(first);
  t.ok((await one.event("channel")).ok, "although loopback is denied: it is a live allocation");
  t.ok((await two.event("channel")).ok);
  one.send(second, "hello");
  await until("hello", () => two.received.length === 1);
  t.same(two.received[0], { from: first.key, text: "hello", channel: true });
  two.permit("127.0.0.2");
  await until("a refusal", () => two.events.some((event) => event.type === "permission" && event.ip === "127.0.0.2"));
  t.same(two.events.at(-1), { type: "permission", ip: "127.0.0.2", ok: false, code: 403 });
});

test("STUN Binding over a real socket, on the wildcard address too", async (t) => {
  const intermediate = await startIntermediate(t, { stun: [SocketAddress.of("0.0.0.0", 0)] });
  const answers: Uint8Array[] = [];
  const handlers = {
    onBatch: (batch: readonly Incoming[]) => void answers.push(...batch.map(({ data }) => data)),
    onDrain: () => {},
  };
  const socket = await bindUdp({ address: LOOPBACK, handlers });
  t.teardown(() => socket.close());
  const request = new StunBuilder("request", STUN_METHOD.BINDING, systemRandom.bytes(12)).build({ fingerprint: true });
  socket.send([{ data: request, to: SocketAddress.of("127.0.0.1", intermediate.stunAddress.port) }]);
  await until("an answer", () => answers.length === 1);
  const mapped = getXorAddress(t.must(decodeStun(t.must(answers[0]))), STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS);
  t.equal(mapped?.key, socket.address.key);
});

test("10,000 malformed datagrams at both ports: it goes on serving", async (t) => {
  const seed = 99;
  const random = seededRandom(seed);
  const intermediate = await startIntermediate(t);
  const socket = await bindUdp({ address: LOOPBACK, handlers: { onBatch: () => {}, onDrain: () => {} } });
  t.teardown(() => socket.close());
  for (let round = 0; round < 100; round++) {
    const batch = Array.from({ length: 100 }, (_, i) => {
      const data = random.bytes(Math.floor(random.float() * 200));
      // Half of them look like STUN at first, some like ChannelData, the rest like QUIC.
      if (i % 2 === 0 && data.length >= 20) data.set([0, 1, 0, data.length - 20, 0x21, 0x12, 0xa4, 0x42]);
      else if (i % 5 === 0 && data.length > 4) data[0] = 0x40;
      else if (i % 3 === 0 && data.length > 5) data.set([0xc0, 0, 0, 0, 1, 20]);
      return { data, to: i % 4 === 0 ? intermediate.signalingAddress : intermediate.stunAddress };
    });
    for (let sent = 0; sent < batch.length; ) {
      sent += socket.send(batch, sent);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  const client = await Client.start(t, intermediate.stunAddress, alice);
  t.ok(await client.event("allocated"), `seed ${seed}`);
  t.ok(intermediate.turn.counters.get("malformed") > 1_000, toHex(Uint8Array.of(seed)));
  t.equal(intermediate.turn.stats.allocations, 1);
  t.equal(intermediate.signaling.rendezvous.connectionCount, 0);
});

test("an address that is taken, and two external addresses of one family, are refused before anything runs", async (t) => {
  const intermediate = await startIntermediate(t);
  await t.rejects(startIntermediate(t, { listen: [intermediate.signalingAddress] }), { code: "address-in-use" });
  await t.rejects(startIntermediate(t, { stun: [intermediate.stunAddress] }), { code: "address-in-use" });
  await t.rejects(startIntermediate(t, { externalIps: ["198.41.0.4", "198.41.0.5"] }), { code: "bad-relay-address" });
});

test("a connector and an agent with our own transport: registered, found, introduced, and released at the end", async (t) => {
  const intermediate = await startIntermediate(t);
  const { rendezvous } = intermediate.signaling;
  const { ip: host, port } = intermediate.signalingAddress;
  const common = { intermediate: { host, port }, checkIntermediate: () => null, log: nullLogger };
  const agentKey = Identity.generate();
  const connector = await startEndpoint({
    ...common,
    identity: Identity.generate(),
    role: "connector",
    name: "office",
    bind: { ip: "127.0.0.2", port: 0 },
    admit: (peerId) => peerId === agentKey.peerId,
    onService: (request) => void request.accept().then((stream) => stream.finish()),
  });
  t.teardown(() => connector.close("the test is over"));
  const agent = await startEndpoint({
    ...common,
    identity: agentKey,
    role: "agent",
    bind: { ip: "127.0.0.3", port: 0 },
  });
  t.teardown(() => agent.close("the test is over"));
  await until("the registration", () => rendezvous.registrations().length === 1);
  t.same(rendezvous.registrations()[0]?.address, connector.localAddresses[0], "seen as it is");
  await t.rejects(agent.connect({ target: "nobody", service: "web", waitMs: 0 }), { code: "not-found" });
  const session = await agent.connect({ target: "office", service: "web", waitMs: 0 });
  t.equal(session.peer.id, connector.peerId);
  t.equal(rendezvous.sessionCounts().active, 1);
  await until("a direct path is reported", () => rendezvous.sessionCounts().direct === 1);
  await agent.close("done");
  await until("the session is over here too", () => rendezvous.sessionCounts().active === 0);
  await connector.close("done");
  await until(
    "nothing is left",
    () => intermediate.turn.stats.allocations === 0 && intermediate.signaling.clientCount === 0,
  );
});

const LOOPBACK_6 = SocketAddress.of("::1", 0);

/** A connector that is registered and has its allocation; what it is told of its relay. */
async function connectorAt(t: T, intermediate: Intermediate, name: string, host: string, port: number) {
  const connector = await startEndpoint({
    intermediate: { host, port },
    checkIntermediate: () => null,
    log: nullLogger,
    identity: Identity.generate(),
    role: "connector",
    name,
    bind: { ip: host.includes(":") ? "::1" : "127.0.0.2", port: 0 },
    admit: () => true,
  });
  t.teardown(() => connector.close("the test is over"));
  const before = intermediate.turn.stats.allocations;
  await connector.waitRegistered();
  await until(`the allocation of ${name}`, () => intermediate.turn.stats.allocations > before);
  return connector;
}

test("signaling on several addresses: each client is answered from the one that it asked, and finds TURN of its family", async (t) => {
  const intermediate = await startIntermediate(t, { listen: [LOOPBACK, LOOPBACK_6], stun: [LOOPBACK_6, LOOPBACK] });
  const { signaling, signalingTls } = intermediate.stun;
  t.same(
    [signaling, intermediate.stun.udp].map((all) => all.map(({ address }) => address.ip)),
    [
      ["127.0.0.1", "::1"],
      ["::1", "127.0.0.1"],
    ],
  );
  t.same(
    signalingTls.map(({ key }) => key),
    signaling.map(({ address }) => address.key),
    "TLS beside each",
  );
  for (const { address } of signaling) {
    await connectorAt(t, intermediate, `v${address.family}`, address.ip, address.port);
  }
  t.same(
    intermediate.signaling.rendezvous.registrations().map(({ name, address }) => [name, address.family]),
    [
      ["v4", 4],
      ["v6", 6],
    ],
  );
});

test("an intermediate on IPv6 alone relays between those that reach it", async (t) => {
  const intermediate = await startIntermediate(t, { listen: [LOOPBACK_6], stun: [LOOPBACK_6] });
  const { ip: host, port } = intermediate.signalingAddress;
  await connectorAt(t, intermediate, "office", host, port);
  const agent = await startEndpoint({
    intermediate: { host, port },
    checkIntermediate: () => null,
    log: nullLogger,
    identity: Identity.generate(),
    role: "agent",
    bind: { ip: "::1", port: 0 },
    icePolicy: "relay",
  });
  t.teardown(() => agent.close("the test is over"));
  await agent.waitRegistered();
  const session = await agent.connect({ target: "office", service: "web", waitMs: 0 });
  t.ok((await session.ping()) > 0);
  t.equal(session.path, "relay");
  t.ok(intermediate.turn.stats.relayedPackets > 0);
});
