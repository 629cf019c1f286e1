import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { nullLogger, SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import { type ExitError, type LocalListener, Streams } from "@adit/program";
import { QuicError } from "@adit/quic";
import { ServiceRefusedError, SessionError } from "@adit/transport";
import { Carrier } from "../src/carrier.ts";
import { Listeners } from "../src/listeners.ts";
import { UnknownServices } from "../src/open-on-session.ts";
import { EchoStream, FakeSession } from "./fakes.ts";

const anyPort = SocketAddress.of("127.0.0.1", 0);
const tcp = (service: string, address: SocketAddress): LocalListener => ({ protocol: "tcp", service, address });

/** Listeners for some services whose connections are carried over what `session` gives. */
async function makeAgent(
  t: T,
  services: readonly string[],
  session: (signal: AbortSignal) => Promise<FakeSession>,
  waitMs?: number,
) {
  const events: { event: string; fields: Record<string, unknown> }[] = [];
  const note = (event: string, fields = {}) => void events.push({ event, fields });
  const log = { ...nullLogger, info: note, warn: note };
  const useless: ExitError[] = [];
  const listeners = await Listeners.bind(services.map((service) => tcp(service, anyPort)));
  const carrier = new Carrier({
    session,
    streams: new Streams(log),
    log,
    unknown: new UnknownServices(services, (error) => useless.push(error)),
    ...(waitMs !== undefined && { waitMs }),
  });
  const carried: Promise<void>[] = [];
  const start = () => listeners.start((socket, service) => void carried.push(carrier.carry(socket, service)));
  t.teardown(() => {
    listeners.stop();
    listeners.reset();
  });
  const dial = (index = 0): Socket => {
    const { address } = t.must(listeners.bound[index]);
    const socket = connect({ host: address.ip, port: address.port, allowHalfOpen: true });
    t.teardown(() => socket.destroy());
    return socket;
  };
  return { listeners, start, dial, events, useless, carried };
}

/** What came until the end, or the code of the error. */
function outcome(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("end", () => resolve(text));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
  });
}

test("a connection is carried, and the log has its opening and its bytes", async (t) => {
  const agent = await makeAgent(t, ["echo"], async () => new FakeSession());
  agent.start();
  const user = agent.dial();
  user.end("hello");
  t.equal(await outcome(user), "hello");
  await Promise.all(agent.carried);
  t.same(agent.events, [
    { event: "stream-open", fields: { peerId: "peer", service: "echo", bytes: 0 } },
    { event: "stream-close", fields: { peerId: "peer", service: "echo", bytes: 10, sentBytes: 5, receivedBytes: 5 } },
  ]);
});

test("a connection that comes before the session waits for it", async (t) => {
  let give: (session: FakeSession) => void = () => {};
  const coming = new Promise<FakeSession>((resolve) => {
    give = resolve;
  });
  const agent = await makeAgent(t, ["echo"], () => coming);
  const user = agent.dial(); // nobody has called start yet
  user.end("early");
  const ended = outcome(user);
  await once(user, "connect");
  agent.start();
  give(new FakeSession());
  t.equal(await ended, "early");
});

test("a connection that waited too long is reset", async (t) => {
  const agent = await makeAgent(t, ["echo"], (signal) => untilAbort(signal), 50);
  agent.start();
  t.equal(await outcome(agent.dial()), "ECONNRESET");
  t.match(
    String(agent.events[0]?.fields.message),
    /^echo: connection reset: the connector was not reached within 0\.05 s$/,
  );
});

const untilAbort = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

test("a stream that comes too late is given back", async (t) => {
  const session = new FakeSession();
  const stream = new EchoStream();
  let give: () => void = () => {};
  session.open = () =>
    new Promise((resolve) => {
      give = () => resolve(stream);
    });
  const agent = await makeAgent(t, ["echo"], async () => session, 50);
  agent.start();
  t.equal(await outcome(agent.dial()), "ECONNRESET");
  await Promise.all(agent.carried);
  give();
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(stream.resetBy, 2);
});

test("a session that ends while the stream is being opened is replaced by the next", async (t) => {
  const dead = new FakeSession("1");
  dead.open = async () => {
    dead.end("the connector was restarted");
    throw new SessionError("closed", "the session ended");
  };
  const sessions = [dead, new FakeSession("2")];
  const agent = await makeAgent(t, ["echo"], async () => t.must(sessions.find(({ isOver }) => !isOver)));
  agent.start();
  const user = agent.dial();
  user.end("again");
  t.equal(await outcome(user), "again");
  t.same(t.must(sessions[1]).opened, ["echo"]);
});

/** A session that lets two streams be open at once; `end` ends the oldest. */
function narrowSession() {
  const session = new FakeSession();
  const open: EchoStream[] = [];
  session.open = async () => {
    if (open.length >= 2) throw new QuicError("stream-limit", "2 streams are open, which is the limit");
    const stream = new EchoStream();
    open.push(stream);
    return stream;
  };
  return { session, end: () => open.shift()?.finish() };
}

test("a connection that finds all streams of the session in use waits until one has ended", async (t) => {
  const { session, end } = narrowSession();
  const agent = await makeAgent(t, ["echo"], async () => session);
  agent.start();
  const users = Array.from({ length: 6 }, () => agent.dial());
  const served: number[] = [];
  const outcomes = users.map((user, i) => {
    user.end(`user ${i}`);
    return outcome(user).then((text) => {
      served.push(i);
      end(); // the session has one more to give
      return text;
    });
  });
  t.same(await Promise.all(outcomes), ["user 0", "user 1", "user 2", "user 3", "user 4", "user 5"]);
  t.same([...served].sort(), [0, 1, 2, 3, 4, 5]);
  t.equal(agent.events.filter(({ event }) => event === "connection-reset").length, 0);
});

test("a connection for which no stream becomes free is reset, with the reason", async (t) => {
  const { session } = narrowSession();
  const agent = await makeAgent(t, ["echo"], async () => session, 200);
  agent.start();
  const [one, two] = [agent.dial(), agent.dial()];
  await Promise.all([once(one, "connect"), once(two, "connect")]);
  while (session.opened.length < 2) await new Promise((resolve) => setImmediate(resolve));
  t.equal(await outcome(agent.dial()), "ECONNRESET");
  const reset = agent.events.find(({ event }) => event === "connection-reset");
  t.match(String(reset?.fields.reason), /as many connections as it can/);
  t.notOk(one.destroyed || two.destroyed, "those that have a stream keep it");
});

test("a service that does not answer resets the connection and leaves the agent running", async (t) => {
  const session = new FakeSession();
  session.open = async (service) => {
    throw new ServiceRefusedError("service-unavailable", `${service} does not answer: connection refused`);
  };
  const agent = await makeAgent(t, ["closed"], async () => session);
  agent.start();
  t.equal(await outcome(agent.dial()), "ECONNRESET");
  await Promise.all(agent.carried);
  t.equal(agent.useless.length, 0);
  const { event, fields } = t.must(agent.events[0]);
  t.same([event, fields.code, fields.service], ["service-refused", "service-unavailable", "closed"]);
  t.match(String(fields.message), /closed: refused by the connector: .*connection refused/);
});

test("only when every service is unknown to the connector is the agent of no use", async (t) => {
  const session = new FakeSession();
  session.open = async (service) => {
    throw new ServiceRefusedError("service-unknown", `no service named ${service}`);
  };
  const agent = await makeAgent(t, ["one", "two"], async () => session);
  agent.start();
  t.equal(await outcome(agent.dial(0)), "ECONNRESET");
  t.equal(await outcome(agent.dial(0)), "ECONNRESET");
  await Promise.all(agent.carried);
  t.equal(agent.useless.length, 0);
  t.equal(await outcome(agent.dial(1)), "ECONNRESET");
  await Promise.all(agent.carried);
  t.same(
    agent.useless.map(({ code, status }) => [code, status]),
    [["refused", 3]],
  );
});

test("a taken listener address is a usage error, and nothing stays bound", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  const bound = server.address();
  const taken = anyPort.withPort(typeof bound === "object" && bound ? bound.port : 0);
  const probe = await Listeners.bind([tcp("a", anyPort)]);
  const free = t.must(probe.bound[0]).address;
  probe.stop();
  const both = [tcp("a", free), tcp("b", taken)];
  await t.rejects(Listeners.bind(both), {
    code: "usage",
    message: new RegExp(`${taken.key} is in use; choose another with --local`),
  });
  (await Listeners.bind([tcp("a", free)])).stop();
});

/** A session that answers a request when the test says so; `asked`: the stream, once there was a request. */
function slowSession(session: FakeSession) {
  const answer = new AbortController();
  const stream = new EchoStream();
  const asked = new Promise<EchoStream>((resolve) => {
    session.open = async (_service, onRequested) => {
      onRequested(stream);
      resolve(stream);
      await once(answer.signal, "abort");
      if (answer.signal.reason instanceof SessionError) throw answer.signal.reason;
      return stream;
    };
  });
  return { asked, answer: (error?: SessionError) => answer.abort(error) };
}

/** As many bytes as are wanted, as soon as the stream has them. */
async function written(stream: EchoStream, wanted: number): Promise<string> {
  const into = new Uint8Array(wanted);
  while (stream.heldBytes < wanted) await new Promise((resolve) => setImmediate(resolve));
  const read = stream.read(into);
  return Buffer.from(into.subarray(0, typeof read === "number" ? read : 0)).toString();
}

test("what a client says first leaves behind the request, before it was accepted, and all the rest follows in order", async (t) => {
  const session = new FakeSession();
  const { asked, answer } = slowSession(session);
  const agent = await makeAgent(t, ["web"], async () => session);
  agent.start();
  const socket = agent.dial();
  const result = outcome(socket);
  socket.write("GET / ");
  const stream = await asked;
  t.equal(await written(stream, 6), "GET / ");
  socket.end("HTTP/1.1");
  answer();
  t.equal(await result, "HTTP/1.1");
  await Promise.all(agent.carried);
  const { fields } = t.must(agent.events.find(({ event }) => event === "stream-close"));
  t.equal(fields.sentBytes, 14, "each byte is counted once");
});

test("at most 16 KiB leave before the connector has accepted", async (t) => {
  const session = new FakeSession();
  const { asked, answer } = slowSession(session);
  const agent = await makeAgent(t, ["web"], async () => session);
  agent.start();
  const socket = agent.dial();
  const result = outcome(socket);
  const sent = "0123456789abcdef".repeat(8 * 1024);
  socket.end(sent);
  const stream = await asked;
  while (stream.heldBytes === 0) await new Promise((resolve) => setImmediate(resolve));
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  t.ok(stream.heldBytes <= 16 * 1024, `${stream.heldBytes} bytes`);
  answer();
  t.equal(await result, sent);
});

test("a client that says nothing and ends is heard all the same", async (t) => {
  const session = new FakeSession();
  const { asked, answer } = slowSession(session);
  const agent = await makeAgent(t, ["web"], async () => session);
  agent.start();
  const socket = agent.dial();
  const result = outcome(socket);
  socket.end();
  await asked;
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  answer();
  t.equal(await result, "");
  await Promise.all(agent.carried);
});

test("first bytes are not sent again on another session: the service may have had them", async (t) => {
  const [one, two] = [new FakeSession("1"), new FakeSession("2")];
  const sessions = [one, two];
  const { asked, answer } = slowSession(one);
  const agent = await makeAgent(t, ["web"], async () => t.must(sessions.shift()));
  agent.start();
  const socket = agent.dial();
  const result = outcome(socket);
  socket.write("transfer 1000");
  const stream = await asked;
  t.equal(await written(stream, 13), "transfer 1000");
  one.end("gone");
  answer(new SessionError("closed", "the session ended"));
  t.equal(await result, "ECONNRESET");
  t.same(two.opened, []);
});
