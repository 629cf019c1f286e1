import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { isBun, test } from "@adit/harness";
import { createIceConnection } from "../src/driver/connection.ts";
import { DatagramQueue, MAX_QUEUED_DATAGRAMS } from "../src/driver/datagram-queue.ts";
import { hostAddresses, type Interfaces } from "../src/driver/host-addresses.ts";
import { connect, exchange, loopback } from "./connections.ts";
import { LoopbackRelay } from "./loopback-relay.ts";

test("two connections on loopback meet and exchange datagrams", async (t) => {
  const [a, b] = await connect(t);
  const [path] = await Promise.all([a.connected(), b.connected()]);
  t.equal(path.remote.address.ip, "127.0.0.1");
  t.equal(path.remote.type, "host");
  await exchange(t, a, b);
});

test("a STUN server's answer that shows the base itself adds no candidate", async (t) => {
  const relay = await LoopbackRelay.start();
  t.teardown(() => relay.close());
  const [a, b, candidates] = await connect(t, { stunServers: [relay.address] });
  await Promise.all([a.connected(), b.connected()]);
  await exchange(t, a, b);
  t.same(
    candidates.map(({ type }) => type),
    ["host"],
  );
});

test("with policy relay datagrams go through TURN, and closing gives the allocation back", async (t) => {
  const relay = await LoopbackRelay.start();
  t.teardown(() => relay.close());
  const { address, username, password } = relay;
  const turnServers = [{ address, username, password }];
  const [a, b, candidates] = await connect(t, { turnServers, policy: "relay" });
  const [path] = await Promise.all([a.connected(), b.connected()]);
  t.equal(path.local.type, "relay");
  t.equal(path.direct, false);
  t.same(
    candidates.map(({ type }) => type),
    ["relay"],
  );
  await exchange(t, a, b);
  t.ok(relay.relayed >= 20, `${relay.relayed} relayed`);
  t.equal(relay.allocations, 1);
  await a.close();
  for (let i = 0; i < 100 && relay.released === 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal(relay.released, 1);
});

test("a server that says nothing delays nobody", async (t) => {
  const mute = createSocket("udp4");
  t.teardown(() => mute.close());
  await new Promise<void>((resolve) => mute.bind(0, "127.0.0.1", resolve));
  const address = `127.0.0.1:${mute.address().port}`;
  const turnServers = [{ address, username: "u", password: "p" }];
  const [a, b] = await connect(t, { stunServers: [address], turnServers });
  await Promise.all([a.connected(), b.connected()]);
  await exchange(t, a, b);
});

test("data from an address that no authentic check came from is dropped", async (t) => {
  const [a, b] = await connect(t);
  await Promise.all([a.connected(), b.connected()]);
  const stranger = createSocket("udp4");
  t.teardown(() => stranger.close());
  const port = t.must(a.path).remote.address.port;
  await new Promise((sent) => stranger.send("let me in", port, "127.0.0.1", sent));
  await new Promise((sent) => stranger.send(new Uint8Array(2000), port, "127.0.0.1", sent));
  await exchange(t, a, b);
});

test("close ends the reader, refuses to send, and frees the port", async (t) => {
  const [a, b] = await connect(t);
  await Promise.all([a.connected(), b.connected()]);
  const { port } = t.must(b.path).remote.address;
  const reading = a[Symbol.asyncIterator]().next();
  await Promise.all([a.close(), a.close()]);
  t.same(await reading, { done: true, value: undefined });
  t.equal(a.send(new Uint8Array(1)), false);
  await t.rejects(a.connected(), { code: "closed" });
  const again = createSocket("udp4");
  t.teardown(() => again.close());
  await new Promise<void>((resolve) => again.bind(port, "127.0.0.1", resolve));
});

test("an abort signal closes; an aborted one never opens", async (t) => {
  const controller = new AbortController();
  const connection = await createIceConnection({ role: "controlling", ...loopback, signal: controller.signal });
  const waiting = connection.connected();
  controller.abort();
  await t.rejects(waiting, { code: "closed" });
  await connection.close();
  await t.rejects(createIceConnection({ role: "controlling", ...loopback, signal: controller.signal }), {
    code: "closed",
  });
});

test("what cannot be bound or resolved is said in words", async (t) => {
  const taken = createSocket("udp4");
  t.teardown(() => taken.close());
  await new Promise<void>((resolve) => taken.bind(0, "127.0.0.1", resolve));
  const bind = [`127.0.0.1:${taken.address().port}`];
  await t.rejects(createIceConnection({ role: "controlling", bind }), { code: "bind-failed" });
  await t.rejects(createIceConnection({ role: "controlling", ...loopback, stunServers: ["nonsense"] }), {
    code: "bad-server",
  });
});

test("restart: data goes on over the old path, and the new generation takes over", async (t) => {
  const [a, b] = await connect(t);
  await Promise.all([a.connected(), b.connected()]);
  const old = a.local.ufrag;
  a.restart();
  t.notEqual(a.local.ufrag, old);
  await exchange(t, a, b);
  b.restart();
  a.setRemoteParameters(b.local);
  b.setRemoteParameters(a.local);
  for (const candidate of [...b.localCandidates, null]) t.ok(a.addRemoteCandidate(candidate));
  for (const candidate of [...a.localCandidates, null]) t.ok(b.addRemoteCandidate(candidate));
  await exchange(t, a, b);
});

test("datagrams that nobody reads are bounded and counted", async (t) => {
  const queue = new DatagramQueue();
  for (let i = 0; i < MAX_QUEUED_DATAGRAMS + 5; i++) queue.push(Uint8Array.of(i & 0xff));
  t.equal(queue.dropped, 5);
  queue.end(new Error("over"));
  for (let i = 0; i < MAX_QUEUED_DATAGRAMS; i++) t.equal((await queue.next()).value?.[0], i & 0xff);
  await t.rejects(queue.next(), /over/);
});

test("statistics say what each pair did, and why the chosen one was chosen", async (t) => {
  const [a, b] = await connect(t);
  await Promise.all([a.connected(), b.connected()]);
  await exchange(t, a, b);
  while (!a.path?.nominated || !b.path?.nominated) await new Promise((resolve) => setTimeout(resolve, 5));
  const [ours, theirs] = [t.must(a.stats[0]), t.must(b.stats[0])];
  t.same([ours.nominatedBecause, theirs.nominatedBecause], ["only-valid", "peer"]);
  t.same([ours.sentDatagrams, ours.receivedDatagrams, theirs.sentDatagrams], [20, 20, 20]);
  t.equal(ours.sentBytes, 10 * "ping 0".length + 10 * "ping 10".length);
  t.equal(ours.receivedBytes, theirs.sentBytes);
  t.ok(ours.requestsSent >= 1 && ours.requestsReceived >= 1 && ours.responsesReceived >= 1);
  t.ok(t.must(ours.rttMs) >= 0);
});

test("an interface that goes takes its candidates, and its return brings them back", async (t) => {
  const [ip] = hostAddresses();
  if (!ip) return; // a machine without a network has nothing to lose
  const there = { eth0: [{ address: ip }] };
  let interfaces: Interfaces = there;
  const connection = await createIceConnection({ role: "controlling", readInterfaces: () => interfaces });
  t.teardown(() => connection.close());
  const ips = () => connection.localCandidates.map(({ address }) => address.ip);
  t.same(ips(), [ip]);
  const until = async (count: number) => {
    while (ips().length !== count) await new Promise((resolve) => setTimeout(resolve, 50));
  };
  interfaces = {};
  await until(0);
  interfaces = there;
  await until(1);
  t.same(ips(), [ip]);
});

test("the README's example runs as it stands", async (t) => {
  const readme = readFileSync(new URL(isBun ? "../README.md" : "../../README.md", import.meta.url), "utf8");
  const [, code] = t.must(/```ts\n\/\/ example\n([\s\S]*?)```/.exec(readme));
  const body = t.must(code).replace(/^import .*$/m, "");
  t.ok(body.trim().split("\n").length <= 10);
  const lines: string[] = [];
  const run = new Function("createIceConnection", "console", `return (async () => {${body}})()`);
  await run(createIceConnection, { log: (line: string) => lines.push(line) });
  t.same(lines, ["hello"]);
});
