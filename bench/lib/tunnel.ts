/** The whole tunnel, TCP in, agent, connector, TCP out, beside `ssh -L` to a server on the same machine. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { cpuMsOf, root, Teller, withIntermediate } from "./processes.ts";

type Line = (label: string, text: string) => void;

const INTERMEDIATE_PORT = 24_443;
const ADIT_PORT = 24_450;
const SSH_PORT = 24_451;
const SSHD_PORT = 24_452;
const REQUESTS = 10_000;
/** Those that are told apart: a runtime compiles what they need while they go on. */
const FIRST_REQUESTS = 1_000;
const REQUEST_BYTES = 100;

export async function measureTunnel(directory: string, bytes: number, line: Line): Promise<void> {
  const service = await startService(bytes);
  const port = (service.address() as { port: number }).port;
  try {
    await measure("tunnel: without one", port, line, bytes);
    await withIntermediate(INTERMEDIATE_PORT, join(directory, "tunnel"), () =>
      withAdit(directory, port, (cpuMs) => measure("tunnel: adit", ADIT_PORT, line, bytes, cpuMs)),
    );
    await withSsh(directory, port, line, (cpuMs) => measure("tunnel: ssh -L", SSH_PORT, line, bytes, cpuMs));
  } finally {
    service.close();
  }
}

/** "d": sends `bytes` and ends. Anything else: echoes. */
async function startService(bytes: number): Promise<Server> {
  const chunk = Buffer.alloc(64 * 1024, 0x61);
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy());
    socket.once("data", (first) => {
      if (first[0] !== 0x64) {
        socket.write(first);
        socket.on("data", (data) => socket.write(data));
        return;
      }
      let left = bytes;
      const write = (): void => {
        while (left > 0) {
          const part = left < chunk.length ? chunk.subarray(0, left) : chunk;
          left -= part.length;
          if (!socket.write(part)) return void socket.once("drain", write);
        }
        socket.end();
      };
      write();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** `cpuMs`: CPU time of all processes of the tunnel so far. */
async function measure(label: string, port: number, line: Line, bytes: number, cpuMs?: () => number): Promise<void> {
  const cpuBefore = cpuMs?.() ?? 0;
  const rate = await download(port, bytes);
  const cpuBetween = cpuMs?.() ?? 0;
  const times = await requests(port);
  const cpuAfter = cpuMs?.() ?? 0;
  line(label, `${(rate / 1e6).toFixed(0).padStart(6)} Mb/s  requests one after the other: ${summary(times)}`);
  const [first, later] = [times.slice(0, FIRST_REQUESTS), times.slice(-FIRST_REQUESTS)];
  line("", `             the first thousand ${summary(first)}; the last thousand ${summary(later)}`);
  if (!cpuMs) return;
  const perKb = (((cpuBetween - cpuBefore) * 1e6) / bytes).toFixed(2);
  const perRequest = Math.round(((cpuAfter - cpuBetween) * 1000) / times.length);
  line("", `          CPU of both ends: ${perKb} us/KB, ${perRequest} us/request`);
}

function summary(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const total = sorted.reduce((sum, ms) => sum + ms, 0);
  const at = (share: number) => `${(sorted[Math.ceil(sorted.length * share) - 1] ?? 0).toFixed(2)} ms`;
  return `${Math.round((sorted.length * 1000) / total)}/s, p50 ${at(0.5)}, p99 ${at(0.99)}`;
}

/** Bits per second from the first byte on. */
function download(port: number, bytes: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("d"));
    let [got, startMs] = [0, 0];
    socket.on("data", (data) => {
      if (got === 0) startMs = performance.now();
      got += data.length;
    });
    socket.on("error", reject);
    socket.on("close", () => {
      if (got === bytes) resolve((got * 8000) / (performance.now() - startMs));
      else reject(new Error(`${got} of ${bytes} bytes came`));
    });
  });
}

/** Each request's round trip, ms, on one connection. */
function requests(port: number): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const request = Buffer.alloc(REQUEST_BYTES, 0x72);
    const times: number[] = [];
    let [got, startMs] = [0, 0];
    const ask = (): void => {
      got = 0;
      startMs = performance.now();
      socket.write(request);
    };
    const socket = connect(port, "127.0.0.1", ask);
    socket.setNoDelay(true);
    socket.on("error", reject);
    socket.on("data", (data) => {
      got += data.length;
      if (got < REQUEST_BYTES) return;
      times.push(performance.now() - startMs);
      if (times.length < REQUESTS) return ask();
      socket.destroy();
      resolve(times);
    });
  });
}

async function withAdit(directory: string, port: number, use: (cpuMs: () => number) => Promise<void>): Promise<void> {
  const bin = (name: string) => join(root, "node_modules/.bin", name);
  const intermediate = ["--intermediate", `127.0.0.1:${INTERMEDIATE_PORT}`];
  const agentState = ["--state-dir", join(directory, "agent")];
  const id = spawnSync(bin("adit-agent"), ["id", ...agentState], { encoding: "utf8" }).stdout.trim();
  const service = ["--name", "bench", "--expose", `bench=tcp://127.0.0.1:${port}`, "--allow", id];
  const connectorAt = [
    "--bind",
    "127.0.0.3",
    "--admin",
    "127.0.0.1:24446",
    "--state-dir",
    join(directory, "connector"),
  ];
  const connector = new Teller(bin("adit-connector"), [...intermediate, ...service, ...connectorAt]);
  const local = ["--to", "bench", "--local", `${ADIT_PORT}=bench`, "--bind", "127.0.0.2", "--admin", "127.0.0.1:24447"];
  let agent: Teller | null = null;
  try {
    await until(() => healthy(24446), "the connector is registered");
    agent = new Teller(bin("adit-agent"), ["forward", ...intermediate, ...local, ...agentState]);
    const pids = [agent.pid, connector.pid];
    await until(() => isDirect(24447), "the path is direct");
    await use(() => pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0));
  } finally {
    await agent?.end();
    await connector.end();
  }
}

const healthy = (port: number): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/healthz`).then(
    ({ ok }) => ok,
    () => false,
  );

async function isDirect(port: number): Promise<boolean> {
  try {
    const status = (await (await fetch(`http://127.0.0.1:${port}/status`)).json()) as { sessions: { path: string }[] };
    return status.sessions[0]?.path === "direct";
  } catch {
    return false;
  }
}

async function until(done: () => Promise<boolean>, what: string): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (await done()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not within 20 s: ${what}`);
}

/** A server of our own with keys of its own, on loopback, for this run only. */
async function withSsh(
  directory: string,
  port: number,
  line: Line,
  use: (cpuMs: () => number) => Promise<void>,
): Promise<void> {
  const sshd = process.env.BENCH_SSHD ?? "/usr/sbin/sshd";
  if (!existsSync(sshd)) return line("tunnel: ssh -L", `skipped: there is no ${sshd} (BENCH_SSHD names another)`);
  const home = join(directory, "ssh");
  mkdirSync(home, { mode: 0o700 });
  for (const name of ["host", "user"]) {
    spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(home, name)]);
  }
  const config = {
    ListenAddress: `127.0.0.1:${SSHD_PORT}`,
    HostKey: join(home, "host"),
    AuthorizedKeysFile: join(home, "user.pub"),
    PidFile: "none",
    StrictModes: "no",
    PasswordAuthentication: "no",
  };
  const lines = Object.entries(config).map(([key, value]) => `${key} ${value}\n`);
  writeFileSync(join(home, "sshd_config"), lines.join(""));
  const children: ChildProcess[] = [];
  const start = (command: string, args: string[]) => children.push(spawn(command, args, { stdio: "ignore" }));
  try {
    start(sshd, ["-D", "-e", "-f", join(home, "sshd_config")]);
    await until(() => listens(SSHD_PORT), "sshd listens");
    const target = ["127.0.0.1", "-p", String(SSHD_PORT), "-i", join(home, "user")];
    const trust = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"];
    start("ssh", ["-N", "-L", `${SSH_PORT}:127.0.0.1:${port}`, ...trust, ...target]);
    await until(() => listens(SSH_PORT), "ssh -L listens");
    await use(() => children.reduce((sum, { pid }) => sum + familyCpuMs(pid ?? 0), 0));
  } catch (error) {
    line("tunnel: ssh -L", `skipped: ${(error as Error).message}`);
  } finally {
    for (const child of children.reverse()) child.kill("SIGTERM");
  }
}

/** Of a process and what it has forked: sshd has a process for each connection. */
function familyCpuMs(pid: number): number {
  const { stdout } = spawnSync("ps", ["-o", "pid=", "--ppid", String(pid)], { encoding: "utf8" });
  const children = stdout
    .split("\n")
    .map(Number)
    .filter((child) => child > 0);
  return children.reduce((sum, child) => sum + familyCpuMs(child), cpuMsOf(pid));
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("error", () => resolve(false));
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}
