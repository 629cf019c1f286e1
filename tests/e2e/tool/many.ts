/**
 * Many connections at once, of mixed sizes, each of whose bytes is checked on both ends.
 *
 *   many.ts serve ADDR:PORT         for each connection: takes bytes until its end, answers with others and the hash of what came
 *   many.ts run ADDR:PORT COUNT     opens COUNT at once; prints {"event":"done",...}; exit status 1 unless every byte was right
 */
import { createHash } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";

/** At the head of a connection: which bytes come, and which are wanted back; three u32, big-endian. */
const HEAD_BYTES = 12;
const HASH_BYTES = 32;
const TIMEOUT_MS = 30_000;
/** Mixed so that nothing but the ends, less than a packet, a few packets, and several flow-control windows all occur at once. */
const SIZES = [0, 1, 900, 1_500, 20_000, 70_000, 300_000, 1_000_000] as const;

/** Long and without a short period: a piece that is lost, doubled or moved changes the hash. */
const block = makeBlock(1_048_583);

function makeBlock(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let x = 1;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) | 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}

/** `size` bytes that depend on `seed`. */
function bytesOf(seed: number, size: number): Buffer {
  const start = Math.imul(seed, 7919) >>> 0;
  const out = Buffer.alloc(size);
  for (let at = 0; at < size; ) at += block.copy(out, at, (start + at) % block.length);
  return out;
}

const hashOf = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

/** All bytes until the other side's end. (A `for await` would destroy the socket behind them.) */
function readAll(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.once("end", () => resolve(Buffer.concat(chunks)));
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed before its end")));
  });
}

async function answer(socket: Socket): Promise<void> {
  const got = await readAll(socket);
  const down = bytesOf(got.readUInt32BE(0) + 1, got.readUInt32BE(8));
  socket.end(Buffer.concat([down, hashOf(got.subarray(HEAD_BYTES))]));
}

/** Null when all was right, else what was not. */
async function exchange(host: string, port: number, index: number): Promise<string | null> {
  const [up, down] = [SIZES[index % SIZES.length] ?? 0, SIZES[(index * 3 + 5) % SIZES.length] ?? 0];
  const head = Buffer.alloc(HEAD_BYTES);
  [index, up, down].forEach((value, i) => {
    head.writeUInt32BE(value, i * 4);
  });
  const sent = bytesOf(index, up);
  const socket = connect({ host, port, allowHalfOpen: true });
  const timer = setTimeout(() => socket.destroy(new Error(`not over within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  try {
    const reply = readAll(socket);
    socket.end(Buffer.concat([head, sent]));
    const got = await reply;
    if (got.length !== down + HASH_BYTES)
      return `connection ${index}: ${got.length} bytes instead of ${down + HASH_BYTES}`;
    if (!hashOf(got.subarray(0, down)).equals(hashOf(bytesOf(index + 1, down))))
      return `connection ${index}: wrong bytes came`;
    if (!got.subarray(down).equals(hashOf(sent))) return `connection ${index}: wrong bytes arrived`;
    return null;
  } catch (error) {
    return `connection ${index}: ${error}`;
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

const [command, address = "", count = "1"] = process.argv.slice(2);
const [host = "", port = ""] = address.split(":");
if (command === "serve") {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    answer(socket).catch((error) => socket.destroy(error as Error));
    socket.on("error", (error) => console.error(String(error)));
  });
  server.listen({ host, port: Number(port), backlog: 1024 }, () =>
    console.log(JSON.stringify({ time: Date.now(), event: "listening" })),
  );
} else {
  const startMs = performance.now();
  const results = await Promise.all(Array.from({ length: Number(count) }, (_, i) => exchange(host, Number(port), i)));
  const wrong = results.filter((result) => result !== null);
  const ms = Math.round(performance.now() - startMs);
  console.log(JSON.stringify({ time: Date.now(), event: "done", connections: results.length, wrong, ms }));
  process.exit(wrong.length === 0 ? 0 : 1);
}
