import type { Socket } from "node:net";
import type { Logger } from "@adit/core";
import type { Metric } from "./admin.ts";
import { type ByteStream, type ForwardResult, forwardTcp } from "./forward.ts";

/** Carries TCP connections over streams; logs `stream-open` and `stream-close`, and counts. */
export class Streams {
  #open = 0;
  #total = 0;
  #sentBytes = 0;
  #receivedBytes = 0;
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * Until both directions have ended, or one side broke. Never rejects. `sentBytes`: what the stream had taken before; `head`: what was read of
   * the socket and the stream has not taken.
   */
  async carry(
    socket: Socket,
    stream: ByteStream,
    of: {
      readonly peerId: string;
      readonly service: string;
      readonly sentBytes?: number;
      readonly head?: Uint8Array | null;
    },
  ): Promise<ForwardResult> {
    const { peerId, service } = of;
    this.#open++;
    this.#total++;
    this.#log.info("stream-open", { peerId, service, bytes: of.sentBytes ?? 0 });
    const result = await forwardTcp(socket, stream, of.head);
    const { receivedBytes, broken } = result;
    const sentBytes = (of.sentBytes ?? 0) + result.sentBytes;
    this.#open--;
    this.#sentBytes += sentBytes;
    this.#receivedBytes += receivedBytes;
    const why = broken && { brokenBy: broken.by, reason: broken.reason };
    this.#log.info("stream-close", {
      peerId,
      service,
      bytes: sentBytes + receivedBytes,
      sentBytes,
      receivedBytes,
      ...why,
    });
    return { ...result, sentBytes };
  }

  metrics(): readonly Metric[] {
    return [
      gauge("adit_streams_open", "Streams that carry a connection now.", this.#open),
      counter("adit_streams_total", "Streams that carried a connection since the start.", this.#total),
      counter("adit_stream_sent_bytes_total", "Bytes of ended streams from here to the peer.", this.#sentBytes),
      counter("adit_stream_received_bytes_total", "Bytes of ended streams from the peer to here.", this.#receivedBytes),
    ];
  }
}

const gauge = (name: string, help: string, value: number): Metric => ({
  name,
  help,
  type: "gauge",
  samples: [{ value }],
});

const counter = (name: string, help: string, value: number): Metric => ({
  name,
  help,
  type: "counter",
  samples: [{ value }],
});
