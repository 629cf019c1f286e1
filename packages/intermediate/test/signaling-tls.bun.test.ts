import { connect, type TLSSocket } from "node:tls";
import { type LogFields, type Logger, nullLogger, SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import { connectStunStream, decodeStun, STUN_METHOD, StunBuilder } from "@adit/ice";
import { Identity, peerIdFromCertificate } from "@adit/quic";
import { IDENTITY_SERVER_NAME, SIGNALING_ALPN, TURN_ALPN } from "@adit/signaling";
import { type Endpoint, startEndpoint } from "@adit/transport";
import { OPEN_POLICY } from "../src/access-policy.ts";
import { Intermediate, type IntermediateOptions } from "../src/server.ts";

const LOOPBACK = SocketAddress.of("127.0.0.1", 0);

async function start(t: T, o: Partial<IntermediateOptions> = {}): Promise<Intermediate> {
  const intermediate = await Intermediate.start({
    identity: Identity.generate(),
    listen: [LOOPBACK],
    stun: [LOOPBACK],
    relayPorts: { first: 20_000, last: 29_999 },
    allowPrivateRelay: true,
    realm: "adit",
    ...o,
  });
  t.teardown(() => intermediate.close());
  return intermediate;
}

const tlsOf = ({ stun }: Intermediate): SocketAddress => stun.signalingTls[0] as SocketAddress;

/** An endpoint that finds the intermediate's TLS alone: nobody speaks QUIC on that port. */
async function overTls(
  t: T,
  at: SocketAddress,
  role: "agent" | "connector",
  log: Logger = nullLogger,
): Promise<Endpoint> {
  const endpoint = await startEndpoint({
    role,
    identity: Identity.generate(),
    ...(role === "connector" && { name: "office", admit: () => true }),
    bind: { ip: role === "connector" ? "127.0.0.3" : "127.0.0.2", port: 0 },
    intermediate: { host: at.ip, port: at.port },
    checkIntermediate: () => null,
    icePolicy: "relay",
    log,
  });
  t.teardown(() => endpoint.close("test over"));
  return endpoint;
}

function dial(t: T, at: SocketAddress, options: object): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({ host: at.ip, port: at.port, rejectUnauthorized: false, ...options }, () =>
      resolve(socket),
    );
    socket.on("error", reject);
    t.teardown(() => void socket.destroy());
  });
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 2));
}

test("TLS listens beside QUIC, on the TCP port of the same number", async (t) => {
  const intermediate = await start(t);
  t.equal(tlsOf(intermediate).key, intermediate.signalingAddress.key);
});

test("without UDP, connector and agent register over TLS and meet relay to relay, over TURN on the same port", async (t) => {
  const intermediate = await start(t, { signalingTls: [LOOPBACK] });
  const connector = await overTls(t, tlsOf(intermediate), "connector");
  await connector.waitRegistered();
  t.equal(connector.status().udpReach, "blocked");
  const agent = await overTls(t, tlsOf(intermediate), "agent");
  const begun = performance.now();
  const session = await agent.connect({ target: "office", service: "any", waitMs: 5_000 });
  t.ok(performance.now() - begun < 3_000, "within 3 s");
  t.ok((await session.ping()) >= 0);
  t.equal(intermediate.turn.stats.allocations, 2);
  t.equal(agent.status().intermediates[0]?.transport, "tls");
});

test("the last word of a session goes over the relays before they are given back", async (t) => {
  const intermediate = await start(t, { signalingTls: [LOOPBACK] });
  const ends: (LogFields | undefined)[] = [];
  const info = (event: string, fields?: LogFields) => void (event === "session-end" && ends.push(fields));
  const connector = await overTls(t, tlsOf(intermediate), "connector", { ...nullLogger, info });
  await connector.waitRegistered();
  const agent = await overTls(t, tlsOf(intermediate), "agent");
  await agent.connect({ target: "office", service: "any", waitMs: 5_000 });
  await until(() => connector.status().sessions[0]?.path === "relay");
  await agent.close("the agent is ending");
  await until(() => ends.length > 0);
  t.same([ends[0]?.code, ends[0]?.reason], ["closed", "the agent is ending"]);
  await until(() => intermediate.turn.stats.allocations === 1);
});

test("a client that shows no certificate, or none of an Ed25519 key, is turned away and counted", async (t) => {
  const intermediate = await start(t);
  const socket = await dial(t, tlsOf(intermediate), { ALPNProtocols: [SIGNALING_ALPN] });
  await new Promise<void>((resolve) => socket.on("close", () => resolve()));
  t.equal(intermediate.signaling.drops.get("bad-certificate"), 1);
  t.equal(intermediate.signaling.clientCount, 0);
});

test("nonsense behind the handshake is answered with an Error and a close", async (t) => {
  const intermediate = await start(t);
  const { certificatePem: cert, keyPem: key } = Identity.generate();
  const socket = await dial(t, tlsOf(intermediate), { ALPNProtocols: [SIGNALING_ALPN], cert, key });
  const answers: Uint8Array[] = [];
  socket.on("data", (chunk: Uint8Array) => answers.push(chunk));
  socket.write(new Uint8Array(64).fill(0xff));
  await new Promise<void>((resolve) => socket.on("close", () => resolve()));
  t.match(new TextDecoder().decode(Buffer.concat(answers)), /frame-too-large|bad-message/);
  await until(() => intermediate.signaling.clientCount === 0);
});

test("who says nothing behind the handshake is told so after 5 s, and disconnected", async (t) => {
  let skewMs = 0;
  const intermediate = await start(t, { clock: { now: () => performance.now() + skewMs } });
  const { certificatePem: cert, keyPem: key } = Identity.generate();
  const open = () => dial(t, tlsOf(intermediate), { ALPNProtocols: [SIGNALING_ALPN], cert, key });
  const silent = await open();
  const answers: Uint8Array[] = [];
  silent.on("data", (chunk: Uint8Array) => answers.push(chunk));
  await until(() => intermediate.signaling.clientCount === 1);
  skewMs = 6_000;
  await open(); // gives the server a turn
  await new Promise<void>((resolve) => silent.on("close", () => resolve()));
  t.match(new TextDecoder().decode(Buffer.concat(answers)), /no Hello within 5000 ms/);
});

test("clients of one address are bounded over TLS as over QUIC, and handshakes are charged to it", async (t) => {
  const limits = { ...OPEN_POLICY.limits, clientsPerIp: 2, handshakesPerIpPerSecond: 1 };
  const policy = Object.assign(Object.create(OPEN_POLICY), { limits });
  const intermediate = await start(t, { policy: () => policy });
  const { certificatePem: cert, keyPem: key } = Identity.generate();
  const open = () => dial(t, tlsOf(intermediate), { ALPNProtocols: [SIGNALING_ALPN], cert, key });
  await open();
  await open();
  await until(() => intermediate.signaling.clientCount === 2);
  const third = await open();
  await new Promise<void>((resolve) => third.on("close", () => resolve()));
  t.equal(intermediate.signaling.drops.get("ip-clients"), 1);
  t.equal(intermediate.signaling.clientCount, 2);
});

test("TLS handshakes are charged to the address whatever they are for, and however they end", async (t) => {
  const limits = { ...OPEN_POLICY.limits, handshakesPerIpPerSecond: 1 };
  const policy = Object.assign(Object.create(OPEN_POLICY), { limits });
  const intermediate = await start(t, { policy: () => policy, stunTls: [LOOPBACK] });
  const { certificatePem: cert, keyPem: key } = Identity.generate();
  const tries = [
    { at: tlsOf(intermediate), with: { ALPNProtocols: [TURN_ALPN] } },
    { at: tlsOf(intermediate), with: { ALPNProtocols: [SIGNALING_ALPN] } }, // no certificate: turned away behind the handshake
    { at: intermediate.stun.tls[0] as SocketAddress, with: {} },
    { at: tlsOf(intermediate), with: { ALPNProtocols: [SIGNALING_ALPN], cert, key } },
  ];
  let refused = 0;
  for (let i = 0; i < 24; i++) {
    const { at, with: options } = tries[i % tries.length] as (typeof tries)[number];
    await dial(t, at, options).then(
      (socket) => socket.destroy(),
      () => refused++,
    );
  }
  const closes = intermediate.stun.streams.map((listener) => listener.closes.get("too-many-handshakes"));
  // Ten at once, and one a second while the test takes; a machine that is slow grants more.
  t.ok(refused > 0 && refused === closes.reduce((a, b) => a + b), `${refused} refused, ${closes} counted`);
});

test("one port serves STUN over TLS as well, with the certificate of an authority for everybody else", async (t) => {
  const authority = Identity.generate();
  const intermediate = await start(t, { tlsCertificate: { cert: authority.certificatePem, key: authority.keyPem } });
  const seen = async (options: object): Promise<string | null> =>
    peerIdFromCertificate((await dial(t, tlsOf(intermediate), options)).getPeerCertificate().raw);
  t.equal(await seen({ ALPNProtocols: [TURN_ALPN] }), authority.peerId);
  t.equal(await seen({ servername: IDENTITY_SERVER_NAME }), intermediate.identity.peerId);
  const answers: Uint8Array[] = [];
  const stream = await connectStunStream({
    server: tlsOf(intermediate),
    tls: { checkCertificate: () => null },
    onMessage: (data) => answers.push(data.slice()),
    onClosed: () => {},
  });
  t.teardown(() => stream.close());
  stream.send(new StunBuilder("request", STUN_METHOD.BINDING, new Uint8Array(12).fill(7)).build());
  await until(() => answers.length > 0);
  t.equal(decodeStun(answers[0] as Uint8Array)?.class, "success");
});

test("another certificate for everybody else leaves signaling as it is", async (t) => {
  const intermediate = await start(t, { signalingTls: [LOOPBACK] });
  const authority = Identity.generate();
  intermediate.setTlsCertificate({ cert: authority.certificatePem, key: authority.keyPem });
  const socket = await dial(t, tlsOf(intermediate), { ALPNProtocols: [TURN_ALPN] });
  t.equal(peerIdFromCertificate(socket.getPeerCertificate().raw), authority.peerId);
  const connector = await overTls(t, tlsOf(intermediate), "connector");
  await connector.waitRegistered();
  t.equal(connector.status().intermediates[0]?.transport, "tls");
});

test("signaling over TLS can be switched off", async (t) => {
  const intermediate = await start(t, { signalingTls: [] });
  t.same(intermediate.stun.signalingTls, []);
});

test("back over UDP: signaling leaves TLS for QUIC when that answers", async (t) => {
  const intermediate = await start(t, { signalingTls: [LOOPBACK] });
  const at = tlsOf(intermediate);
  const connector = await overTls(t, at, "connector");
  await connector.waitRegistered();
  t.equal(connector.status().intermediates[0]?.transport, "tls");
  // UDP is let through from now on: to the same port, where QUIC stands now.
  const { identity } = intermediate;
  const open = await start(t, { identity, listen: [at], signalingTls: [] });
  await until(() => connector.status().intermediates[0]?.transport === "quic");
  await until(() => open.signaling.rendezvous.registrations().length === 1);
  t.equal(connector.status().udpReach, "open");
});
