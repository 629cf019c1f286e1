import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { createSocket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nullLogger, SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import { TurnStreams } from "../src/driver/turn-streams.ts";
import { StunStreamError } from "../src/turn/stun-stream.ts";
import { connect, exchange } from "./connections.ts";
import { LoopbackRelay } from "./loopback-relay.ts";

async function start(t: T): Promise<LoopbackRelay> {
  const relay = await LoopbackRelay.start();
  t.teardown(() => relay.close());
  return relay;
}

async function until(t: T, holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 1_000 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  t.ok(holds(), what);
}

function makeCertificate(t: T): { readonly key: Buffer; readonly cert: Buffer; readonly der: Buffer } {
  const dir = mkdtempSync(join(tmpdir(), "adit-ice-tls-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const [keyFile, certFile] = [join(dir, "key.pem"), join(dir, "cert.pem")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const names = ["-days", "2", "-subj", "/CN=relay.test", "-keyout", keyFile, "-out", certFile];
  execFileSync("openssl", ["req", "-x509", ...curve, ...names], { stdio: "ignore" });
  const [key, cert] = [readFileSync(keyFile), readFileSync(certFile)];
  return { key, cert, der: new X509Certificate(cert).raw };
}

test("TURN over TCP: datagrams go through the relay, which gets its allocation back before the connection ends", async (t) => {
  const relay = await start(t);
  const port = await relay.listen();
  const { username, password } = relay;
  const turnServers = [{ address: `turn:127.0.0.1:${port}?transport=tcp`, username, password }];
  const [a, b] = await connect(t, { turnServers, policy: "relay" });
  const [path] = await Promise.all([a.connected(), b.connected()]);
  t.equal(path.local.type, "relay");
  await exchange(t, a, b);
  t.ok(relay.relayed >= 20 && relay.allocations === 1);
  await a.close();
  await until(t, () => relay.streams === 0, "the connection is closed");
  t.equal(relay.released, 1);
});

test("what a TURN server sees of a TCP connection is no candidate: no peer can reach it there", async (t) => {
  const relay = await start(t);
  const port = await relay.listen();
  const { username, password } = relay;
  const turnServers = [{ address: `turn:127.0.0.1:${port}?transport=tcp`, username, password }];
  const [, , candidates] = await connect(t, { turnServers });
  await until(t, () => candidates.some(({ type }) => type === "relay"), "a relayed candidate");
  t.same(
    candidates.map(({ type, transport }) => [type, transport]),
    [
      ["host", "udp"],
      ["relay", "udp"],
    ],
  );
});

test("TURN over TLS: a pinned certificate is looked at, and another one is refused", async (t) => {
  const relay = await start(t);
  const { key, cert, der } = makeCertificate(t);
  const port = await relay.listen({ key, cert });
  const { username, password } = relay;
  const server = { address: `turns:127.0.0.1:${port}`, username, password };
  const checkCertificate = (shown: Uint8Array) => (Buffer.compare(shown, der) === 0 ? null : "another certificate");
  const [a, b] = await connect(t, { turnServers: [{ ...server, checkCertificate }], policy: "relay" });
  await Promise.all([a.connected(), b.connected()]);
  await exchange(t, a, b);
  for (const turnServers of [[{ ...server, checkCertificate: () => "not this one" }], [server]]) {
    const [refusing, , found] = await connect(t, { turnServers, policy: "relay" });
    await new Promise<void>((resolve) => {
      refusing.onCandidate = (candidate) => candidate === null && resolve();
    });
    t.same(found, []);
  }
});

test("the same server by UDP and by TCP: where UDP says nothing the other carries, and nobody waits", async (t) => {
  const relay = await start(t);
  const port = await relay.listen();
  const mute = createSocket("udp4");
  t.teardown(() => mute.close());
  await new Promise<void>((resolve) => mute.bind(0, "127.0.0.1", resolve));
  const { username, password } = relay;
  const turnServers = [`127.0.0.1:${mute.address().port}`, `turn:127.0.0.1:${port}?transport=tcp`].map((address) => ({
    address,
    username,
    password,
  }));
  const [a, b] = await connect(t, { turnServers, policy: "relay" });
  await Promise.all([a.connected(), b.connected()]);
  await exchange(t, a, b);
});

test("a connection that hangs, or is refused, is no reason to wait, and closing ends the attempt", async (t) => {
  const hanging = createServer(() => {});
  const sockets: { destroy(): void }[] = [];
  hanging.on("connection", (socket) => sockets.push(socket));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    hanging.close();
  });
  await new Promise<void>((resolve) => hanging.listen(0, "127.0.0.1", resolve));
  const bound = hanging.address();
  const port = typeof bound === "object" && bound ? bound.port : 0;
  const turnServers = [`turns:127.0.0.1:${port}`, "turn:127.0.0.1:9?transport=tcp"].map((address) => ({
    address,
    username: "u",
    password: "p",
  }));
  const [a, b] = await connect(t, { turnServers });
  await Promise.all([a.connected(), b.connected()]);
  await exchange(t, a, b);
  await until(t, () => sockets.length === 1, "it was tried");
  await a.close();
});

test("a server that cannot be reached is told once, and tried again", async (t) => {
  let attempts = 0;
  const sockets = {
    connect: () => {
      attempts++;
      return Promise.reject(new StunStreamError("refused", "no"));
    },
  };
  let failures = 0;
  const events = { onOpen: () => t.fail("there is nothing to open"), onFailed: () => failures++ };
  const addresses = [SocketAddress.of("192.0.2.1", 3478)];
  const user = { username: "u", password: "p", serverName: null, checkCertificate: null };
  const streams = new TurnStreams([{ ...user, transport: "tcp", addresses }], sockets, events, nullLogger);
  t.teardown(() => streams.close());
  await until(t, () => attempts === 2, "a second attempt");
  t.equal(failures, 1, "which nobody waits for");
  streams.close();
});

test("a connection that is lost is made again, and the session goes on over its new allocation", async (t) => {
  const relay = await start(t);
  const port = await relay.listen();
  const { username, password } = relay;
  const turnServers = [{ address: `turn:127.0.0.1:${port}?transport=tcp`, username, password }];
  const [a, b, candidates] = await connect(t, { turnServers, policy: "relay" });
  await Promise.all([a.connected(), b.connected()]);
  relay.hangUp();
  await until(t, () => a.path === null, "the relayed path is gone");
  const isAgreed = () => a.path?.nominated === true && b.path?.remote.address.key === a.path.local.address.key;
  await until(t, isAgreed, "there is another, on both sides");
  t.equal(candidates.length, 2, "which was told");
  await exchange(t, a, b);
});
