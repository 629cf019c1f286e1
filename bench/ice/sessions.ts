/**
 * bun bench/ice/sessions.ts [--sessions 1000]: what an idle session costs. Every session is connected and nominated over
 * real sockets on loopback: ours with all agents of a side on one socket behind an IceDemux, werift's with a socket each. Heap is
 * that of both agents of a session together, after garbage collection.
 */
import { spawnSync } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { parseArgs } from "node:util";
import { Connection } from "werift-ice";
import { SocketAddress, systemRandom } from "../../packages/core/src/index.ts";
import { IceAgent, IceDemux } from "../../packages/ice/src/index.ts";

const { values } = parseArgs({
  options: { sessions: { type: "string", default: "1000" }, of: { type: "string" } },
});
const sessions = Number(values.sessions);
const LIMIT_MS = 60_000;
/** The agents' timers are looked at as often as this. */
const TICK_MS = 5;

/** The agents of one side, on one socket. */
class Side {
  readonly agents: IceAgent[];
  readonly demux = new IceDemux<IceAgent>();
  readonly socket: Socket;
  readonly address: SocketAddress;
  sent = 0;

  private constructor(role: "controlling" | "controlled", socket: Socket) {
    const { address, port } = socket.address();
    this.socket = socket;
    this.address = SocketAddress.of(address, port);
    this.agents = Array.from({ length: sessions }, () => new IceAgent({ role, random: systemRandom }));
    for (const agent of this.agents) this.demux.add(agent, agent);
    socket.on("message", (data, from) => {
      const source = SocketAddress.of(from.address, from.port);
      const agent = this.demux.route(0, source, data);
      agent?.handleDatagram(performance.now(), 0, source, data);
      if (agent) this.flush(agent);
    });
  }

  static async open(role: "controlling" | "controlled"): Promise<Side> {
    const socket = createSocket({ type: "udp4", recvBufferSize: 4_000_000 });
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    return new Side(role, socket);
  }

  flush(agent: IceAgent): void {
    for (let out = agent.pollTransmit(); out; out = agent.pollTransmit()) {
      this.demux.noteTransmit(agent, out.data);
      this.sent += 1;
      this.socket.send(out.data, out.to.port, out.to.ip);
    }
    while (agent.pollEvent()) {
      // The events are not what is measured.
    }
  }

  tick(): void {
    const now = performance.now();
    for (const agent of this.agents) {
      if ((agent.pollTimeout()?.at ?? Number.POSITIVE_INFINITY) > now) continue;
      agent.handleTimeout(now);
      this.flush(agent);
    }
  }
}

function heap(): number {
  (globalThis as { gc?: () => void }).gc?.();
  (globalThis as { Bun?: { gc(now: boolean): void } }).Bun?.gc(true);
  return process.memoryUsage().heapUsed;
}

const descriptors = (): number => readdirSync("/proc/self/fd").length;
const line = (name: string, heapBytes: number, sockets: number, datagrams: string): void =>
  console.log(
    name.padEnd(34),
    `${(heapBytes / 1024).toFixed(1).padStart(8)} KiB ${sockets.toFixed(3).padStart(9)} ${datagrams.padStart(14)}`,
  );

async function ours(): Promise<void> {
  const before = { heap: heap(), descriptors: descriptors() };
  const [a, b] = [await Side.open("controlling"), await Side.open("controlled")];
  for (let i = 0; i < sessions; i++) {
    const [left, right] = [a.agents[i], b.agents[i]];
    if (!left || !right) throw new Error("unreachable");
    const now = performance.now();
    for (const [agent, side, other, far] of [
      [left, a, right, b],
      [right, b, left, a],
    ] as const) {
      agent.addLocalCandidate(now, { type: "host", address: side.address, socket: 0 });
      agent.setRemoteParameters(now, other.local);
      agent.addRemoteCandidate(now, {
        foundation: "1",
        component: 1,
        transport: "udp",
        priority: 2_130_706_431,
        address: far.address,
        type: "host",
        related: null,
      });
    }
    a.flush(left);
    b.flush(right);
  }
  const through = () => [...a.agents, ...b.agents].every((agent) => agent.nominated);
  await until(() => {
    a.tick();
    b.tick();
    return through();
  }, "our sessions");
  line(
    `@adit/ice, ${sessions} sessions`,
    (heap() - before.heap) / sessions,
    (descriptors() - before.descriptors) / sessions,
    ((a.sent + b.sent) / sessions).toFixed(1),
  );
  a.socket.close();
  b.socket.close();
}

async function werift(): Promise<void> {
  const count = Math.min(sessions, 100);
  const before = { heap: heap(), descriptors: descriptors() };
  const options = { useIpv4: true, useIpv6: false, useTcp: false };
  const pairs = await Promise.all(
    Array.from({ length: count }, async () => {
      const [a, b] = [new Connection(true, options), new Connection(false, options)];
      await Promise.all([a.gatherCandidates(), b.gatherCandidates()]);
      for (const [from, to] of [
        [a, b],
        [b, a],
      ] as const) {
        to.setRemoteParams({ iceLite: false, usernameFragment: from.localUsername, password: from.localPassword });
        for (const candidate of from.localCandidates) await to.addRemoteCandidate(candidate);
        await to.addRemoteCandidate(undefined);
      }
      await Promise.all([a.connect(), b.connect()]);
      return [a, b];
    }),
  );
  line(
    `werift-ice, ${count} sessions`,
    (heap() - before.heap) / count,
    (descriptors() - before.descriptors) / count,
    "not told",
  );
  await Promise.all(pairs.flat().map((one) => one?.close()));
}

async function until(holds: () => boolean, what: string): Promise<void> {
  const endsAt = performance.now() + LIMIT_MS;
  while (!holds()) {
    if (performance.now() > endsAt) throw new Error(`${what}: not connected within ${LIMIT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
}

// A process each: what the one leaves behind must not count for the other.
if (values.of === "ours") await ours();
else if (values.of === "werift") await werift();
else {
  console.log("an idle session, both agents".padEnd(34), "        heap   sockets      datagrams until nominated");
  for (const of of ["ours", "werift"]) {
    const { status } = spawnSync(process.execPath, [import.meta.filename, "--sessions", values.sessions, "--of", of], {
      stdio: "inherit",
    });
    if (status !== 0) process.exitCode = 1;
  }
}
process.exit();
