/**
 * bun bench/interactive.ts [--seconds N] [--mbps N] [--rtt MS] [--queue MS] [--loss SHARE] [--no-tail-probe] [--bulk 0,1,16,64] [--congestion cubic]: how long small requests take
 * beside bulk transfers on the same connection. A server of ours pours down so many streams at once while a client of ours
 * asks 100 bytes for 1,000 on a new stream each, one after the other, through a bottleneck; one process, real time.
 */
import { parseArgs } from "node:util";
import type { Congestion, QuicConnection, QuicStream } from "@adit/quic";
import { Link, type Network } from "./lib/wire.ts";
import { WiredPair } from "./lib/wired-pair.ts";

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

const ANSWER = new Uint8Array(1000);
const CHUNK = new Uint8Array(64 * 1024);
/** Bulk flows for so long before anything is asked, s. */
const WARM_UP_S = 2;
const BULK = 1;

class Run {
  readonly bulk: number;
  readonly latencies: number[] = [];
  bulkBytes = 0;
  readonly #pair: WiredPair;
  readonly #buffer = new Uint8Array(64 * 1024);
  readonly #askFrom = performance.now() + WARM_UP_S * 1000;

  constructor(network: Network, bulk: number) {
    this.bulk = bulk;
    this.#pair = new WiredPair({
      link: new Link(network, 1),
      seed: 2,
      congestion: values.congestion as Congestion,
      roundTripMs: values["no-tail-probe"] ? null : network.rttMs,
      onEstablished: (client) => this.#begin(client),
      onStream: (stream) => this.#serve(stream),
      onClosed: (reason) => {
        throw new Error(reason);
      },
    });
  }

  tick(now: number): void {
    this.#pair.tick(now);
  }

  #begin(client: QuicConnection): void {
    for (let i = 0; i < this.bulk; i++) {
      const stream = client.openStream();
      stream.write(new Uint8Array([BULK]));
      stream.onReadable = () => {
        for (let got = stream.read(this.#buffer); typeof got === "number"; got = stream.read(this.#buffer)) {
          if (performance.now() > this.#askFrom) this.bulkBytes += got;
        }
      };
    }
    setTimeout(() => this.#ask(client), this.#askFrom - performance.now());
  }

  #ask(client: QuicConnection): void {
    const askedAt = performance.now();
    const stream = client.openStream();
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
      this.#ask(client);
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
