/**
 * Sign-ups at a steady rate: `bun bench/intermediate/sign-ups.ts [--rate 500] [--seconds 10]`. A sign-up is a QUIC handshake with a key and
 * a certificate of its own, Hello, Welcome, and a new name registered and on the disk. The clients are a process beside the intermediate,
 * and cheap: keys and contexts are made before the clock starts, and all share a few sockets. Loopback only; ends by itself.
 */
import { spawn } from "node:child_process";
import { SocketAddress, systemRandom } from "@adit/core";
import { Identity, QuicConfig, type QuicConnection, QuicEndpoint, type QuicStream } from "@adit/quic";
import { SIGNALING_ALPN, SignalingClient } from "@adit/signaling";
import { bindUdp, type UdpSocket } from "@adit/transport";
import { numberOption, RunningIntermediate, sleep } from "./program.ts";

const MAX_SIGN_UPS = 10_000;
const SOCKETS = 8;
const rate = numberOption("rate", 500);
const seconds = numberOption("seconds", 10);
const total = Math.min(MAX_SIGN_UPS, Math.round(rate * seconds));

const room = new Uint8Array(4096);
const out = new Uint8Array(1500);

/** One client: a connection, its stream, and the signaling on it. */
class Client {
  readonly signaling: SignalingClient;
  readonly quic: QuicConnection;
  readonly socket: UdpSocket;
  readonly startedAt: number;
  doneMs: number | null = null;
  #stream: QuicStream | null = null;

  constructor(
    now: number,
    endpoint: QuicEndpoint,
    config: QuicConfig,
    name: string,
    socket: UdpSocket,
    to: SocketAddress,
  ) {
    this.startedAt = now;
    this.socket = socket;
    this.signaling = new SignalingClient({ role: "connector", name, random: systemRandom });
    this.signaling.handleTimeout(now); // asks for a connection, which is made below
    const local = { host: socket.address.ip, port: socket.address.port };
    this.quic = endpoint.connect(now, { config, local, remote: { host: to.ip, port: to.port } });
  }

  pump(now: number): void {
    for (let event = this.quic.pollEvent(); event; event = this.quic.pollEvent()) {
      if (event.type === "closed") this.#stream = null;
      if (event.type !== "established") continue;
      this.#stream = this.quic.openStream();
      this.signaling.handleConnected(now);
    }
    if (this.#stream) this.#converse(now, this.#stream);
    for (let event = this.signaling.pollEvent(); event; event = this.signaling.pollEvent()) {
      if (event.type === "registered") this.doneMs ??= now - this.startedAt;
    }
  }

  #converse(now: number, stream: QuicStream): void {
    for (let read = stream.read(room); typeof read === "number"; read = stream.read(room)) {
      this.signaling.handleData(now, room.subarray(0, read));
    }
    for (let bytes = this.signaling.pollBytes(); bytes; bytes = this.signaling.pollBytes()) stream.write(bytes);
  }
}

async function clients(port: number): Promise<void> {
  const to = SocketAddress.of("127.0.0.1", port);
  const endpoint = new QuicEndpoint({ random: systemRandom, maxConnections: MAX_SIGN_UPS });
  const configs = Array.from({ length: total }, () =>
    QuicConfig.create({
      role: "client",
      identity: Identity.generate(),
      alpn: SIGNALING_ALPN,
      maxIdleTimeoutMs: 60_000,
    }),
  );
  const byQuic = new Map<QuicConnection, Client>();
  const flush = (client: Client): void => {
    client.pump(performance.now());
    for (let packet = client.quic.send(out); packet; packet = client.quic.send(out)) {
      client.socket.send([{ data: out.slice(0, packet.length), to }]);
    }
  };
  const sockets = await Promise.all(
    Array.from({ length: SOCKETS }, async (_, i) => {
      const local = { host: `127.2.0.${i + 1}`, port: 0 };
      const socket: UdpSocket = await bindUdp({
        address: SocketAddress.of(local.host, 0),
        handlers: {
          onBatch: (batch) => {
            const touched = new Set<Client>();
            for (const { data } of batch) {
              const route = endpoint.route(data);
              const client = route.kind === "connection" ? byQuic.get(route.connection) : undefined;
              if (!client) continue;
              const at = { host: client.socket.address.ip, port: client.socket.address.port };
              client.quic.recv(performance.now(), data, at, { host: to.ip, port: to.port });
              touched.add(client);
            }
            for (const client of touched) flush(client);
          },
          onDrain: () => {},
        },
      });
      return socket;
    }),
  );
  console.log(JSON.stringify({ ready: total }));
  const startedAt = performance.now();
  const all: Client[] = [];
  while (all.length < total) {
    const due = Math.min(total, Math.floor(((performance.now() - startedAt) / 1000) * rate) + 1);
    while (all.length < due) {
      const i = all.length;
      const [config, socket] = [configs[i], sockets[i % SOCKETS]];
      if (!config || !socket) break;
      const client = new Client(performance.now(), endpoint, config, `s-${i}`, socket, to);
      byQuic.set(client.quic, client);
      all.push(client);
      flush(client);
    }
    tick(all, flush);
    await sleep(2);
  }
  const offeredMs = performance.now() - startedAt;
  for (const end = performance.now() + 10_000; performance.now() < end && all.some(({ doneMs }) => doneMs === null); ) {
    tick(all, flush);
    await sleep(10);
  }
  const times = all.flatMap(({ doneMs }) => doneMs ?? []).sort((a, b) => a - b);
  const at = (share: number): number => Math.round(times[Math.floor((times.length - 1) * share)] ?? -1);
  console.log(JSON.stringify({ signedUp: times.length, offeredMs, p50Ms: at(0.5), p99Ms: at(0.99), slowestMs: at(1) }));
  process.exit(0);
}

/** Retransmissions of those that wait. */
function tick(all: readonly Client[], flush: (client: Client) => void): void {
  const now = performance.now();
  for (const client of all) {
    if (client.doneMs !== null) continue;
    const due = client.quic.pollTimeout(now);
    if (!due || due.at > now) continue;
    client.quic.handleTimeout(now);
    flush(client);
  }
}

async function measure(): Promise<void> {
  const program = await RunningIntermediate.start();
  try {
    const options = ["--rate", String(rate), "--seconds", String(seconds)];
    const child = spawn(
      process.execPath,
      [import.meta.path, "clients", String(program.address("signaling").port), ...options],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    let text = "";
    let before = 0;
    child.stdout.on("data", (data) => {
      text += data;
      if (before === 0 && text.includes('"ready"')) before = program.cpuMs();
    });
    await new Promise((resolve) => child.once("exit", resolve));
    const cpuMs = program.cpuMs() - before;
    const result = JSON.parse(text.trim().split("\n").at(-1) ?? "{}");
    const after = await program.metrics();
    console.log(
      JSON.stringify({
        rate,
        seconds,
        ...result,
        offeredPerSecond: Math.round(total / (result.offeredMs / 1000)),
        registered: after("adit_registrations"),
        cpuMsPerSignUp: Number((cpuMs / Math.max(1, result.signedUp)).toFixed(2)),
        lagMs: Math.round(after("adit_event_loop_lag_seconds") * 1000),
        handshakesRefused: after("adit_refusals_total"),
        retries: after("adit_signaling_retries_total"),
      }),
    );
  } finally {
    await program.stop();
  }
}

if (process.argv[2] === "clients") await clients(Number(process.argv[3]));
else await measure();
