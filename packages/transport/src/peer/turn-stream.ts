import type { SocketAddress } from "@adit/core";
import { connectStunStream, type StunStream } from "@adit/ice";
import { peerIdFromCertificate } from "@adit/quic";
import { IDENTITY_SERVER_NAME, TURN_ALPN } from "@adit/signaling";
import type { Outgoing, UdpHandlers, UdpSocket, UdpStats } from "../udp/udp.ts";

/** What may wait for TCP: past it packets are dropped, as UDP would, so that QUIC notices and slows down instead of a queue that grows. */
const MAX_QUEUED_BYTES = 131_072;
const CONNECT_TIMEOUT_MS = 5_000;

export interface TurnStreamOptions {
  /** The intermediate's TLS port, which is signaling's and TURN's. */
  readonly server: SocketAddress;
  readonly localIp: string | null;
  /** Whose certificate it has to show: the intermediate's that signaling goes to. */
  readonly peerId: string;
  readonly onClosed: (reason: string) => void;
}

interface Counts {
  received: number;
  sent: number;
  dropped: number;
}

/** TURN over TLS. To the driver it is one more socket, that reaches the relay alone. */
export class TurnStream implements UdpSocket {
  readonly address: SocketAddress;
  readonly #stream: StunStream;
  readonly #counts: Counts;

  private constructor(stream: StunStream, counts: Counts) {
    this.#stream = stream;
    this.address = stream.local;
    this.#counts = counts;
  }

  /**
   * Connects. What comes goes to the handlers that `attach` is given at the end; nothing can have come before.
   * @throws StunStreamError
   */
  static async open(options: TurnStreamOptions): Promise<{ attach(handlers: UdpHandlers): TurnStream; close(): void }> {
    const { server, localIp, peerId, onClosed } = options;
    const counts = { received: 0, sent: 0, dropped: 0 };
    let handlers: UdpHandlers | null = null;
    const stream = await connectStunStream({
      server,
      tls: {
        serverName: IDENTITY_SERVER_NAME,
        alpn: TURN_ALPN,
        checkCertificate: (der) => (peerIdFromCertificate(der) === peerId ? null : `it is not ${peerId}`),
      },
      ...(localIp !== null && { localIp }),
      maxQueuedBytes: MAX_QUEUED_BYTES,
      timeoutMs: CONNECT_TIMEOUT_MS,
      onMessage: (data) => {
        counts.received++;
        handlers?.onBatch([{ data, from: server }]);
      },
      onClosed,
    });
    return {
      attach: (given) => {
        handlers = given;
        return new TurnStream(stream, counts);
      },
      close: () => stream.close(),
    };
  }

  send(batch: readonly Outgoing[], from = 0): number {
    for (let i = from; i < batch.length; i++) {
      if (this.#stream.send((batch[i] as Outgoing).data)) this.#counts.sent++;
      else this.#counts.dropped++;
    }
    return batch.length;
  }

  stats(): UdpStats {
    const { received, sent, dropped } = this.#counts;
    return { received, sent, sendErrors: dropped > 0 ? { dropped } : {}, receiveErrors: {} };
  }

  close(): void {
    this.#stream.close();
  }
}
