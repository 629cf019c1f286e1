import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { seededRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { type ForwardResult, forwardBytes, forwardTcp, STREAM_BROKEN } from "../src/index.ts";
import { type FakeStream, fakeStreamPair } from "./fake-stream.ts";

/** A TCP connection: what the user holds, and what the program accepted. */
async function tcpPair(t: T): Promise<{ user: Socket; accepted: Socket }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const user = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  const [accepted] = (await once(server, "connection")) as [Socket];
  server.close();
  t.teardown(() => {
    user.destroy();
    accepted.destroy();
  });
  return { user, accepted };
}

/** User TCP <-> stream <-> far TCP, as agent and connector do it. */
async function tunnel(t: T, window?: number) {
  const near = await tcpPair(t);
  const far = await tcpPair(t);
  const [a, b] = fakeStreamPair(window);
  const results = Promise.all([forwardTcp(near.accepted, a), forwardTcp(far.accepted, b)]);
  return { user: near.user, service: far.user, near: near.accepted, far: far.accepted, a, b, results };
}

/** Everything until the end, as text. */
async function readAll(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk;
  });
  await once(socket, "end");
  return text;
}

/** A peer without a TCP connection behind it, driven by the test. */
async function withPeer(t: T): Promise<{ user: Socket; peer: FakeStream; result: Promise<ForwardResult> }> {
  const { user, accepted } = await tcpPair(t);
  const [stream, peer] = fakeStreamPair();
  return { user, peer, result: forwardTcp(accepted, stream) };
}

/** How the user's socket ended: the error's code, or "end". */
function ending(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
    socket.on("end", () => resolve("end"));
    socket.resume();
  });
}

test("bytes arrive both ways, each direction ends alone, and both sides count", async (t) => {
  const { user, service, results } = await tunnel(t);
  const atService = readAll(service);
  user.end("request");
  t.equal(await atService, "request");
  // The user has said all it will; the answer still comes.
  const atUser = readAll(user);
  service.write("long ");
  await sleep(20);
  service.end("answer");
  t.equal(await atUser, "long answer");
  const [near, far] = await results;
  t.same(near, { sentBytes: 7, receivedBytes: 11, broken: null });
  t.same(far, { sentBytes: 11, receivedBytes: 7, broken: null });
});

test("what was sent before the forwarding began is not lost, nor is the end behind it", async (t) => {
  const { user, accepted } = await tcpPair(t);
  user.end("early");
  await sleep(50);
  const [stream, peer] = fakeStreamPair();
  const result = forwardTcp(accepted, stream);
  t.equal(await drain(peer), "early");
  peer.finish();
  t.equal((await result).broken, null);
});

async function drain(stream: FakeStream): Promise<string> {
  const into = new Uint8Array(100);
  let text = "";
  for (;;) {
    const got = stream.read(into);
    if (got === "end") return text;
    if (got === "blocked") await sleep(1);
    else text += Buffer.from(into.subarray(0, got));
  }
}

test("a reset at one end is a reset at the other, in both directions", async (t) => {
  for (const who of ["user", "service"] as const) {
    const { user, service, results, a, b } = await tunnel(t);
    user.write("x");
    service.write("y");
    await Promise.all([once(user, "data"), once(service, "data")]);
    const [breaker, other] = who === "user" ? [user, service] : [service, user];
    const ended = ending(other);
    breaker.resetAndDestroy();
    t.equal(await ended, "ECONNRESET", who);
    const [near, far] = await results;
    t.equal(near.broken?.by, who === "user" ? "local" : "peer");
    t.equal(far.broken?.by, who === "user" ? "peer" : "local");
    const [told, teller] = who === "user" ? [b, a] : [a, b];
    t.same([told.resetBy, told.stoppedBy, teller.resetBy], [STREAM_BROKEN, STREAM_BROKEN, STREAM_BROKEN]);
  }
});

test("a stream that the peer resets, or a connection that is lost, resets the user's connection", async (t) => {
  const reset = await withPeer(t);
  const resetEnding = ending(reset.user);
  reset.peer.reset(9);
  t.equal(await resetEnding, "ECONNRESET");
  t.match((await reset.result).broken?.reason ?? "", /code 9/);

  const lost = await withPeer(t);
  const lostEnding = ending(lost.user);
  lost.peer.peer.lose("the session ended");
  t.equal(await lostEnding, "ECONNRESET");
  t.same((await lost.result).broken, { by: "peer", reason: "the session ended" });
});

test("a peer that stops reading breaks the user's connection at its next bytes", async (t) => {
  const { user, peer, result } = await withPeer(t);
  const ended = ending(user);
  peer.stopSending(4);
  await sleep(5);
  user.write("more");
  t.equal(await ended, "ECONNRESET");
  t.equal((await result).broken?.by, "peer");
  t.equal(peer.resetBy, STREAM_BROKEN);
});

test("a user who ends when the connection is gone, which nobody was told of yet, is reset, and the program goes on", async (t) => {
  const { user, accepted } = await tcpPair(t);
  const [stream] = fakeStreamPair();
  stream.finish = () => {
    throw new Error("this side closed the connection");
  };
  const result = forwardTcp(accepted, stream);
  const ended = ending(user);
  user.end();
  t.equal(await ended, "ECONNRESET");
  t.same((await result).broken, { by: "peer", reason: "this side closed the connection" });
});

test("50 MB to a slow reader arrive whole, and little of them is held on the way", async (t) => {
  const total = 50 * 1024 * 1024;
  const { user, service, near, far, a, b, results } = await tunnel(t);
  const block = Buffer.from(seededRandom(1).bytes(64 * 1024));
  const sent = createHash("sha256");
  const writer = (async () => {
    for (let left = total; left > 0; left -= block.length) {
      block.writeUInt32BE(left);
      const chunk = Buffer.from(block);
      sent.update(chunk);
      if (!user.write(chunk)) await once(user, "drain");
    }
    user.end();
  })();
  const received = createHash("sha256");
  let receivedBytes = 0;
  let mostWaiting = 0;
  let stalls = 0;
  for await (const chunk of service as AsyncIterable<Buffer>) {
    received.update(chunk);
    const before = Math.floor(receivedBytes / (8 * 1024 * 1024));
    receivedBytes += chunk.length;
    mostWaiting = Math.max(mostWaiting, far.writableLength, near.readableLength);
    if (Math.floor(receivedBytes / (8 * 1024 * 1024)) !== before) {
      stalls++;
      await sleep(40); // everything behind must come to a stop now
    }
  }
  service.end();
  await writer;
  const [up] = await results;
  t.equal(receivedBytes, total);
  t.equal(received.digest("hex"), sent.digest("hex"));
  t.equal(up.sentBytes, total);
  t.ok(stalls >= 5);
  t.ok(b.mostHeld <= 256 * 1024 && a.mostHeld === 0, `${b.mostHeld} in the stream`);
  t.ok(mostWaiting <= 1024 * 1024, `${mostWaiting} bytes waited in a socket's buffer`);
});

test("a reader that never reads stops the writer at a bound", async (t) => {
  const { user, near, far, b } = await tunnel(t);
  // The service's socket is not read at all.
  const block = Buffer.alloc(64 * 1024);
  let written = 0;
  let stuck = false;
  while (!stuck && written < 64 * 1024 * 1024) {
    written += block.length;
    if (!user.write(block)) stuck = !(await Promise.race([once(user, "drain").then(() => true), sleep(300, false)]));
  }
  t.ok(stuck, `${written} bytes went nowhere`);
  t.ok(b.mostHeld <= 256 * 1024);
  t.ok(far.writableLength <= 256 * 1024, `${far.writableLength} bytes wait for the service`);
  // Bun reads up to 512 KiB at once, so that much may come behind a pause.
  t.ok(near.readableLength <= 1024 * 1024, `${near.readableLength} bytes wait for the stream`);
});

test("many short connections one after another leave nothing behind", async (t) => {
  const events = ["data", "end", "drain", "close"];
  const fresh = (await tcpPair(t)).accepted;
  for (let i = 0; i < 50; i++) {
    const { user, service, near: socket, a, b, results } = await tunnel(t, 16);
    const text = `message ${i} `.repeat(i + 1);
    const got = readAll(service);
    user.end(text);
    t.equal(await got, text);
    service.end();
    const [near, far] = await results;
    t.same([near.broken, far.broken, near.sentBytes], [null, null, text.length]);
    for (const event of events) t.ok(socket.listenerCount(event) <= fresh.listenerCount(event), event);
    for (const stream of [a, b]) t.same([stream.onReadable, stream.onWritable, stream.onClosed], [null, null, null]);
  }
});

test("stdin and stdout are carried like a socket", async (t) => {
  const [stream, peer] = fakeStreamPair();
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  let aborted = 0;
  const result = forwardBytes({ readable: stdin, writable: stdout, abort: () => aborted++ }, stream);
  stdin.end("question");
  t.equal(await drain(peer), "question");
  peer.write(Buffer.from("answer"));
  peer.finish();
  let text = "";
  for await (const chunk of stdout) text += chunk;
  t.equal(text, "answer");
  t.same(await result, { sentBytes: 8, receivedBytes: 6, broken: null });
  t.equal(aborted, 0);
});
