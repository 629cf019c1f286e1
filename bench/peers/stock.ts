/** The QUICClient and QUICServer that @matrixai/quic itself brings, as its documentation uses them. */

import { systemRandom } from "@adit/core";
import { Identity } from "@adit/quic";
import Logger, { LogLevel } from "@matrixai/logger";
import { events, QUICClient, QUICServer, type QUICStream } from "@matrixai/quic";
import { type Job, runPeer } from "../lib/role.ts";
import { SinkMeter, tell } from "../lib/sink.ts";

const logger = new Logger("stock", LogLevel.SILENT);

async function receive(bytes: number): Promise<void> {
  const identity = Identity.generate(systemRandom);
  const meter = new SinkMeter();
  const server = new QUICServer({
    // The package's own test of the source address; nothing here depends on how good it is.
    crypto: { key: new ArrayBuffer(32), ops: { sign: async () => new ArrayBuffer(32), verify: async () => true } },
    config: { key: identity.keyPem, cert: identity.certificatePem, verifyPeer: false },
    logger,
  });
  server.addEventListener(events.EventQUICServerConnection.name, (event) => {
    (event as events.EventQUICServerConnection).detail.addEventListener(
      events.EventQUICConnectionStream.name,
      (opened) => {
        void drain((opened as events.EventQUICConnectionStream).detail, bytes, meter);
      },
    );
  });
  await server.start({ host: "127.0.0.1", port: 0 });
  tell({ ready: String(server.port) });
}

async function drain(stream: QUICStream, bytes: number, meter: SinkMeter): Promise<void> {
  for await (const chunk of stream.readable as unknown as AsyncIterable<Uint8Array>) meter.take(chunk.length);
  if (meter.bytes >= bytes) tell(meter.result());
}

async function send({ contact, bytes }: Job): Promise<void> {
  const client = await QUICClient.createQUICClient({
    host: "127.0.0.1",
    port: Number(contact),
    localHost: "127.0.0.1",
    crypto: {
      ops: {
        randomBytes: async (data) => {
          crypto.getRandomValues(new Uint8Array(data));
        },
      },
    },
    config: { verifyPeer: false },
    logger,
  });
  const writer = client.connection.newStream().writable.getWriter();
  const chunk = new Uint8Array(64 * 1024).fill(0x61);
  for (let left = bytes; left > 0; left -= chunk.length) {
    await writer.write(left < chunk.length ? chunk.subarray(0, left) : chunk);
  }
  await writer.close();
}

await runPeer({ receive, send });
