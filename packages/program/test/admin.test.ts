import { once } from "node:events";
import { request } from "node:http";
import { createServer } from "node:net";
import { type LogFields, nullLogger, SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import { type AdminServer, isTrustedHost, peerStatusInWords, showStatus, startAdmin } from "../src/index.ts";

const any = SocketAddress.of("127.0.0.1", 0);

async function makeAdmin(t: T, state = { ready: true, path: "direct" }): Promise<AdminServer> {
  const admin = await startAdmin(any, {
    health: () => ({ ready: state.ready, listeners: 1 }),
    status: () => ({ peerId: "x", sessions: state.path === "" ? [] : [{ path: state.path, reason: "so it is" }] }),
    metrics: () => [
      {
        name: "adit_sessions",
        help: "Live sessions.",
        type: "gauge",
        samples: [{ labels: { path: 'a"b' }, value: 2 }],
      },
    ],
  });
  t.teardown(() => admin.close());
  return admin;
}

async function ask(admin: AdminServer, path: string, options: { method?: string; host?: string } = {}) {
  const { ip: host, port } = admin.address;
  const sent = request({
    host,
    port,
    path,
    method: options.method ?? "GET",
    agent: false,
    headers: { host: options.host ?? admin.address.key },
  });
  sent.end();
  const [response] = await once(sent, "response");
  let body = "";
  for await (const chunk of response) body += chunk;
  return { code: response.statusCode as number, type: String(response.headers["content-type"]), body };
}

test("health is 200 when ready and 503 when not, both with JSON", async (t) => {
  const state = { ready: false, path: "relay" };
  const admin = await makeAdmin(t, state);
  const down = await ask(admin, "/healthz");
  t.same([down.code, down.type, JSON.parse(down.body)], [503, "application/json", { ready: false, listeners: 1 }]);
  state.ready = true;
  t.equal((await ask(admin, "/healthz?x=1")).code, 200);
});

test("status and metrics are served, other paths and methods are not", async (t) => {
  const admin = await makeAdmin(t);
  t.same(JSON.parse((await ask(admin, "/status")).body), {
    peerId: "x",
    sessions: [{ path: "direct", reason: "so it is" }],
  });
  const metrics = await ask(admin, "/metrics");
  t.match(metrics.type, /^text\/plain; version=0\.0\.4/);
  t.equal(
    metrics.body,
    '# HELP adit_sessions Live sessions.\n# TYPE adit_sessions gauge\nadit_sessions{path="a\\"b"} 2\n',
  );
  t.equal((await ask(admin, "/")).code, 404);
  t.equal((await ask(admin, "/status", { method: "POST" })).code, 405);
});

test("a Host header that names another host is refused", async (t) => {
  const admin = await makeAdmin(t);
  for (const host of [
    "evil.example",
    `evil.example:${admin.address.port}`,
    "127.0.0.1.evil.example",
    "10.0.0.1",
    "localhost.evil",
  ]) {
    t.equal((await ask(admin, "/status", { host })).code, 403, host);
  }
  for (const host of [
    "localhost",
    `localhost:${admin.address.port}`,
    "127.0.0.1",
    "127.9.9.9:1",
    "[::1]:9435",
    "LOCALHOST",
  ]) {
    t.equal((await ask(admin, "/status", { host })).code, 200, host);
  }
});

test("besides loopback the bound address itself is trusted", (t) => {
  const bound = ["192.0.2.7", "2001:db8::1"];
  for (const host of ["192.0.2.7", "192.0.2.7:9435", "[2001:db8::1]:9435", "[2001:DB8:0::1]"])
    t.ok(isTrustedHost(host, bound), host);
  for (const host of [
    undefined,
    "",
    "192.0.2.8",
    "[2001:db8::2]",
    "192.0.2.7:x",
    "192.0.2.7@evil",
    "2001:db8::1",
    "a:b:c",
  ]) {
    t.notOk(isTrustedHost(host, bound), String(host));
  }
});

test("a taken admin address is a usage error that names the option", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const taken = startAdmin(any.withPort(port), {
    health: () => ({ ready: true }),
    status: () => ({}),
    metrics: () => [],
  });
  await t.rejects(taken, {
    code: "usage",
    message: /admin address 127\.0\.0\.1:\d+ is in use; choose another with --admin/,
  });
});

test("the status command prints the JSON as served or words, and checks", async (t) => {
  const state = { ready: true, path: "direct" };
  const admin = await makeAdmin(t, state);
  const printed: string[] = [];
  const why: unknown[] = [];
  const log = { ...nullLogger, warn: (_event: string, fields = {}) => void why.push((fields as LogFields).message) };
  const show = (check: "direct" | "ready" | undefined, json: boolean) =>
    showStatus({
      program: "adit-agent",
      admin: admin.address,
      json,
      ...(check && { check }),
      words: () => "in words",
      print: (text) => printed.push(text),
      log,
    });
  t.equal(await show(undefined, true), 0);
  t.equal(await show(undefined, false), 0);
  t.same(printed, ['{"peerId":"x","sessions":[{"path":"direct","reason":"so it is"}]}\n', "in words"]);
  t.same([await show("ready", true), await show("direct", true)], [0, 0]);
  state.path = "relay";
  state.ready = false;
  t.same([await show("ready", true), await show("direct", true)], [1, 1]);
  state.path = "";
  t.equal(await show("direct", true), 1);
  t.same(why, [
    'not ready: /healthz answers 503: {"ready":false,"listeners":1}',
    "not direct: a session's path is relay (so it is)",
    "not direct: there is no session",
  ]);
});

test("status of a path that went silent a moment ago is not direct", async (t) => {
  const admin = await startAdmin(any, {
    health: () => ({ ready: true }),
    status: () => ({ sessions: [{ path: "direct", local: null, reason: "the direct path went silent" }] }),
    metrics: () => [],
  });
  t.teardown(() => admin.close());
  const why: unknown[] = [];
  const status = await showStatus({
    program: "adit-agent",
    admin: admin.address,
    json: true,
    check: "direct",
    words: () => "",
    print: () => {},
    log: { ...nullLogger, warn: (_event: string, fields = {}) => void why.push((fields as LogFields).message) },
  });
  t.equal(status, 1);
  t.same(why, ["not direct: no path carries a session (the direct path went silent)"]);
});

test("status asked of another program says that it is another", async (t) => {
  const admin = await startAdmin(any, {
    health: () => ({ ready: true }),
    status: () => ({ peerId: "x", registrations: [] }),
    metrics: () => [],
  });
  t.teardown(() => admin.close());
  const printed: string[] = [];
  const status = showStatus({
    program: "adit-agent",
    admin: admin.address,
    json: false,
    words: peerStatusInWords,
    print: (text) => printed.push(text),
    log: nullLogger,
  });
  const message = `what answers at ${admin.address.key} is no adit-agent; is --admin right?`;
  await t.rejects(status, { code: "failure", message });
  t.same(printed, []);
});

test("status without a running program says so", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const admin = any.withPort(typeof address === "object" && address ? address.port : 0);
  server.close();
  await once(server, "close");
  const status = showStatus({
    program: "adit-agent",
    admin,
    json: true,
    words: () => "",
    print: () => {},
    log: nullLogger,
  });
  await t.rejects(status, { code: "failure", message: new RegExp(`no adit-agent answers at ${admin.key}`) });
});
