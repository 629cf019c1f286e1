/**
 * Opens and closes connections, and says what they leave behind.
 *
 *   bun packages/quic/test/churn.ts [CONNECTIONS]
 *
 * Prints heap, resident memory and descriptors after each tenth of them.
 */
import { readdirSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { seededRandom } from "@adit/core";
import { type QuicConnection, QuicEndpoint } from "../src/index.ts";
import { clientSlot, config, now, serverSlot, sleep } from "./pair.ts";

/** Connections that live at one time. */
const BATCH = 300;
const payload = new Uint8Array(2_000);

export class Churn {
  readonly #client = new QuicEndpoint({ random: seededRandom(1) });
  readonly #server = new QuicEndpoint({ random: seededRandom(2), server: config("server") });
  readonly #config = config("client");
  readonly #out = new Uint8Array(2048);
  /** Of every connection that there was. */
  readonly #seen: WeakRef<QuicConnection>[] = [];
  #echoed = 0;

  /** Streams that came back whole. */
  get echoed(): number {
    return this.#echoed;
  }

  /** What the endpoints still know of. */
  get left(): { readonly connections: number; readonly ids: number } {
    return {
      connections: this.#client.connectionCount + this.#server.connectionCount,
      ids: this.#client.connectionIdCount + this.#server.connectionIdCount,
    };
  }

  /** How many connections something still holds, the native library's part of them too; after a collection and a turn of the event loop. */
  get reachable(): number {
    return this.#seen.filter((seen) => seen.deref() !== undefined).length;
  }

  /** `count` connections with one stream each, there and back; half are closed by the client, half by the server. */
  async run(count: number): Promise<void> {
    for (let made = 0; made < count; made += BATCH) await this.#batch(made, Math.min(BATCH, count - made));
  }

  async #batch(first: number, count: number): Promise<void> {
    const pairs = Array.from({ length: count }, (_, i) => this.#open((first + i) % 1_000));
    for (const pair of pairs) this.#exchange(pair);
    for (const [i, pair] of pairs.entries()) {
      pair[i % 2]?.close(0, "over");
      this.#exchange(pair);
    }
    // Both sides drain for three probe timeouts, by the native library's clock.
    for (let open = pairs; open.length > 0; ) {
      await sleep(20);
      for (const pair of open) this.#exchange(pair);
      open = open.filter((pair) => pair.some((connection) => connection.state !== "closed"));
    }
  }

  #open(slot: number): QuicConnection[] {
    const client = this.#client.connect(now(), {
      config: this.#config,
      local: clientSlot(slot),
      remote: serverSlot(slot),
    });
    const sent = client.send(this.#out);
    const initial = this.#out.slice(0, sent?.length);
    const route = this.#server.route(initial);
    if (route.kind !== "initial") throw new Error(`the first packet is ${route.kind}`);
    const server = this.#server.accept(now(), route.header, serverSlot(slot), clientSlot(slot));
    if (!server) throw new Error("the server takes no more");
    server.recv(now(), initial, serverSlot(slot), clientSlot(slot));
    this.#seen.push(new WeakRef(client), new WeakRef(server));
    return [client, server];
  }

  #exchange(pair: readonly QuicConnection[]): void {
    for (let moved = true; moved; ) {
      moved = false;
      for (const [i, connection] of pair.entries()) {
        const deadline = connection.pollTimeout(now());
        if (deadline && deadline.at <= now()) connection.handleTimeout(now());
        this.#events(connection);
        for (let sent = connection.send(this.#out); sent; sent = connection.send(this.#out)) {
          moved = true;
          pair[1 - i]?.recv(now(), this.#out.slice(0, sent.length), sent.remote, sent.local);
        }
      }
    }
  }

  #events(connection: QuicConnection): void {
    const buffer = new Uint8Array(4096);
    for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
      if (event.type === "established" && connection.role === "client") {
        const stream = connection.openStream();
        let got = 0;
        stream.onReadable = () => {
          for (let read = stream.read(buffer); typeof read === "number"; read = stream.read(buffer)) got += read;
          if (got === payload.length) this.#echoed++;
        };
        stream.write(payload);
        stream.finish();
      } else if (event.type === "stream") {
        const { stream } = event;
        stream.onReadable = () => {
          let read = stream.read(buffer);
          for (; typeof read === "number"; read = stream.read(buffer)) stream.write(buffer.subarray(0, read));
          if (read === "end") stream.finish();
        };
      }
    }
  }
}

/** After a full collection. */
export function memory(): { readonly heapKb: number; readonly residentKb: number } {
  collect();
  const { heapUsed, rss } = process.memoryUsage();
  return { heapKb: Math.round(heapUsed / 1024), residentKb: Math.round(rss / 1024) };
}

function collect(): void {
  const { Bun: bun } = globalThis as { Bun?: { gc(full: boolean): void } };
  if (bun) return bun.gc(true);
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}

async function main(): Promise<void> {
  const connections = Number(process.argv[2] ?? 10_000);
  const churn = new Churn();
  const step = Math.ceil(connections / 10);
  await churn.run(Math.min(500, connections)); // what a process has anyhow is there
  const show = (done: number): void => {
    const { heapKb, residentKb } = memory();
    const fds = readdirSync("/proc/self/fd").length;
    console.log(JSON.stringify({ done, heapKb, residentKb, fds, ...churn.left }));
  };
  show(0);
  for (let done = step; done <= connections; done += step) {
    await churn.run(step);
    show(done);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main();
