import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nullLogger, parseSocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import { decodeStun, STUN_METHOD, StunBuilder } from "@adit/ice";
import { Identity } from "@adit/quic";
import { bindUdp, type Incoming, startEndpoint } from "@adit/transport";

const BIN = join(import.meta.dirname, "..", "bin", "adit-intermediate");

interface Line {
  readonly event: string;
  readonly level: string;
  readonly time: string;
  readonly service?: string;
  readonly address?: string;
  readonly message?: string;
}

class Run {
  readonly dir = mkdtempSync(join(tmpdir(), "adit-intermediate-"));
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  out = "";
  err = "";

  /** `under`: a program that runs it, with its arguments. */
  constructor(t: T, args: (dir: string) => readonly string[], under: readonly string[] = []) {
    const [command = BIN, ...rest] = [...under, BIN, ...args(this.dir)];
    this.child = spawn(command, rest, { stdio: ["ignore", "pipe", "pipe"] });
    this.child.stdout?.on("data", (data) => {
      this.out += data;
    });
    this.child.stderr?.on("data", (data) => {
      this.err += data;
    });
    this.exit = new Promise((resolve) => this.child.once("close", resolve));
    t.teardown(async () => {
      this.child.kill("SIGKILL");
      await this.exit;
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  get lines(): Line[] {
    return this.err
      .trim()
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Line);
  }

  async event(name: string): Promise<Line> {
    for (let waited = 0; waited < 10_000; waited += 10) {
      const line = this.err.endsWith("\n") ? this.lines.find(({ event }) => event === name) : null;
      if (line) return line;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`no ${name}: ${this.err}`);
  }

  async listening(service: string): Promise<string> {
    const line = await this.line((line) => line.event === "listening" && line.service === service, service);
    return line.address ?? "";
  }

  /** The first line of the log that `is` what is waited for. */
  async line(is: (line: Line) => boolean, what: string): Promise<Line> {
    for (let waited = 0; waited < 10_000; waited += 10) {
      const line = this.err.endsWith("\n") ? this.lines.find(is) : null;
      if (line) return line;
      if (this.child.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`nothing said of ${what}: ${this.err}`);
  }
}

const serve =
  (...more: string[]) =>
  (dir: string) => [
    ...["--listen", "127.0.0.1:0", "--stun", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
    ...["--state-dir", join(dir, "state"), "--log", "json", ...more],
  ];

function fetchText(url: string, headers: Record<string, string> = {}): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false, headers }, (response) => {
      let body = "";
      response.on("data", (data) => {
        body += data;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    }).on("error", reject);
  });
}

test("it listens, tells its status, and ends with 0 on SIGTERM", async (t) => {
  const run = new Run(t, serve());
  const admin = await run.listening("admin");
  const signaling = await run.listening("signaling");
  t.ok(await run.listening("stun"));
  t.match(run.lines[0]?.time ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  await run.line((line) => line.message?.includes("--allow-private-relay") ?? false, "how to try it on one machine");
  t.equal((await fetchText(`http://${admin}/healthz`)).status, 200);
  t.equal((await fetchText(`http://${admin}/status`, { Host: "evil.example" })).status, 403);
  const status = JSON.parse((await fetchText(`http://${admin}/status`)).body);
  t.match(status.peerId, /^[a-z2-7]{52}$/);
  t.same(status.registrations, []);
  t.same([status.allocations, status.relayedBytes, status.relayedPackets], [0, 0, 0]);
  t.same(status.sessions, { total: 0, direct: 0, relayed: 0, active: 0 });
  t.equal(status.listeners[0].address, signaling);
  t.match((await fetchText(`http://${admin}/metrics`)).body, /^adit_turn_allocations 0$/m);
  // An alert on the first refusal of a kind has to see it come from 0.
  t.match((await fetchText(`http://${admin}/metrics`)).body, /^adit_refusals_total{reason="names-unavailable"} 0$/m);

  const inWords = new Run(t, () => ["status", "--admin", admin, "--check", "ready"]);
  t.equal(await inWords.exit, 0, inWords.err);
  t.ok(inWords.out.includes(status.peerId));
  const id = new Run(t, () => ["id", "--state-dir", join(run.dir, "state")]);
  t.equal(await id.exit, 0, id.err);
  t.equal(id.out, `${status.peerId}\n`);

  // Its addresses are taken now, and so is its state directory.
  const second = new Run(t, serve("--listen", signaling));
  t.equal(await second.exit, 2);
  t.match(second.lines.at(-1)?.message ?? "", new RegExp(`${signaling} is in use`));
  const third = new Run(t, () => [
    "--listen",
    "127.0.0.1:0",
    "--stun",
    "127.0.0.1:0",
    "--state-dir",
    join(run.dir, "state"),
  ]);
  t.equal(await third.exit, 2);
  t.match(third.err, /in use by adit-intermediate/);

  run.child.kill("SIGTERM");
  t.equal(await run.exit, 0, run.err);
});

/** A sandbox whose filter of system calls refuses this one; the program it runs is the process that was started. */
const without = (call: string) => ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", `inject=${call}:error=EPERM`];
const traces =
  spawnSync("strace", ["-qq", "-o", "/dev/null", "-e", "inject=io_setup:error=EPERM", "true"]).status === 0;

for (const call of ["io_setup", "io_submit"]) {
  test(
    `in a sandbox without ${call} it serves with the runtime's sockets, and says so`,
    async (t) => {
      const run = new Run(t, serve(), without(call));
      const stun = parseSocketAddress(await run.listening("stun"));
      t.match((await run.event("runtime-sockets")).message ?? "", /refuses .*io_setup.*filter of system calls/);
      const got: Uint8Array[] = [];
      const handlers = {
        onBatch: (batch: readonly Incoming[]) => void got.push(...batch.map(({ data }) => data)),
        onDrain: () => {},
      };
      const socket = await bindUdp({ address: parseSocketAddress("127.0.0.1:0"), handlers });
      t.teardown(() => socket.close());
      const request = new StunBuilder("request", STUN_METHOD.BINDING, new Uint8Array(12)).build();
      socket.send([{ data: request, to: stun }]);
      for (let waited = 0; got.length === 0 && waited < 5_000; waited += 10) await sleep(10);
      t.equal(decodeStun(t.must(got[0]))?.class, "success");
      run.child.kill("SIGTERM");
      t.equal(await run.exit, 0);
    },
    { skip: !traces && "needs strace" },
  );
}

test("a configuration file is checked: an unknown key or a bad value is named, with what was expected", async (t) => {
  const bad = async (content: string): Promise<string> => {
    const run = new Run(t, (dir) => {
      writeFileSync(join(dir, "adit.toml"), content);
      return ["--config", join(dir, "adit.toml"), "--state-dir", join(dir, "state")];
    });
    t.equal(await run.exit, 2, run.err);
    return run.err;
  };
  t.match(await bad('relay-port = "1-2"\n'), /relay-port.*relay-ports/s);
  t.match(await bad('relay-ports = "65535-1"\n'), /relay-ports.*65535-1.*range of ports/s);
  t.match(await bad('listen = "127.0.0.1:4433"\nstun = "127.0.0.1:4433"\n'), /need different ports/);
  const secret = await bad('turn-user = "nocolon"\n');
  t.ok(!secret.includes("nocolon"), "a secret is not repeated");
});

test("the file's options count, and SIGINT is a clean end too", async (t) => {
  const run = new Run(t, (dir) => {
    const content = {
      listen: "127.0.0.1:0",
      stun: "127.0.0.1:0",
      admin: "127.0.0.1:0",
      log: "json",
      "allow-private-relay": true,
    };
    writeFileSync(join(dir, "adit.json"), JSON.stringify(content));
    return ["--config", join(dir, "adit.json"), "--state-dir", join(dir, "state")];
  });
  await run.listening("admin");
  t.ok(!run.err.includes("loopback-relay-denied"));
  run.child.kill("SIGINT");
  t.equal(await run.exit, 0, run.err);
});

test("no secret is in its log, its status or its metrics; a file of secrets that others can read is warned of", async (t) => {
  const run = new Run(t, (dir) => {
    const path = join(dir, "secret.toml");
    writeFileSync(path, 'turn-secret = "hush-1"\nturn-user = ["alice:hush-2"]\n', { mode: 0o644 });
    return [...serve("--log-level", "trace", "--allow-private-relay")(dir), "--config", path];
  });
  const admin = await run.listening("admin");
  const warned = run.lines.filter(({ event }) => event === "secret-in-sight").map(({ message }) => message ?? "");
  t.equal(warned.length, 2);
  for (const message of warned) t.match(message, /holds turn-(secret|user) and can be read by others .*chmod 600/);
  const [host = "", port] = (await run.listening("signaling")).split(":");
  const connector = await startEndpoint({
    role: "connector",
    identity: Identity.generate(),
    name: "office",
    bind: { ip: "127.0.0.3", port: 0 },
    intermediate: { host, port: Number(port) },
    checkIntermediate: () => null,
    log: nullLogger,
  });
  t.teardown(() => connector.close("test over"));
  await connector.waitRegistered();
  const shown = [`http://${admin}/status`, `http://${admin}/metrics`].map(async (url) => (await fetchText(url)).body);
  const text = [...(await Promise.all(shown)), run.err].join("\n");
  t.match(text, /"office"/);
  const key = readFileSync(join(run.dir, "state", "key.pem"), "utf8").split("\n")[1] ?? "";
  t.ok(key.length > 40);
  for (const secret of ["hush-1", "hush-2", key]) t.notOk(text.includes(secret), secret.slice(0, 4));
});

const KEY = "a".repeat(51).concat("q");
const OTHER_KEY = "b".repeat(51).concat("q");

test("names: reserved, listed, transferred and released beside the running program and without it", async (t) => {
  const run = new Run(t, serve());
  await run.listening("admin");
  const state = join(run.dir, "state");
  const names = async (...args: string[]): Promise<{ status: number | null; out: string; err: string }> => {
    const command = new Run(t, () => ["names", ...args, "--state-dir", state]);
    const status = await command.exit;
    return { status, out: command.out.trim(), err: command.err };
  };
  t.same((await names("list")).out, "no names");
  t.match((await names("transfer", "office", KEY)).out, /^office belongs to a{51}q$/);
  t.match((await names("transfer", "office", OTHER_KEY)).out, /office belongs to b{51}q; before, to a{51}q$/);
  t.match((await names("list")).out, /^office +b{51}q +taken \d{4}-/);
  t.equal(JSON.parse((await names("list", "--json")).out)[0].peerId, OTHER_KEY);
  run.child.kill("SIGTERM");
  t.equal(await run.exit, 0);
  t.match((await names("release", "office")).out, /office is free; it belonged to b{51}q/);
  t.equal((await names("release", "office")).status, 4);
  t.equal((await names("transfer", "office")).status, 2);
  t.match((await names("relaese", "office")).err, /expected list, release NAME, or transfer NAME PEERID/);
  writeFileSync(join(state, "names.sqlite"), "no database at all, for sure. ".repeat(200));
  const damaged = await names("list");
  t.equal(damaged.status, 1);
  t.match(damaged.err, /names\.sqlite is damaged .* was left as it is/);
  const refused = new Run(t, () => [...serve()(run.dir)]);
  t.equal(await refused.exit, 2, "it does not start with an empty table over somebody's names");
  t.match(refused.err, /is damaged/);
});

test("SIGHUP reads the policy anew; a file that is not right keeps the old one and says so", async (t) => {
  let path = "";
  const run = new Run(t, (dir) => {
    path = join(dir, "policy.toml");
    writeFileSync(path, `[[register]]\nkeys = ["${KEY}"]\n`);
    return serve("--policy", path)(dir);
  });
  const admin = await run.listening("admin");
  const metric = async (name: string) =>
    new RegExp(`^${name} (.*)$`, "m").exec((await fetchText(`http://${admin}/metrics`)).body)?.[1];
  writeFileSync(path, `[[register]]\nkeys = ["bob"]\n`);
  run.child.kill("SIGHUP");
  const kept = await run.event("policy-kept");
  t.match(kept.message ?? "", /the old policy stays in force: .*register\.0\.keys\.0 = "bob"/);
  t.equal(await metric("adit_policy_reload_failures"), "1");
  writeFileSync(path, `[[register]]\nkeys = ["any"]\n`);
  run.child.kill("SIGHUP");
  await run.event("policy-reloaded");
  t.equal(await metric("adit_policy_reload_failures"), "0");
  t.equal(await metric("adit_ready"), "1");
  const bad = new Run(t, (dir) => {
    writeFileSync(join(dir, "policy.toml"), "limits = 3\n");
    return serve("--policy", join(dir, "policy.toml"))(dir);
  });
  t.equal(await bad.exit, 2, "at the start a bad file is an error");
});

test("SIGTERM with --drain: not ready, clients told to go, the relay kept for so long at most, then a clean end", async (t) => {
  const run = new Run(t, serve("--drain", "1500ms", "--allow-private-relay"));
  const admin = await run.listening("admin");
  const port = Number((await run.listening("signaling")).split(":")[1]);
  const connector = await startEndpoint({
    identity: Identity.generate(),
    role: "connector",
    name: "office",
    intermediate: { host: "127.0.0.1", port },
    checkIntermediate: () => null,
    bind: { ip: "127.0.0.2", port: 0 },
    log: nullLogger,
  });
  t.teardown(() => connector.close("the test is over"));
  await connector.waitRegistered();
  const allocations = async () =>
    Number(/^adit_turn_allocations (.*)$/m.exec((await fetchText(`http://${admin}/metrics`)).body)?.[1]);
  for (let waited = 0; (await allocations()) === 0 && waited < 5_000; waited += 10) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  run.child.kill("SIGTERM");
  await run.event("draining");
  const health = await fetchText(`http://${admin}/healthz`);
  t.equal(health.status, 503);
  t.equal(JSON.parse(health.body).draining, true);
  t.equal(await allocations(), 1, "the relay is there still");
  t.equal(await run.exit, 0, run.err);
  t.match(run.err, /"event":"drained","ended":"limit"|"ended":"limit".*"event":"drained"/);
});
