/**
 * The private services. Over HTTP: GET /file gives the file, GET /hello a page of text, PUT /sink takes bytes and answers with their hash.
 * Over TCP: `sum`. One JSON line for each connection, request and result, and one every 25 ms while a body moves.
 */
import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { epochMs, Gaps, round } from "./gaps.ts";

export interface ServeOptions {
  readonly listen: string;
  readonly file: string;
  readonly rateBytesPerS: number;
  /** What GET /hello says it is. */
  readonly name: string;
}

const PROGRESS_MS = 25;
const CHUNK_BYTES = 128 * 1024;
/** At a limited rate a chunk is what may leave in this time, so that the pace itself leaves no gap worth the name. */
const PACE_MS = 5;
/** A page's worth: one flight of packets. */
const HELLO_BYTES = 8192;

const say = (event: string, fields: object) =>
  console.log(JSON.stringify({ time: round(epochMs()), event, ...fields }));

export async function serve(options: ServeOptions): Promise<void> {
  const at = options.listen.lastIndexOf(":");
  const server = createServer((request, response) => {
    // A client that leaves in the middle is the client's affair; the service stays.
    answer(options, request, response).catch((error: unknown) => {
      say("request-failed", { url: request.url, message: String(error) });
      response.destroy();
    });
  });
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  await new Promise<void>((resolve, reject) => {
    server.on("error", reject);
    server.listen(Number(options.listen.slice(at + 1)), options.listen.slice(0, at), resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not an IP listener");
  say("listening", { address: `${address.address}:${address.port}`, port: address.port });
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => process.exit(0));
}

/** Reads until the client's FIN, then answers with the count and the hash, and ends: what half-close is for. */
export async function sum(listen: string): Promise<void> {
  const at = listen.lastIndexOf(":");
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash("sha256");
    let bytes = 0;
    socket.on("data", (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    socket.on("end", () => {
      socket.end(`${bytes} ${hash.digest("hex")}\n`);
    });
    socket.on("error", (error) => {
      say("connection-failed", { message: error.message });
    });
  });
  server.listen(Number(listen.slice(at + 1)), listen.slice(0, at), () => {
    say("listening", { address: listen });
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => process.exit(0));
}

async function answer(options: ServeOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const what = { method: request.method, url: request.url, port: request.socket.remotePort };
  say("request", what);
  response.setHeader("connection", "close");
  if (request.method === "GET" && request.url === "/hello") {
    response.setHeader("content-type", "text/plain");
    response.end(`hello from ${options.name}\n`.padEnd(HELLO_BYTES, "."));
  } else if (request.method === "GET" && request.url === "/file") {
    await sendFile(options, response);
  } else if (request.method === "PUT" && request.url === "/sink") {
    const { bytes, sha256, gaps } = await receive(request);
    say("sink", { bytes, sha256, gaps });
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ bytes, sha256 }));
  } else {
    response.statusCode = 404;
    response.end("there is GET /hello, GET /file and PUT /sink\n");
  }
  say("response", what);
}

/** The file, at the given rate at most, with the client's pace as the limit below that. */
async function sendFile(options: ServeOptions, response: ServerResponse): Promise<void> {
  response.setHeader("content-length", (await stat(options.file)).size);
  response.setHeader("content-type", "application/octet-stream");
  const file = await open(options.file);
  try {
    const startMs = performance.now();
    const chunkBytes = Math.min(CHUNK_BYTES, Math.ceil((options.rateBytesPerS * PACE_MS) / 1000));
    for (let sent = 0; ; ) {
      const buffer = Buffer.allocUnsafe(chunkBytes);
      const { bytesRead } = await file.read(buffer, 0, chunkBytes);
      if (bytesRead === 0) break;
      if (response.destroyed) throw new Error(`the client left after ${sent} bytes`);
      if (!response.write(buffer.subarray(0, bytesRead))) await drained(response);
      sent += bytesRead;
      const aheadMs = (sent / options.rateBytesPerS) * 1000 - (performance.now() - startMs);
      if (aheadMs > 1) await Bun.sleep(aheadMs);
    }
  } finally {
    await file.close();
  }
  response.end();
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      response.off("drain", settle).off("close", settle);
      if (response.destroyed) reject(new Error("the client left"));
      else resolve();
    };
    response.on("drain", settle).on("close", settle);
  });
}

async function receive(request: IncomingMessage): Promise<{ bytes: number; sha256: string; gaps: unknown }> {
  const hash = createHash("sha256");
  const gaps = new Gaps();
  let bytes = 0;
  let saidMs = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    const nowMs = epochMs();
    gaps.chunk(nowMs, bytes);
    hash.update(chunk);
    bytes += chunk.length;
    if (nowMs - saidMs >= PROGRESS_MS) {
      saidMs = nowMs;
      say("sink-progress", { bytes });
    }
  }
  return { bytes, sha256: hash.digest("hex"), gaps: gaps.longest() };
}
