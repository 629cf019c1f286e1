/** STUN and TURN over real TCP and TLS connections on loopback. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
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
  connectStunStream,
  decodeStun,
  frameForStream,
  getXorAddress,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StunBuilder,
  type StunStream,
  TurnClient,
} from "@adit/ice";
import { Identity, peerIdFromCertificate } from "@adit/quic";
import { Driver } from "@adit/transport";
import { Credentials } from "../src/credentials.ts";
import { RelayComponent } from "../src/relay-component.ts";
import { RelayPolicy } from "../src/relay-policy.ts";
import type { StreamLimits } from "../src/stream-listener.ts";
import { openStunListeners, type StunListeners } from "../src/stun-listeners.ts";
import { TurnServer } from "../src/turn-server.ts";

const LOOPBACK = SocketAddress.of("127.0.0.1", 0);
const USER = { username: "alice", password: "secret-of-alice" };
const identity = Identity.generate();

/** A relay with real sockets, without signaling. */
async function startRelay(
  t: T,
  limits: Partial<StreamLimits> = {},
): Promise<{ turn: TurnServer; listeners: StunListeners }> {
  const driver = new Driver();
  t.teardown(() => driver.close());
  let turn: TurnServer | null = null;
  const certificate = { cert: identity.certificatePem, key: identity.keyPem };
  const where = { stun: [LOOPBACK], stunTls: [LOOPBACK], certificate, clock: monotonicClock, streamLimits: limits };
  const listeners = await openStunListeners(driver, where, () => turn);
  const policy = new RelayPolicy({
    allowPrivate: true,
    relayedIps: ["127.0.0.1"],
    ownIps: [],
    services: [],
    isLive: (address) => turn?.isLive(address) ?? false,
    isSessionPeer: () => false,
  });
  turn = new TurnServer({
    socket: listeners.udp[0].socket,
    relayed: [{ family: 4, bindIp: "127.0.0.1", relayedIp: "127.0.0.1" }],
    ports: { first: 30_000, last: 39_999 },
    credentials: new Credentials({
      realm: "adit",
      random: systemRandom,
      unixSeconds: () => Date.now() / 1000,
      users: [{ name: USER.username, password: USER.password }],
    }),
    policy,
    random: systemRandom,
  });
  driver.add(new RelayComponent(turn, driver, nullLogger));
  return { turn, listeners };
}

/** Waits until something holds; the test's own time limit is the bound. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A TURN client over a stream, driven by what comes; nothing here needs its timers. */
class Client {
  readonly received: string[] = [];
  readonly turn: TurnClient;
  readonly stream: StunStream;
  closed: string | null = null;

  private constructor(turn: TurnClient, stream: StunStream) {
    this.turn = turn;
    this.stream = stream;
  }

  static async open(t: T, server: SocketAddress, secure: boolean): Promise<Client> {
    let client: Client | null = null;
    const stream = await connectStunStream({
      server,
      ...(secure ? { tls: { checkCertificate } } : {}),
      onMessage: (data) => client?.receive(data),
      onClosed: (reason) => {
        if (client) client.closed = reason;
      },
    });
    t.teardown(() => stream.close());
    const transport = secure ? "tls" : "tcp";
    const turn = new TurnClient({ server, transport, socket: 0, relaySocket: 1000, random: systemRandom, ...USER });
    client = new Client(turn, stream);
    client.act((now) => turn.start(now));
    return client;
  }

  act(what: (now: Millis) => void): void {
    what(monotonicClock.now());
    for (let next = this.turn.pollTransmit(); next; next = this.turn.pollTransmit()) this.stream.send(next.data);
  }

  receive(data: Uint8Array): void {
    this.act((now) => {
      const relayed = this.turn.handleDatagram(now, data);
      if (relayed) this.received.push(`${relayed.peer.key} ${new TextDecoder().decode(relayed.data)}`);
    });
  }

  say(peer: SocketAddress, text: string): void {
    this.stream.send(this.turn.send(peer, utf8(text)));
  }

  /** The relayed address, once there. */
  async allocated(): Promise<SocketAddress> {
    await until(() => this.turn.relayedAddress !== null);
    return this.turn.relayedAddress as SocketAddress;
  }
}

const checkCertificate = (der: Uint8Array): string | null =>
  peerIdFromCertificate(der) === identity.peerId ? null : "another key";

const binding = (): Uint8Array =>
  new StunBuilder("request", STUN_METHOD.BINDING, systemRandom.bytes(12)).build({ fingerprint: true });

for (const kind of ["TCP", "TLS"] as const) {
  test(`two clients over ${kind} meet through their allocations, by indication and by channel, odd lengths padded`, async (t) => {
    const { listeners, turn } = await startRelay(t);
    const server = t.must(kind === "TLS" ? listeners.tls[0] : listeners.udp[0].address);
    const a = await Client.open(t, server, kind === "TLS");
    const b = await Client.open(t, server, kind === "TLS");
    const [ofA, ofB] = [await a.allocated(), await b.allocated()];
    t.equal(t.must(a.turn.mappedAddress).key, a.stream.local.key);
    a.act((now) => a.turn.addPermission(now, ofB.ip));
    b.act((now) => b.turn.addPermission(now, ofA.ip));
    await until(() => a.turn.hasPermission(ofB.ip) && b.turn.hasPermission(ofA.ip));
    a.say(ofB, "by indication");
    await until(() => b.received.length === 1);
    a.act((now) => a.turn.bindChannel(now, ofB));
    b.act((now) => b.turn.bindChannel(now, ofA));
    await until(() => a.turn.channelOf(ofB) !== null && b.turn.channelOf(ofA) !== null);
    const long = "5".repeat(5_000); // more than a stranger may send at once
    for (const text of ["1", "22", "333", "4444", long]) a.say(ofB, text);
    await until(() => b.received.length === 6 || a.closed !== null);
    t.same(
      b.received,
      ["by indication", "1", "22", "333", "4444", long].map((text) => `${ofA.key} ${text}`),
    );

    a.stream.close();
    await until(() => turn.stats.allocations === 1);
    t.equal(b.turn.state, "allocated", "one client's end is its own");
  });
}

test("the transport protocol belongs to the 5-tuple: a TCP client's allocation is not that of a UDP client with its address", async (t) => {
  const { turn, listeners } = await startRelay(t);
  const one = await Client.open(t, listeners.udp[0].address, false);
  await one.allocated();
  t.equal(
    turn.hasAllocation(monotonicClock.now(), one.stream.local),
    false,
    "not that of the UDP client with that address",
  );
  t.equal(turn.stats.allocations, 1);
});

test("a Binding request over TCP tells the address; answers come in the order of requests", async (t) => {
  const { listeners } = await startRelay(t);
  const got: Uint8Array[] = [];
  const stream = await connectStunStream({
    server: listeners.udp[0].address,
    onMessage: (data) => got.push(data.slice()),
    onClosed: () => {},
  });
  t.teardown(() => stream.close());
  const requests = [binding(), binding(), binding()];
  stream.send(...requests);
  await until(() => got.length === 3);
  for (const [i, data] of got.entries()) {
    const response = t.must(decodeStun(data));
    t.equal(toHex(response.transactionId), toHex((requests[i] as Uint8Array).subarray(8, 20)));
    t.equal(t.must(getXorAddress(response, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS)).key, stream.local.key);
  }
});

test("a server with another key is not talked to", async (t) => {
  const { listeners } = await startRelay(t);
  const server = t.must(listeners.tls[0]);
  const options = { server, onMessage: () => {}, onClosed: () => {} };
  const pinned = connectStunStream({ ...options, tls: { checkCertificate: () => "another key" } });
  await t.rejects(pinned, { code: "untrusted" });
  await t.rejects(connectStunStream({ ...options, tls: {} }), { code: "untrusted" });
});

async function rawClient(
  t: T,
  listeners: StunListeners,
): Promise<{ socket: Socket; closed: () => boolean; bytes: () => number }> {
  const { ip: host, port } = listeners.udp[0].address;
  const socket = connect({ host, port });
  let closed = false;
  socket.on("error", () => {});
  socket.on("close", () => {
    closed = true;
  });
  socket.on("data", () => {});
  t.teardown(() => socket.destroy());
  await once(socket, "connect");
  return { socket, closed: () => closed, bytes: () => socket.bytesRead };
}

test("who says nothing, half a message, or nothing more is let go, within bounds that are told apart", async (t) => {
  const slow = await startRelay(t, { firstMessageMs: 200, messageMs: 200 });
  const { closes } = t.must(slow.listeners.streams[0]);
  const silent = await rawClient(t, slow.listeners);
  await until(silent.closed);
  t.same(closes.toJSON(), { "too-slow": 1 });
  const half = await rawClient(t, slow.listeners);
  half.socket.write(frameForStream([binding()]));
  half.socket.write(binding().subarray(0, 9));
  await until(half.closed);
  t.same(closes.toJSON(), { "too-slow": 2 }, "a message that has begun, long before silence would be the reason");
  const { listeners } = await startRelay(t, { idleMs: 200 });
  const listener = t.must(listeners.streams[0]);
  const idle = await rawClient(t, listeners);
  idle.socket.write(binding());
  await until(idle.closed);
  t.same(listener.closes.toJSON(), { idle: 1 });
  t.equal(listener.connections, 0);
});

test("an allocation keeps a silent connection", async (t) => {
  const { listeners } = await startRelay(t, { idleMs: 100 });
  const client = await Client.open(t, listeners.udp[0].address, false);
  await client.allocated();
  const other = await rawClient(t, listeners);
  other.socket.write(binding());
  await until(other.closed); // its clock ran out, and with the same sweep the client's would have
  t.equal(client.closed, null);
  t.equal(t.must(listeners.streams[0]).connections, 1);
});

test("connections from one address are bounded; a stranger's long message ends his connection", async (t) => {
  const { listeners } = await startRelay(t, { connectionsPerIp: 2 });
  const listener = t.must(listeners.streams[0]);
  const [first] = [await rawClient(t, listeners), await rawClient(t, listeners)];
  const third = await rawClient(t, listeners);
  await until(third.closed);
  t.equal(listener.closes.get("too-many-from-address"), 1);
  first?.socket.write(Uint8Array.of(0x40, 0, 0xff, 0xff));
  await until(() => first?.closed() ?? true);
  t.equal(listener.closes.get("too-long"), 1);
  await until(() => listener.connections === 1);
});

test("silence holds a place no longer than others need it: the oldest without an allocation makes room", async (t) => {
  const { listeners, turn } = await startRelay(t, { connections: 3 });
  const listener = t.must(listeners.streams[0]);
  const relayed = await Client.open(t, listeners.udp[0].address, false);
  await relayed.allocated();
  const spoke = await rawClient(t, listeners);
  spoke.socket.write(binding());
  await until(() => spoke.bytes() > 0);
  const silent = await rawClient(t, listeners);
  spoke.socket.write(binding());
  const before = spoke.bytes();
  await until(() => spoke.bytes() > before);
  // Four are one too many: who said nothing goes, although it came last. Then who spoke longest ago.
  const late = await rawClient(t, listeners);
  await until(silent.closed);
  t.equal(spoke.closed(), false);
  const later = await rawClient(t, listeners);
  await until(spoke.closed);
  t.equal(listener.closes.get("too-many"), 2);
  t.ok(!late.closed() && !later.closed());
  t.equal(turn.stats.allocations, 1);
  t.equal(relayed.closed, null);
});

test("who asks and does not read has some 16 KiB waiting for him at most, and others are served", async (t) => {
  const { listeners } = await startRelay(t);
  const listener = t.must(listeners.streams[0]);
  const question = frameForStream(Array.from({ length: 1_000 }, () => binding()));
  const { socket } = await rawClient(t, listeners);
  socket.pause();
  const dropped = (): number => listener.stats().sendErrors.dropped ?? 0;
  while (dropped() < 100) {
    socket.write(question);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  // What came in one chunk is answered in one write: 65,536 bytes of questions at most, as many answers of 40 bytes.
  t.ok(listener.waitingBytes <= 16_384 + (65_536 / 28) * 40, `${listener.waitingBytes} bytes wait`);
  const other = await Client.open(t, listeners.udp[0].address, false);
  await other.allocated();
});

test("noise from 200 connections, seeded, leaves a relay that answers", async (t) => {
  const { listeners } = await startRelay(t);
  const random = seededRandom(8656);
  for (let i = 0; i < 200; i++) {
    const { socket } = await rawClient(t, listeners);
    const noise = random.bytes(1 + Math.floor(random.float() * 200));
    if (i % 2 === 0) noise.set(binding().subarray(0, Math.min(noise.length, 8)));
    socket.write(noise);
    if (i % 3 === 0) socket.resetAndDestroy();
    else socket.end();
  }
  const client = await Client.open(t, listeners.udp[0].address, false);
  await client.allocated();
});

test("--alternate-address on the wildcard, of another family, or the same again is refused with a sentence", async (t) => {
  const certificate = { cert: "", key: "" };
  for (const [stun, alternateIp] of [
    ["0.0.0.0", "127.0.0.2"],
    ["127.0.0.1", "0.0.0.0"],
    ["127.0.0.1", "::1"],
    ["127.0.0.1", "127.0.0.1"],
  ] as const) {
    const driver = new Driver();
    t.teardown(() => driver.close());
    const where = { stun: [SocketAddress.of(stun, 0)], alternateIp, certificate, clock: monotonicClock };
    await t.rejects(
      openStunListeners(driver, where, () => null),
      { code: "bad-stun-listener" },
    );
    t.equal(driver.sockets.size, 0, "nothing was bound");
  }
});

test("another certificate is shown from its reload on; a connection that stands goes on", async (t) => {
  const { listeners } = await startRelay(t);
  const server = t.must(listeners.tls[0]);
  const seen = async (): Promise<{ stream: StunStream; cert: string }> => {
    let cert = "";
    const checkCertificate = (der: Uint8Array): string | null => {
      cert = Buffer.from(der).toString("base64");
      return null;
    };
    const stream = await connectStunStream({
      server,
      tls: { checkCertificate },
      onMessage: () => answers++,
      onClosed: () => {},
    });
    t.teardown(() => stream.close());
    return { stream, cert };
  };
  let answers = 0;
  const before = await seen();
  const fresh = Identity.generate();
  for (const listener of listeners.streams) listener.setCertificate({ cert: fresh.certificatePem, key: fresh.keyPem });
  const after = await seen();
  t.notEqual(after.cert, before.cert);
  t.equal(after.cert, fresh.certificatePem.replace(/-----[A-Z ]+-----|\s/g, ""));
  before.stream.send(binding());
  after.stream.send(binding());
  await until(() => answers === 2);
});
