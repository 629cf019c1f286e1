import { Counters } from "@adit/core";
import type { Metric } from "./admin.ts";

/** What a program needs of a flow of a `udp` service; the transport's DatagramFlow has it. */
export interface Flow {
  readonly maxPayloadBytes: number;
  send(payload: Uint8Array): "sent" | "full" | "too-large" | "closed";
  close(): void;
  onDatagram: ((payload: Uint8Array) => void) | null;
  onClosed: ((error: Error | null) => void) | null;
}

/** Why a datagram of a `udp` service was not delivered. */
export type DatagramDrop =
  | "too-large" // for one packet of the path
  | "queue-full" // the connection sends more slowly than datagrams come: the newest is dropped
  | "waiting-full" // its flow was still being opened: the newest is dropped
  | "refused" // the other side refuses the service
  | "no-session" // no flow could be opened in time, or it ended
  | "local-full" // the system's send queue was: the newest is dropped
  | "unreachable" // ICMP: nothing takes datagrams at the service's address
  | "stranger"; // did not come from the service's address

/** `udp` in `GET /status`. */
export interface DatagramStatus {
  readonly flows: number;
  /** From here to the peer, and from the peer. */
  readonly sentDatagrams: number;
  readonly receivedDatagrams: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** The longest payload that the path of the last flow took when it was asked, bytes; null before there was one. */
  readonly maxPayloadBytes: number | null;
  readonly dropped: Readonly<Record<string, number>>;
}

/** Counts the datagrams of all `udp` services of a program. */
export class Datagrams {
  readonly dropped = new Counters<DatagramDrop>();
  #flows = 0;
  #flowsTotal = 0;
  #sentDatagrams = 0;
  #receivedDatagrams = 0;
  #sentBytes = 0;
  #receivedBytes = 0;
  #maxPayloadBytes: number | null = null;

  opened(flow: Flow): void {
    this.#flows++;
    this.#flowsTotal++;
    this.#maxPayloadBytes = flow.maxPayloadBytes;
  }

  closed(): void {
    this.#flows--;
  }

  /** Sends it on, or counts why not. Whether it was sent. */
  send(flow: Flow, payload: Uint8Array): boolean {
    const result = flow.send(payload);
    if (result === "sent") {
      this.#sentDatagrams++;
      this.#sentBytes += payload.length;
      return true;
    }
    if (result === "too-large") this.#maxPayloadBytes = flow.maxPayloadBytes;
    this.dropped.add(result === "full" ? "queue-full" : result === "closed" ? "no-session" : "too-large");
    return false;
  }

  received(payload: Uint8Array): void {
    this.#receivedDatagrams++;
    this.#receivedBytes += payload.length;
  }

  status(): DatagramStatus {
    return {
      flows: this.#flows,
      sentDatagrams: this.#sentDatagrams,
      receivedDatagrams: this.#receivedDatagrams,
      sentBytes: this.#sentBytes,
      receivedBytes: this.#receivedBytes,
      maxPayloadBytes: this.#maxPayloadBytes,
      dropped: this.dropped.toJSON(),
    };
  }

  metrics(): readonly Metric[] {
    const ways = (sent: number, received: number): Metric["samples"] => [
      { labels: { direction: "sent" }, value: sent },
      { labels: { direction: "received" }, value: received },
    ];
    return [
      { name: "adit_udp_flows", help: "Flows of UDP services now.", type: "gauge", samples: [{ value: this.#flows }] },
      {
        name: "adit_udp_flows_total",
        help: "Flows of UDP services since the start.",
        type: "counter",
        samples: [{ value: this.#flowsTotal }],
      },
      {
        name: "adit_udp_datagrams_total",
        help: "Datagrams of UDP services, by direction as seen from here to the peer.",
        type: "counter",
        samples: ways(this.#sentDatagrams, this.#receivedDatagrams),
      },
      {
        name: "adit_udp_bytes_total",
        help: "Bytes in those datagrams.",
        type: "counter",
        samples: ways(this.#sentBytes, this.#receivedBytes),
      },
      {
        name: "adit_udp_dropped_total",
        help: "Datagrams of UDP services that were not delivered, by reason.",
        type: "counter",
        samples: Object.entries(this.dropped.toJSON()).map(([reason, value]) => ({ labels: { reason }, value })),
      },
    ];
  }
}
