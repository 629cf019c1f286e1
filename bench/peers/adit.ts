/** This project's endpoints, agent to connector, once the path is direct. The contact is the intermediate's address. */
import { nullLogger, systemRandom } from "@adit/core";
import { Identity, type QuicStream } from "@adit/quic";
import { type Endpoint, startEndpoint } from "@adit/transport";
import { type Job, runPeer } from "../lib/role.ts";
import { SinkMeter, tell } from "../lib/sink.ts";

const CHUNK = 64 * 1024;

const options = (role: "agent" | "connector", ip: string) => ({
  identity: Identity.generate(systemRandom),
  role,
  intermediate: { host: "127.0.0.1", port: Number(process.env.BENCH_INTERMEDIATE_PORT) },
  checkIntermediate: () => null,
  bind: { ip, port: 0 },
  log: nullLogger,
});

async function receive(bytes: number): Promise<void> {
  const meter = new SinkMeter();
  const name = `bench-${process.pid}`; // a name belongs to the key that took it first
  const endpoint = await startEndpoint({
    ...options("connector", "127.0.0.3"),
    name,
    admit: () => true,
    onService: async ({ accept }) => {
      drain(await accept(), meter, () => {
        if (meter.bytes >= bytes) tell(meter.result());
      });
    },
  });
  await endpoint.waitRegistered();
  tell({ ready: name });
}

function drain(stream: QuicStream, meter: SinkMeter, onEnd: () => void): void {
  const buffer = new Uint8Array(CHUNK);
  const read = (): void => {
    for (;;) {
      const got = stream.read(buffer);
      if (got === "blocked") return;
      if (got === "end") {
        stream.finish();
        return onEnd();
      }
      meter.take(got);
    }
  };
  stream.onReadable = read;
  read();
}

async function send({ contact, bytes, streams }: Job): Promise<void> {
  const endpoint = await startEndpoint(options("agent", "127.0.0.2"));
  await endpoint.waitRegistered();
  const session = await endpoint.connect({ target: contact, service: "sink", waitMs: 5000 });
  await direct(endpoint);
  const opened = await Promise.all(Array.from({ length: streams }, () => session.openService("sink")));
  for (const stream of opened) pour(stream, bytes / streams);
}

async function direct(endpoint: Endpoint): Promise<void> {
  const giveUpAt = performance.now() + 10_000;
  while (endpoint.status().sessions[0]?.path !== "direct") {
    if (performance.now() > giveUpAt) throw new Error("the path did not become direct");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function pour(stream: QuicStream, bytes: number): void {
  const chunk = new Uint8Array(CHUNK).fill(0x61);
  let left = bytes;
  const write = (): void => {
    while (left > 0) {
      const part = left < CHUNK ? chunk.subarray(0, left) : chunk;
      const taken = stream.write(part);
      left -= taken;
      if (taken < part.length) return;
    }
    stream.onWritable = null;
    stream.finish();
  };
  stream.onWritable = write;
  write();
}

await runPeer({ receive, send });
