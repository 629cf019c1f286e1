/**
 * One request over one TCP connection, hand-made so that nothing retries, pools or reconnects behind the scenario's back:
 * when the connection breaks, the transfer failed. Prints `connected`, `first-byte`, `progress` and `done` (or `error`).
 */
import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { epochMs, Gaps, round } from "./gaps.ts";

export interface ClientOptions {
  readonly url: URL;
  /** How long a refused connection is tried again, every 5 ms: the listener may not be there yet. */
  readonly connectForMs: number;
  readonly timeoutMs: number;
}

const PROGRESS_MS = 25;
const CHUNK_BYTES = 128 * 1024;
/** At a limited rate a chunk is what may leave in this time. */
const PACE_MS = 5;
const RETRY_MS = 5;
const MAX_HEAD_BYTES = 16 * 1024;

const say = (event: string, fields: object) =>
  console.log(JSON.stringify({ time: round(epochMs()), event, ...fields }));

export async function get(options: ClientOptions): Promise<void> {
  await within(options, async (socket) => {
    socket.write(`GET ${options.url.pathname} HTTP/1.1\r\nHost: ${options.url.host}\r\nConnection: close\r\n\r\n`);
    const response = new Response();
    for await (const chunk of socket as AsyncIterable<Buffer>) response.chunk(chunk);
    response.end();
    say("done", response.result());
  });
}

export async function put(options: ClientOptions & { file: string; rateBytesPerS: number }): Promise<void> {
  const { size } = await stat(options.file);
  await within(options, async (socket) => {
    const response = new Response();
    socket.on("data", (chunk: Buffer) => response.chunk(chunk));
    const ended = new Promise<void>((resolve, reject) => socket.on("end", resolve).on("error", reject));
    ended.catch(() => {}); // it is awaited below; a failure while writing must not surface twice
    socket.write(
      `PUT ${options.url.pathname} HTTP/1.1\r\nHost: ${options.url.host}\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n`,
    );
    const sent = createHash("sha256");
    const file = await open(options.file);
    const chunkBytes = Math.min(CHUNK_BYTES, Math.ceil((options.rateBytesPerS * PACE_MS) / 1000));
    const startMs = performance.now();
    let bytes = 0;
    try {
      for (let chunk = await next(file, chunkBytes); chunk; chunk = await next(file, chunkBytes)) {
        sent.update(chunk);
        if (!socket.write(chunk)) await drained(socket);
        bytes += chunk.length;
        const aheadMs = (bytes / options.rateBytesPerS) * 1000 - (performance.now() - startMs);
        if (aheadMs > 1) await Bun.sleep(aheadMs);
      }
    } finally {
      await file.close();
    }
    await ended;
    response.end();
    say("done", { ...response.result(), sentSha256: sent.digest("hex"), answer: JSON.parse(response.text) });
  });
}

async function next(file: Awaited<ReturnType<typeof open>>, chunkBytes: number): Promise<Buffer | null> {
  const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes);
  return bytesRead > 0 ? buffer.subarray(0, bytesRead) : null;
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      socket.off("drain", settle).off("close", settle);
      if (socket.destroyed) reject(new Error("the connection broke"));
      else resolve();
    };
    socket.on("drain", settle).on("close", settle);
  });
}

/** Runs `transfer` on one connection, under the deadline; what goes wrong becomes one `error` line and exit status 1. */
async function within(options: ClientOptions, transfer: (socket: Socket) => Promise<void>): Promise<void> {
  const timer = setTimeout(() => {
    say("error", { message: `not done after ${options.timeoutMs} ms` });
    process.exit(1);
  }, options.timeoutMs);
  try {
    const socket = await connected(options);
    say("connected", { port: socket.localPort });
    await transfer(socket);
    socket.destroy();
  } catch (error) {
    say("error", { message: error instanceof Error ? error.message : String(error) });
    process.exitCode = 1;
  } finally {
    clearTimeout(timer);
  }
}

async function connected({ url, connectForMs }: ClientOptions): Promise<Socket> {
  const startMs = performance.now();
  for (;;) {
    const socket = connect({ host: url.hostname, port: Number(url.port) });
    try {
      await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
      socket.setNoDelay(true);
      return socket;
    } catch (error) {
      socket.destroy();
      if (performance.now() - startMs >= connectForMs) throw error;
      await Bun.sleep(RETRY_MS);
    }
  }
}

/** An HTTP/1.1 response with Content-Length: its times, its silences and the hash of its body. */
class Response {
  readonly #startMs = epochMs();
  readonly #hash = createHash("sha256");
  readonly #gaps = new Gaps();
  #head: Buffer | null = Buffer.alloc(0);
  #status = 0;
  #expectedBytes = 0;
  #bytes = 0;
  #firstByteMs: number | null = null;
  #saidMs = 0;
  /** The body's beginning, for answers that are read. */
  text = "";

  chunk(data: Buffer): void {
    const nowMs = epochMs();
    if (this.#firstByteMs === null) {
      this.#firstByteMs = nowMs;
      say("first-byte", { afterMs: round(nowMs - this.#startMs) });
    }
    this.#gaps.chunk(nowMs, this.#bytes);
    const body = this.#head === null ? data : this.#readHead(this.#head, data);
    if (body.length === 0) return;
    this.#hash.update(body);
    this.#bytes += body.length;
    if (this.text.length < 1024) this.text += body.toString("latin1", 0, 1024);
    if (nowMs - this.#saidMs >= PROGRESS_MS) {
      this.#saidMs = nowMs;
      say("progress", { bytes: this.#bytes });
    }
  }

  #readHead(before: Buffer, data: Buffer): Buffer {
    const all = Buffer.concat([before, data]);
    const end = all.indexOf("\r\n\r\n");
    if (end < 0 && all.length <= MAX_HEAD_BYTES) {
      this.#head = all;
      return Buffer.alloc(0);
    }
    const head = all.toString("latin1", 0, end);
    const status = /^HTTP\/1\.1 (\d{3})/.exec(head);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head);
    if (end < 0 || !status || !length) throw new Error(`not an HTTP response with a length: ${head.slice(0, 200)}`);
    this.#status = Number(status[1]);
    this.#expectedBytes = Number(length[1]);
    this.#head = null;
    return all.subarray(end + 4);
  }

  /** @throws when the connection ended before the body did, or the service was not content. */
  end(): void {
    if (this.#head !== null) throw new Error("the connection ended before the response began");
    if (this.#bytes !== this.#expectedBytes)
      throw new Error(`the connection ended after ${this.#bytes} of ${this.#expectedBytes} bytes`);
    if (this.#status !== 200) throw new Error(`HTTP status ${this.#status}: ${this.text.trim()}`);
  }

  result(): object {
    const gaps = this.#gaps.longest();
    return {
      bytes: this.#bytes,
      sha256: this.#hash.digest("hex"),
      connectedMs: round(this.#startMs),
      firstByteMs: this.#firstByteMs === null ? null : round(this.#firstByteMs),
      firstByteAfterMs: this.#firstByteMs === null ? null : round(this.#firstByteMs - this.#startMs),
      elapsedMs: round(epochMs() - this.#startMs),
      largestGapMs: gaps[0]?.ms ?? 0,
      gaps,
    };
  }
}
