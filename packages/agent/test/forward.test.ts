import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { nullLogger, SocketAddress, toBase32 } from "@adit/core";
import { type T, test } from "@adit/harness";
import { type Context, intermediateAddress, type OpenState, Pins, target } from "@adit/program";
import { Identity } from "@adit/quic";
import {
  type Endpoint,
  type EndpointOptions,
  type PeerSession,
  ServiceRefusedError,
  SessionError,
} from "@adit/transport";
import { forward } from "../src/forward.ts";
import { pipe } from "../src/pipe.ts";
import { FakeSession, settle } from "./fakes.ts";

const peerA = toBase32(new Uint8Array(32).fill(1));
const peerB = toBase32(new Uint8Array(32).fill(2));
const anyPort = SocketAddress.of("127.0.0.1", 0);
const echo = { protocol: "tcp", service: "echo", address: anyPort } as const;

type Attempt = { target: string; expectedPeer?: string; service: string; waitMs: number };

/** An endpoint whose connection attempts the test answers. */
function makeWorld(t: T) {
  const dir = mkdtempSync(join(tmpdir(), "adit-forward-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const identity = Identity.generate();
  const state: OpenState = { identity, pins: new Pins(dir, "adit-agent") };
  const attempts: (Attempt & { resolve: (session: FakeSession) => void; reject: (error: Error) => void })[] = [];
  const events: { event: string; fields: Record<string, unknown> }[] = [];
  const note = (event: string, fields = {}) => void events.push({ event, fields });
  const abort = new AbortController();
  const world = { closedWith: null as string | null, started: null as EndpointOptions | null };
  const context: Context = {
    program: "adit-agent",
    stateDir: dir,
    log: { ...nullLogger, info: note, warn: note, debug: note },
    signal: abort.signal,
    print: () => {},
  };
  const start = async (options: EndpointOptions): Promise<Endpoint> => {
    world.started = options;
    return {
      peerId: identity.peerId,
      localAddresses: [],
      registered: false,
      waitRegistered: async () => {},
      connect: (attempt) =>
        new Promise<PeerSession>((resolve, reject) => {
          // The commands use no more of a session than the fake has.
          attempts.push({ ...attempt, resolve: (session) => resolve(session as unknown as PeerSession), reject });
        }),
      samples: () => [],
      status: () => ({
        peerId: identity.peerId,
        intermediate: { address: "127.0.0.1:4433", connected: true, rttMs: 0.4 },
        intermediates: [{ address: "127.0.0.1:4433", connected: true, rttMs: 0.4, transport: "quic", relay: null }],
        udpReach: "open",
        observedAddress: null,
        portMapping: null,
        sessions: [],
        totals: {
          sessions: 0,
          handshakes: 0,
          migrations: 0,
          sentBytes: 0,
          receivedBytes: 0,
          packetsSent: 0,
          packetsReceived: 0,
          packetsLost: 0,
        },
        dropped: {},
      }),
      surroundings: () => ({
        network: { policy: "all", udp: "unknown", mapping: "unknown", ports: "unknown" },
        stunServers: [],
      }),
      onSession: null,
      onStopped: null,
      close: async (reason) => {
        world.closedWith = reason;
        for (const { reject } of attempts) reject(new SessionError("closed", reason));
      },
    };
  };
  const link = {
    intermediate: [t.must(intermediateAddress.parse("127.0.0.1:4433"))],
    to: t.must(target.parse("office")),
    bind: undefined,
    icePolicy: "all",
    congestionControl: "cubic",
    portMapping: "off",
    wait: 2000,
    trace: undefined,
  } as const;
  const runForward = () => {
    const values = { ...link, local: [echo], admin: anyPort, udpIdle: 120_000 };
    const running = forward(start, values, state, context);
    running.catch(() => {});
    t.teardown(() => abort.abort());
    return running;
  };
  const attempt = async (index: number) => {
    while (attempts.length <= index) await settle();
    return t.must(attempts[index]);
  };
  const event = async (name: string) => {
    for (;;) {
      const found = events.find((entry) => entry.event === name);
      if (found) return found.fields;
      await settle();
    }
  };
  return { world, state, context, start, link, attempts, attempt, abort, event, runForward };
}

const addressOf = async (
  event: (name: string) => Promise<Record<string, unknown>>,
  name: string,
): Promise<SocketAddress> => {
  const { address } = await event(name);
  if (!(address instanceof SocketAddress)) throw new Error(`${name} has no address`);
  return address;
};

/** Sends a text to the listener and reads the answer to its end. */
function exchange(address: SocketAddress, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address.ip, port: address.port, allowHalfOpen: true });
    let answer = "";
    socket.on("data", (chunk) => {
      answer += chunk;
    });
    socket.on("end", () => resolve(answer));
    socket.on("error", reject);
    socket.end(text);
  });
}

test("forward tells the real port, serves a connection from before the session, and ends cleanly", async (t) => {
  const { runForward, event, attempt, abort, world } = makeWorld(t);
  const running = runForward();
  const address = await addressOf(event, "listening");
  t.notEqual(address.port, 0);
  const early = exchange(address, "early");
  const { resolve, ...asked } = await attempt(0);
  t.same([asked.target, asked.expectedPeer, asked.service, asked.waitMs], ["office", undefined, "echo", 2000]);
  resolve(new FakeSession("1", { id: peerA, name: "office" }));
  t.equal(await early, "early");
  abort.abort();
  await running;
  t.equal(world.closedWith, "the agent is ending");
  await t.rejects(exchange(address, "late"), { code: "ECONNREFUSED" });
});

test("the admin address says healthy, and shows the listeners in the status", async (t) => {
  const { runForward, event } = makeWorld(t);
  runForward();
  const admin = await addressOf(event, "admin");
  const listener = await addressOf(event, "listening");
  t.equal((await fetch(`http://${admin.key}/healthz`)).status, 200);
  const status = (await (await fetch(`http://${admin.key}/status`)).json()) as Record<string, unknown>;
  t.same(Object.keys(status), [
    "peerId",
    "intermediate",
    "intermediates",
    "udpReach",
    "observedAddress",
    "portMapping",
    "listeners",
    "udp",
    "sessions",
  ]);
  t.same(status.listeners, [{ protocol: "tcp", service: "echo", address: listener.key }]);
  t.match(await (await fetch(`http://${admin.key}/metrics`)).text(), /^adit_intermediate_connected 1$/m);
});

test("the agent outlives a restart of the connector: the next connection works", async (t) => {
  const { runForward, event, attempt } = makeWorld(t);
  runForward();
  const address = await addressOf(event, "listening");
  const first = new FakeSession("1", { id: peerA, name: "office" });
  (await attempt(0)).resolve(first);
  t.equal(await exchange(address, "one"), "one");
  first.end("the connector is ending");
  const waiting = exchange(address, "two");
  const again = await attempt(1);
  t.equal(again.expectedPeer, peerA, "the name is pinned now");
  again.resolve(new FakeSession("2", { id: peerA, name: "office" }));
  t.equal(await waiting, "two");
});

test("a failure before there ever was a session ends forward with its exit status and a sentence", async (t) => {
  const cases = [
    ["not-found", 4, /no connector named office was found at 127\.0\.0\.1:4433 within 2 s/],
    ["timeout", 5, /it took too long/],
    ["intermediate-unreachable", 5, /it took too long/],
    ["not-allowed", 3, /office does not let this agent in: it took too long; .* --allow [a-z2-7]{52}$/],
    ["refused", 3, /it took too long/],
    ["intermediate-changed", 3, /it took too long/],
    ["unsupported-version", 3, /it took too long/],
    ["closed", 1, /it took too long/],
  ] as const;
  for (const [code, status, message] of cases) {
    const { runForward, attempt, world } = makeWorld(t);
    const running = runForward();
    (await attempt(0)).reject(new SessionError(code, "it took too long"));
    await t.rejects(running, { name: "ExitError", status, message });
    t.ok(world.closedWith, code);
  }
});

test("a name that leads to another key is refused with the way to accept it, whoever notices", async (t) => {
  // The intermediate noticed.
  const told = makeWorld(t);
  told.state.pins.check("peers", "office", peerA);
  const running = told.runForward();
  const asked = await told.attempt(0);
  t.equal(asked.expectedPeer, peerA);
  asked.reject(new SessionError("peer-changed", "another key"));
  const sentence = /the connector office has another PeerId now; before, it was .*adit-agent forget office/;
  await t.rejects(running, { status: 3, message: sentence });

  // The name was pinned while we were connecting.
  const late = makeWorld(t);
  const second = late.runForward();
  const attempt = await late.attempt(0);
  late.state.pins.check("peers", "office", peerA);
  const session = new FakeSession("1", { id: peerB, name: "office" });
  attempt.resolve(session);
  await t.rejects(second, { status: 3, message: new RegExp(`has the PeerId ${peerB} now`) });
  t.ok(session.closeReason);
});

test("a PeerId as target is expected, and pins nothing", async (t) => {
  const { start, link, state, context, attempt, abort } = makeWorld(t);
  const values = {
    ...link,
    to: t.must(target.parse(peerB)),
    local: [echo],
    admin: anyPort,
    udpIdle: 120_000,
  };
  const running = forward(start, values, state, context);
  const { target: asked, expectedPeer, resolve } = await attempt(0);
  t.same([asked, expectedPeer], [peerB, peerB]);
  resolve(new FakeSession("1", { id: peerB, name: "office" }));
  await settle();
  abort.abort();
  await running;
  t.same(state.pins.keys(), []);
});

test("the intermediate's key is pinned at the first contact, or must be the one that was named", async (t) => {
  const { runForward, world, attempt, state } = makeWorld(t);
  runForward();
  await attempt(0);
  const check = t.must(world.started).checkIntermediate;
  t.equal(check(peerA, "127.0.0.1:4433"), null);
  t.equal(check(peerA, "127.0.0.1:4433"), null);
  t.match(
    check(peerB, "127.0.0.1:4433") ?? "",
    /the intermediate 127\.0\.0\.1:4433 has the PeerId .* adit-agent forget 127\.0\.0\.1:4433/,
  );

  const named = makeWorld(t);
  const intermediate = [t.must(intermediateAddress.parse(`${peerA}@127.0.0.1:4433`))];
  const values = { ...named.link, intermediate, local: [echo], admin: anyPort, udpIdle: 120_000 };
  forward(named.start, values, named.state, named.context).catch(() => {});
  await named.attempt(0);
  const namedCheck = t.must(named.world.started).checkIntermediate;
  t.match(namedCheck(peerB, "127.0.0.1:4433") ?? "", /not .* as --intermediate says/);
  t.equal(namedCheck(peerA, "127.0.0.1:4433"), null);
  t.same([state.pins.keys(), named.state.pins.keys()], [["127.0.0.1:4433"], []]);
  named.abort.abort();
});

test("pipe carries stdin and stdout, and its failures have exit statuses", async (t) => {
  const { start, link, state, context, attempt, world } = makeWorld(t);
  const stdio = { stdin: new PassThrough(), stdout: new PassThrough() };
  const piping = pipe(start, { ...link, service: "echo" }, state, context, stdio);
  stdio.stdin.end("question");
  (await attempt(0)).resolve(new FakeSession("1", { id: peerA, name: "office" }));
  let answer = "";
  for await (const chunk of stdio.stdout) answer += chunk;
  await piping;
  t.equal(answer, "question");
  t.ok(world.closedWith);

  const refused = pipe(start, { ...link, service: "nosuch" }, state, context, {
    stdin: new PassThrough(),
    stdout: new PassThrough(),
  });
  const session = new FakeSession("2", { id: peerA, name: "office" });
  session.open = async () => {
    throw new ServiceRefusedError("service-unknown", "no such service");
  };
  (await attempt(1)).resolve(session);
  await t.rejects(refused, { status: 3, message: "office refuses nosuch: no such service" });
});
