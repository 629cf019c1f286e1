/**
 * A hand of the lab inside one namespace: a process that does there what it is told on stdin, one JSON line a command,
 * one JSON line an answer. (A process lives in one network namespace, so the lab itself cannot.)
 */
import { createServer } from "node:http";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { epochMs } from "../tool/gaps.ts";
import { classify, serveProbes } from "./probe.ts";

export interface FirstByte {
  /** Milliseconds since 1970. */
  readonly connectedMs: number;
  readonly firstByteMs: number;
}

/** What a station can do: name -> how. Values are plain JSON. */
const commands = {
  /** One small HTTP request on a TCP connection of its own; the listener may not be there yet. */
  firstByte,
  status: async (url: string): Promise<unknown> => (await fetch(url, { signal: AbortSignal.timeout(2000) })).json(),
  serveProbes,
  classify,
  servePortal,
};

export type StationCommands = typeof commands;

const RETRY_MS = 5;

async function firstByte(host: string, port: number, path: string, timeoutMs: number): Promise<FirstByte> {
  const deadlineMs = epochMs() + timeoutMs;
  const socket = await connected(host, port, deadlineMs);
  const connectedMs = epochMs();
  try {
    socket.setTimeout(Math.max(1, deadlineMs - connectedMs), () => socket.destroy(new Error("no byte in time")));
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    const firstByteMs = await new Promise<number>((resolve, reject) => {
      socket.once("data", () => resolve(epochMs()));
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("the connection ended before the first byte")));
    });
    return { connectedMs, firstByteMs };
  } finally {
    socket.destroy();
  }
}

/** Whoever is asked for, answers with the way to `signInUrl`; once it returns, until the process ends. */
async function servePortal(ip: string, port: number, signInUrl: string): Promise<void> {
  const server = createServer((_, response) => response.writeHead(302, { location: signInUrl }).end());
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, ip, resolve));
}

async function connected(host: string, port: number, deadlineMs: number): Promise<Socket> {
  for (;;) {
    const socket = connect({ host, port });
    try {
      await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
      socket.setNoDelay(true);
      return socket;
    } catch (error) {
      socket.destroy();
      if (epochMs() > deadlineMs) throw error;
      await Bun.sleep(RETRY_MS);
    }
  }
}

if (import.meta.main) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, name, given } = JSON.parse(line) as { id: number; name: keyof StationCommands; given: unknown[] };
    const command = commands[name] as (...given: unknown[]) => Promise<unknown>;
    command(...given).then(
      (answer) => console.log(JSON.stringify({ id, answer: answer ?? null })),
      (error: Error) => console.log(JSON.stringify({ id, error: error.message })),
    );
  }
}
