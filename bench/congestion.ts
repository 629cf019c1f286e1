/**
 * bun bench/congestion.ts [--seconds N] [--talk S] [--queue MS] [--algorithms cubic,bbr,reno] [--seed N]: how much of a bad network each congestion control of the
 * binding makes use of. Two connections of ours and a wire between them, in one process and in real time, all runs side by side: a
 * bottleneck with a queue, a round trip, and loss in both directions. Printed: megabits per second of application bytes from the first one on,
 * seconds for the first megabyte, and how long packets waited in the queue on average, ms. Then each beside cubic on one bottleneck.
 */
import { parseArgs } from "node:util";
import type { QuicStream } from "@adit/quic";
import { Link, type Network } from "./lib/wire.ts";
import { WiredPair } from "./lib/wired-pair.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "20" },
    algorithms: { type: "string", default: "cubic,bbr,reno" },
    seed: { type: "string", default: "1" },
    queue: { type: "string", default: "100" },
    /** How long the sender has little to say before it sends as much as it can, s: as a session does. */
    talk: { type: "string", default: "0" },
  },
});

type Algorithm = "cubic" | "bbr" | "reno";

const QUEUE_MS = Number(values.queue);
const MEGABYTE = 1_000_000;

class Run {
  readonly algorithm: Algorithm;
  readonly network: Network;
  readonly link: Link;
  received = 0;
  firstAt: number | null = null;
  megabyteMs: number | null = null;
  failure: string | null = null;
  readonly #pair: WiredPair;

  constructor(algorithm: Algorithm, network: Network, seed: number, link = new Link(network, seed)) {
    this.algorithm = algorithm;
    this.network = network;
    this.link = link;
    this.#pair = new WiredPair({
      link,
      seed: seed + 1,
      congestion: algorithm,
      roundTripMs: network.rttMs,
      onEstablished: (client) => talk(client.openStream()),
      onStream: (stream) => this.#drain(stream),
      onClosed: (reason) => {
        this.failure = reason;
      },
    });
  }

  tick(now: number): void {
    this.#pair.tick(now);
  }

  #drain(stream: QuicStream): void {
    const buffer = new Uint8Array(64 * 1024);
    stream.onReadable = () => {
      for (let got = stream.read(buffer); typeof got === "number"; got = stream.read(buffer)) {
        const now = performance.now();
        if (got < 1000 && this.received === 0) continue; // only talk
        this.firstAt ??= now;
        this.received += got;
        if (this.received >= MEGABYTE) this.megabyteMs ??= now - this.firstAt;
      }
    };
  }

  /** Megabits per second. */
  rate(now: number): number {
    return this.firstAt === null ? 0 : (this.received * 8) / (now - this.firstAt) / 1000;
  }
}

/** A hundred bytes twenty times a second, then {@link pour}. */
function talk(stream: QuicStream): void {
  const until = performance.now() + Number(values.talk) * 1000;
  const timer = setInterval(() => {
    if (performance.now() < until) return void stream.write(new Uint8Array(100));
    clearInterval(timer);
    pour(stream);
  }, 50);
}

function pour(stream: QuicStream): void {
  const chunk = new Uint8Array(64 * 1024);
  const write = (): void => {
    while (stream.write(chunk) === chunk.length) {}
  };
  stream.onWritable = write;
  write();
}

const algorithms = values.algorithms.split(",") as Algorithm[];
const seed = Number(values.seed);
const seconds = Number(values.seconds);

/** Lets all go on at once for the time given; when that was over. */
async function together(runs: readonly Run[]): Promise<number> {
  const endAt = performance.now() + seconds * 1000;
  while (performance.now() < endAt) {
    for (const run of runs) run.tick(performance.now());
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return endAt;
}

const row = (label: string, cells: readonly string[]): void =>
  console.log(label.padEnd(30) + cells.map((cell) => cell.padStart(20)).join(""));

console.log(`seed ${seed}, ${seconds} s, a queue of ${QUEUE_MS} ms: Mb/s (s for 1 MB) ms in the queue`);
row("", algorithms);
for (const mbps of [5, 50]) {
  const runs = [20, 100, 450].flatMap((rttMs) =>
    [0, 0.01, 0.2].flatMap((loss) =>
      algorithms.map((algorithm) => new Run(algorithm, { rttMs, loss, mbps, queueMs: QUEUE_MS }, seed)),
    ),
  );
  const endAt = await together(runs);
  for (let i = 0; i < runs.length; i += algorithms.length) {
    const { rttMs, loss } = (runs[i] as Run).network;
    const cells = runs.slice(i, i + algorithms.length).map((run) => {
      const megabyte = run.megabyteMs === null ? "-" : (run.megabyteMs / 1000).toFixed(1);
      return run.failure ?? `${run.rate(endAt).toFixed(2)} (${megabyte}) ${run.link.up.meanWaitMs.toFixed(0)}`;
    });
    row(`${mbps} Mb/s, ${rttMs} ms, ${loss * 100} % loss`, cells);
  }
}

console.log("\nbeside a transfer by cubic that shares the bottleneck, 20 Mb/s: its own, cubic's");
const shared = [20, 100].map((rttMs) => ({ rttMs, loss: 0, mbps: 20, queueMs: QUEUE_MS }));
const rivals = shared.map((network) =>
  algorithms.map((algorithm) => {
    const link = new Link(network, seed);
    return [new Run(algorithm, network, seed, link), new Run("cubic", network, seed + 10, link)] as const;
  }),
);
const endAt = await together(rivals.flat(2));
for (const [i, pairs] of rivals.entries()) {
  row(
    `${shared[i]?.rttMs} ms`,
    pairs.map((pair) => pair.map((run) => run.rate(endAt).toFixed(1)).join(", ")),
  );
}
process.exit(0);
