/**
 * bun bench/interactive.ts [--seconds N] [--mbps N] [--rtt MS] [--queue MS] [--loss SHARE] [--no-tail-probe] [--bulk 0,1,16,64] [--congestion cubic]: how long small requests take
 * beside bulk transfers on the same connection. A server of ours pours down so many streams at once while a client of ours
 * asks 100 bytes for 1,000 on a new stream each, one after the other, through a bottleneck; one process, real time.
 */
import { parseArgs } from "node:util";
import { seededRandom } from "@adit/core";
import { type Congestion, Identity, QuicConfig, type QuicConnection, QuicEndpoint, type QuicStream } from "@adit/quic";
import { Link, type Network, type Wire } from "./lib/wire.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    mbps: { type: "string", default: "20" },
    rtt: { type: "string", default: "40" },
    queue: { type: "string", default: "100" },
    loss: { type: "string", default: "0" },
    /** The true round trip is not told to the connections, so that they wait for the native library's timeouts. */
    "no-tail-probe": { type: "boolean", default: false },
    bulk: { type: "string", default: "0,1,16,64" },
    congestion: { type: "string", default: "cubic" },
  },
});

const LOCAL = { host: "192.0.2.1", port: 1 };
const REMOTE = { host: "192.0.2.2", port: 1 };
const ANSWER = new Uint8Array(1000);
const CHUNK = new Uint8Array(64 * 1024);
/** Bulk flows for so long before anything is asked, s. */
const WARM_UP_S = 2;
const BULK = 1;

class Run {
  readonly bulk: number;
  readonly latencies: number[] = [];
  bulkBytes = 0;
  readonly #link: Link;
  readonly #clientEndpoint: QuicEndpoint;
  readonly #serverEndpoint: QuicEndpoint;
  readonly #client: QuicConnection;
  #server: QuicConnection | null = null;
  readonly #room = new Uint8Array(1500);
  readonly #buffer = new Uint8Array(64 * 1024);
  readonly #askFrom: number;

  constructor(network: Network, bulk: number) {
    this.bulk = bulk;
    this.#link = new Link(network, 1);
    const random = seededRandom(2);
    const identity = Identity.generate(random);
    const config = (role: "client" | "server") =>
      QuicConfig.create({
        role,
        identity,
        alpn: "bench/1",
        maxIdleTimeoutMs: 60_000,
        congestion: values.congestion as Congestion,
      });
    this.#clientEndpoint = new QuicEndpoint({ random });
    this.#serverEndpoint = new QuicEndpoint({ random, server: config("server") });
    const now = performance.now();
    this.#askFrom = now + WARM_UP_S * 1000;
    this.#client = this.#clientEndpoint.connect(now, { config: config("client"), local: LOCAL, remote: REMOTE });
  }

  tick(now: number): void {
    this.#link.down.deliver(now);
    this.#link.up.deliver(now);
    this.#drive(now, this.#client, this.#link.up, this.#toServer);
    if (this.#server) this.#drive(now, this.#server, this.#link.down, this.#toClient);
  }

  readonly #toClient = (data: Uint8Array): void => this.#client.recv(performance.now(), data, LOCAL, REMOTE);

  readonly #toServer = (data: Uint8Array): void => {
    const now = performance.now();
    const route = this.#serverEndpoint.route(data);
    if (route.kind === "connection") route.connection.recv(now, data, REMOTE, LOCAL);
    if (route.kind !== "initial" || this.#server) return;
    this.#server = this.#serverEndpoint.accept(now, route.header, REMOTE, LOCAL);
    this.#server?.recv(now, data, REMOTE, LOCAL);
  };

  #drive(now: number, connection: QuicConnection, wire: Wire, to: (data: Uint8Array) => void): void {
    if (!values["no-tail-probe"]) connection.roundTripMs = Number(values.rtt);
    const deadline = connection.pollTimeout(now);
    if (deadline && deadline.at <= now) connection.handleTimeout(now);
    for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
      if (event.type === "established" && connection === this.#client) this.#begin();
      if (event.type === "stream") this.#serve(event.stream);
      if (event.type === "closed") throw new Error(event.reason);
    }
    for (let sent = connection.send(this.#room); sent; sent = connection.send(this.#room)) {
      wire.send(now, this.#room.slice(0, sent.length), to);
    }
    while (connection.pollEvent()) {}
  }

  #begin(): void {
    for (let i = 0; i < this.bulk; i++) {
      const stream = this.#client.openStream();
      stream.write(new Uint8Array([BULK]));
      stream.onReadable = () => {
        for (let got = stream.read(this.#buffer); typeof got === "number"; got = stream.read(this.#buffer)) {
          if (performance.now() > this.#askFrom) this.bulkBytes += got;
        }
      };
    }
    setTimeout(() => this.#ask(), this.#askFrom - performance.now());
  }

  #ask(): void {
    const askedAt = performance.now();
    const stream = this.#client.openStream();
    let got = 0;
    stream.onReadable = () => {
      for (;;) {
        const read = stream.read(this.#buffer);
        if (read === "blocked") return;
        if (read === "end") break;
        got += read;
      }
      if (got !== ANSWER.length) throw new Error(`${got} bytes`);
      this.latencies.push(performance.now() - askedAt);
      this.#ask();
    };
    stream.write(new Uint8Array(100));
    stream.finish();
  }

  #serve(stream: QuicStream): void {
    const first = new Uint8Array(1000);
    stream.onReadable = () => {
      for (let got = stream.read(first); got !== "blocked"; got = stream.read(first)) {
        if (typeof got === "number" && got === BULK) return pour(stream, CHUNK, false);
        if (got === "end") return pour(stream, ANSWER, true);
      }
    };
  }
}

/** Once and FIN, or for ever. */
function pour(stream: QuicStream, data: Uint8Array, once: boolean): void {
  let left = data;
  const write = (): void => {
    for (;;) {
      left = left.subarray(stream.write(left));
      if (left.length > 0) return;
      if (once) break;
      left = data;
    }
    stream.onWritable = null;
    stream.finish();
  };
  stream.onWritable = write;
  write();
}

const [mbps, rttMs, queueMs] = [Number(values.mbps), Number(values.rtt), Number(values.queue)];
const runs = values.bulk
  .split(",")
  .map((bulk) => new Run({ mbps, rttMs, queueMs, loss: Number(values.loss) }, Number(bulk)));
const seconds = Number(values.seconds);
const endAt = performance.now() + (WARM_UP_S + seconds) * 1000;
while (performance.now() < endAt) {
  for (const run of runs) run.tick(performance.now());
  await new Promise((resolve) => setTimeout(resolve, 1));
}
console.log(
  `${mbps} Mb/s, ${rttMs} ms, a queue of ${queueMs} ms, ${Number(values.loss) * 100} % loss, ${values.congestion}, ${seconds} s`,
);
for (const run of runs) {
  const sorted = run.latencies.sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]?.toFixed(0);
  const rate = ((run.bulkBytes * 8) / seconds / 1e6).toFixed(1);
  console.log(
    `${String(run.bulk).padStart(3)} bulk streams, ${rate} Mb/s: p50 ${at(0.5)} ms, p95 ${at(0.95)}, p99 ${at(0.99)}, ${sorted.length} requests`,
  );
}
process.exit(0);
