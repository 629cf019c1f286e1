// Our STUN and TURN client against a server by others, at 127.0.0.1:3478 (UDP, TCP) and 5349 (TLS; its certificate is the argument).
// The last line: N passed, N failed.
import { X509Certificate } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { monotonicClock, SocketAddress, systemRandom, utf8 } from "../../../packages/core/dist/src/index.js";
import {
  connectStunStream,
  createIceConnection,
  NatDiscovery,
  TurnClient,
} from "../../../packages/ice/dist/src/index.js";

const certificate = new X509Certificate(readFileSync(process.argv[2])).raw;
const checkCertificate = (der) => (Buffer.compare(der, certificate) === 0 ? null : "another certificate");
const now = () => monotonicClock.now();

async function until(what, holds) {
  for (let i = 0; i < 1000; i++) {
    if (holds()) return;
    await sleep(10);
  }
  throw new Error(`never: ${what}`);
}

/** A TurnClient over one transport, and its timer. */
async function open(transport, options = {}) {
  const server = SocketAddress.of("127.0.0.1", transport === "tls" ? 5349 : 3478);
  const client = new TurnClient({
    server,
    transport,
    socket: 0,
    relaySocket: 1000,
    username: "u",
    password: "p",
    random: systemRandom,
    ...options,
  });
  const received = [];
  const events = [];
  const receive = (data) => {
    const relayed = client.handleDatagram(now(), data);
    if (relayed) received.push({ peer: relayed.peer.key, text: Buffer.from(relayed.data).toString() });
    drain();
  };
  let send;
  let close;
  if (transport === "udp") {
    const socket = createSocket("udp4").bind(0, "127.0.0.1");
    await once(socket, "listening");
    socket.on("message", receive);
    send = (data) => socket.send(data, server.port, server.ip);
    close = () => socket.close();
  } else {
    const tls = transport === "tls" ? { tls: { checkCertificate } } : {};
    const stream = await connectStunStream({
      server,
      ...tls,
      onMessage: receive,
      onClosed: (why) => events.push({ type: why }),
    });
    send = (data) => stream.send(data);
    close = () => stream.close();
  }
  const drain = () => {
    for (let next = client.pollTransmit(); next; next = client.pollTransmit()) send(next.data);
    for (let event = client.pollEvent(); event; event = client.pollEvent()) events.push(event);
  };
  const timer = setInterval(() => {
    if ((client.pollTimeout()?.at ?? Number.POSITIVE_INFINITY) <= now()) client.handleTimeout(now());
    drain();
  }, 20);
  return {
    client,
    received,
    events,
    act: (what) => {
      what(client);
      drain();
    },
    say: (peer, text) => send(client.send(peer, utf8(text))),
    end: async () => {
      client.close(now());
      drain();
      await sleep(50); // the release goes out, whether it arrives or not
      clearInterval(timer);
      close();
    },
  };
}

async function relayBothWays(transport) {
  const [a, b] = [await open(transport), await open(transport)];
  for (const one of [a, b]) one.act((client) => client.start(now()));
  await until("allocations", () => a.client.relayedAddress && b.client.relayedAddress);
  const [ofA, ofB] = [a.client.relayedAddress, b.client.relayedAddress];
  a.act((client) => client.addPermission(now(), ofB.ip));
  b.act((client) => client.addPermission(now(), ofA.ip));
  await until("permissions", () => a.client.hasPermission(ofB.ip) && b.client.hasPermission(ofA.ip));
  a.say(ofB, "by indication");
  await until("an indication", () => b.received.length === 1);
  a.act((client) => client.bindChannel(now(), ofB));
  b.act((client) => client.bindChannel(now(), ofA));
  await until("channels", () => a.client.channelOf(ofB) !== null && b.client.channelOf(ofA) !== null);
  for (const text of ["1", "22", "333", "4444"]) a.say(ofB, text);
  b.say(ofA, "back");
  await until("ChannelData", () => b.received.length === 5 && a.received.length === 1);
  const texts = b.received.map(({ text }) => text).sort();
  if (texts.join() !== "1,22,333,4444,by indication") throw new Error(`came: ${texts}`);
  if (b.received.some(({ peer }) => peer !== ofA.key)) throw new Error("came from elsewhere");
  a.act((client) => client.probe(now())); // a Refresh that the server must grant
  await sleep(100);
  if (a.events.some(({ type }) => type === "lost")) throw new Error("the allocation was lost on Refresh");
  await a.end();
  await b.end();
}

async function wrongPassword() {
  const one = await open("udp", { password: "wrong" });
  one.act((client) => client.start(now()));
  await until("a refusal", () => one.events.some(({ type, code }) => type === "failed" && code === 401));
  await one.end();
}

async function discovery() {
  const sockets = [];
  for (let i = 0; i < 3; i++) {
    const socket = createSocket("udp4").bind(0, "127.0.0.1");
    await once(socket, "listening");
    sockets.push(socket);
  }
  const locals = sockets.map((socket, i) => ({ socket: i, port: socket.address().port }));
  const server = SocketAddress.of("127.0.0.1", 3478);
  const run = new NatDiscovery(now(), { server, sockets: locals, localIps: ["127.0.0.1"], random: systemRandom });
  const drain = () => {
    for (let next = run.pollTransmit(); next; next = run.pollTransmit()) {
      sockets[next.socket].send(next.data, next.to.port, next.to.ip);
    }
  };
  sockets.forEach((socket, i) => {
    socket.on("message", (data, from) => {
      run.handleDatagram(now(), i, SocketAddress.of(from.address, from.port), data);
      drain();
    });
  });
  drain();
  await until("a report", () => {
    if ((run.pollTimeout()?.at ?? Number.POSITIVE_INFINITY) <= now()) run.handleTimeout(now());
    drain();
    return run.report !== null;
  });
  for (const socket of sockets) socket.close();
  const { nat, mapping, filtering } = run.report;
  if (nat !== false || mapping !== "EIM" || filtering !== "EIF") throw new Error(JSON.stringify(run.report));
}

/** A peer that has IPv6 alone is met by one that has IPv4 alone, over the second address of its allocation. */
async function meetAcrossFamilies(address) {
  const server = { address, username: "u", password: "p", checkCertificate };
  const turnServers = [server];
  const a = await createIceConnection({ role: "controlling", bind: ["127.0.0.1"], policy: "relay", turnServers });
  const b = await createIceConnection({ role: "controlled", bind: ["::1"] });
  try {
    const found = [];
    a.setRemoteParameters(b.local);
    b.setRemoteParameters(a.local);
    a.onCandidate = (candidate) => {
      if (candidate) found.push(candidate);
      b.addRemoteCandidate(candidate);
    };
    b.onCandidate = (candidate) => a.addRemoteCandidate(candidate);
    await until("a path", () => a.path?.nominated && b.path);
    const families = found.map((one) => `${one.type} ${one.address.family}`).sort();
    if (families.join() !== "relay 4,relay 6") throw new Error(`candidates: ${families}`);
    if (a.path.local.address.family !== 6) throw new Error(`the path is ${a.path.id}`);
    const reader = b[Symbol.asyncIterator]();
    a.send(utf8("across"));
    const { value } = await reader.next();
    if (Buffer.from(value).toString() !== "across") throw new Error("other data came");
  } finally {
    await Promise.all([a.close(), b.close()]);
  }
}

const cases = [
  ["TURN over UDP: indications, channels, refresh, release", () => relayBothWays("udp")],
  ["TURN over TCP", () => relayBothWays("tcp")],
  ["TURN over TLS", () => relayBothWays("tls")],
  ["both families from one allocation, over UDP", () => meetAcrossFamilies("turn:127.0.0.1")],
  ["both families from one allocation, over TCP", () => meetAcrossFamilies("turn:127.0.0.1?transport=tcp")],
  ["both families from one allocation, over TLS", () => meetAcrossFamilies("turns:127.0.0.1")],
  ["a wrong password is a refusal, at once", wrongPassword],
  ["NAT behaviour discovery", discovery],
];
let passed = 0;
for (const [name, run] of cases) {
  try {
    await run();
    passed++;
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`not ok ${name}: ${error.message}`);
  }
}
console.log(`${passed} passed, ${cases.length - passed} failed`);
process.exit(passed === cases.length ? 0 : 1);
