/**
 * The floor: what one packet of a bulk transfer costs its sender at least, in calls that it cannot do without. That is the binding's
 * `send` (frames, encryption) and its share of `sendMany` (the kernel, and over loopback the receiver's queue too).
 */
import { systemRandom } from "@adit/core";
import { Identity, QuicConfig } from "@adit/quic";
import { quiche } from "../../packages/quic/src/native.ts";

export interface Floor {
  readonly sendUs: number;
  readonly sendManyUs: number;
  /** Application bytes in one full packet. */
  readonly payloadBytes: number;
  /** Application bits per second that a sender could reach which did nothing else. */
  readonly bitsPerS: number;
}

const PACKETS = 60_000;
/** What a path over Ethernet carries, and the transfer beside it sends. */
const PACKET_BYTES = 1472;
const BATCH = 64;
const LOCAL = { host: "192.0.2.1", port: 1 };
const REMOTE = { host: "192.0.2.2", port: 1 };

export async function measureFloor(): Promise<Floor> {
  const binding = bindingSend();
  const sendManyUs = await socketSend(binding.packetBytes);
  const { sendUs, payloadBytes } = binding;
  return { sendUs, sendManyUs, payloadBytes, bitsPerS: (payloadBytes * 8 * 1e6) / (sendUs + sendManyUs) };
}

function pair() {
  const identity = Identity.generate(systemRandom);
  const config = (role: "client" | "server") =>
    QuicConfig.create({
      role,
      identity,
      alpn: "bench/1",
      maxIdleTimeoutMs: 30_000,
      maxDatagramSizeBytes: PACKET_BYTES,
    });
  const [clientConfig, serverConfig] = [config("client"), config("server")];
  const id = () => systemRandom.bytes(20);
  const client = quiche.Connection.connect(null, id(), LOCAL, REMOTE, clientConfig.native);
  const server = quiche.Connection.accept(id(), null, REMOTE, LOCAL, serverConfig.native);
  return { client, server };
}

/** Two connections in memory; only the sender's calls that gave a full packet are timed. */
function bindingSend(): { sendUs: number; payloadBytes: number; packetBytes: number } {
  const { client, server } = pair();
  const chunk = new Uint8Array(64 * 1024).fill(0x61);
  const into = new Uint8Array(64 * 1024);
  const slots = Array.from({ length: BATCH }, () => new Uint8Array(1500));
  let [packets, us, bytes, packetBytes] = [0, 0, 0, 0];
  let opened = false;
  while (packets < PACKETS) {
    if (client.isEstablished()) {
      opened = true;
      while ((client.streamSend(0, chunk, false) ?? 0) === chunk.length);
    }
    const lengths: number[] = [];
    const startMs = performance.now();
    for (const slot of slots) {
      const sent = client.send(slot);
      if (!sent) break;
      lengths.push(sent[0]);
    }
    const spentMs = performance.now() - startMs;
    const full = opened && lengths.length === BATCH;
    if (full) {
      us += spentMs * 1000;
      packets += BATCH;
      packetBytes = Math.max(packetBytes, ...lengths);
    }
    lengths.forEach((length, i) => {
      server.recv((slots[i] as Uint8Array).subarray(0, length), { from: LOCAL, to: REMOTE });
    });
    for (let got = opened ? read(server, into) : 0; got > 0; got = read(server, into)) if (full) bytes += got;
    for (let out = server.send(into); out; out = server.send(into)) {
      client.recv(into.subarray(0, out[0]), { from: REMOTE, to: LOCAL });
    }
  }
  return { sendUs: us / packets, payloadBytes: Math.round(bytes / packets), packetBytes };
}

const read = (server: ReturnType<typeof pair>["server"], into: Uint8Array): number => {
  try {
    return server.streamRecv(0, into)?.[0] ?? 0;
  } catch {
    return 0; // the stream is not there yet
  }
};

/** Batches of full packets to a socket of another process's making would cost the same: the receiver here never reads in between. */
async function socketSend(packetBytes: number): Promise<number> {
  const sink = await Bun.udpSocket({ hostname: "127.0.0.1", socket: { data() {} } });
  const socket = await Bun.udpSocket({ hostname: "127.0.0.1" });
  const triples: (Uint8Array | number | string)[] = [];
  for (let i = 0; i < BATCH; i++) triples.push(new Uint8Array(packetBytes), sink.port, "127.0.0.1");
  let [packets, ms] = [0, 0];
  while (packets < PACKETS) {
    const startMs = performance.now();
    const taken = socket.sendMany(triples);
    ms += performance.now() - startMs;
    packets += taken;
    await new Promise((resolve) => setImmediate(resolve)); // the sink reads
  }
  socket.close();
  sink.close();
  return (ms * 1000) / packets;
}
