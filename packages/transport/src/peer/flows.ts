/** Flows of `udp` services: one stream each, whose datagrams ride QUIC DATAGRAM frames (docs/protocol.md, UDP services). */
import { Counters } from "@adit/core";
import type { QuicConnection, QuicStream } from "@adit/quic";
import { decodeDatagram, encodeDatagram } from "@adit/signaling";
import { CLOSE_CODE } from "./close-code.ts";

/** What became of a datagram: `full`, the queue of the connection is and it was dropped; `too-large`, for the path. */
export type FlowSent = "sent" | "full" | "too-large" | "closed";

/** A flow of datagrams to or from a `udp` service. Unreliable and unordered, as UDP is; it ends with its session. */
export interface DatagramFlow {
  /** The longest payload that {@link send} takes on the path of this moment, bytes. */
  readonly maxPayloadBytes: number;
  /** The bytes may be reused afterwards. */
  send(payload: Uint8Array): FlowSent;
  /** Ends the flow on both sides. Idempotent. */
  close(): void;
  /** Gets each payload, to keep. */
  onDatagram: ((payload: Uint8Array) => void) | null;
  /** Called when the other side or the session has ended the flow, also if that was before it was set: with null where it was in order. */
  onClosed: ((error: Error | null) => void) | null;
}

export type FlowDrop = "malformed" | "unknown-flow" | "unread";

/** The flows of one session. As many as it has streams. */
export class Flows {
  readonly drops = new Counters<FlowDrop>();
  /** Payload bytes. */
  sentBytes = 0;
  receivedBytes = 0;
  readonly #flows = new Map<number, StreamFlow>();

  get size(): number {
    return this.#flows.size;
  }

  /** The stream, past its opening frame, is a flow from now on. */
  add(connection: QuicConnection, stream: QuicStream): DatagramFlow {
    const flow = new StreamFlow(connection, stream, {
      sent: (bytes) => {
        this.sentBytes += bytes;
      },
      ended: () => this.#flows.delete(stream.id),
    });
    this.#flows.set(stream.id, flow);
    flow.watch();
    return flow;
  }

  /** The content of a DATAGRAM frame. What belongs to no flow is counted and dropped. */
  handleDatagram(data: Uint8Array): void {
    const datagram = decodeDatagram(data);
    if (!datagram) return this.drops.add("malformed");
    const flow = this.#flows.get(datagram.streamId);
    if (!flow) return this.drops.add("unknown-flow");
    if (!flow.onDatagram) return this.drops.add("unread");
    this.receivedBytes += datagram.payload.length;
    flow.onDatagram(datagram.payload);
  }
}

interface FlowWatcher {
  sent(bytes: number): void;
  ended(): void;
}

class StreamFlow implements DatagramFlow {
  onDatagram: ((payload: Uint8Array) => void) | null = null;
  #onClosed: ((error: Error | null) => void) | null = null;
  readonly #connection: QuicConnection;
  readonly #stream: QuicStream;
  readonly #watcher: FlowWatcher;
  readonly #headBytes: number;
  #state: "open" | "closed" | { readonly endedBy: Error | null } = "open";

  constructor(connection: QuicConnection, stream: QuicStream, watcher: FlowWatcher) {
    this.#connection = connection;
    this.#stream = stream;
    this.#watcher = watcher;
    this.#headBytes = encodeDatagram(stream.id, EMPTY).length;
  }

  get onClosed(): ((error: Error | null) => void) | null {
    return this.#onClosed;
  }

  set onClosed(handler: ((error: Error | null) => void) | null) {
    this.#onClosed = handler;
    if (handler && typeof this.#state === "object") handler(this.#state.endedBy);
  }

  get maxPayloadBytes(): number {
    return Math.max(0, this.#connection.maxDatagramBytes - this.#headBytes);
  }

  send(payload: Uint8Array): FlowSent {
    if (this.#state !== "open" || this.#connection.state !== "established") return "closed";
    const result = this.#connection.sendDatagram(encodeDatagram(this.#stream.id, payload));
    if (result !== "queued") return result;
    this.#watcher.sent(payload.length);
    return "sent";
  }

  close(): void {
    if (this.#state === "open") this.#end("closed");
  }

  /** Its FIN ends the flow on the other side. */
  #end(state: "closed" | { readonly endedBy: Error | null }): void {
    this.#state = state;
    this.#watcher.ended();
    try {
      this.#stream.finish();
    } catch {
      // the peer wants no more, or the session is over: the flow has ended all the same
    }
  }

  /** The stream carries nothing but the end. It is read on after {@link close}, for the peer's FIN gives its credit back. */
  watch(): void {
    this.#stream.onReadable = () => this.#read();
    this.#stream.onClosed = (error) => this.#handleEnd(error);
    this.#read();
  }

  #read(): void {
    try {
      const got = this.#stream.read(scratch);
      if (got === "blocked") return;
      if (got === "end") return this.#handleEnd(null);
      this.#stream.reset(CLOSE_CODE.protocol);
      this.#stream.stopSending(CLOSE_CODE.protocol);
      this.#handleEnd(new Error("the peer wrote to a stream that carries no bytes"));
    } catch (error) {
      this.#handleEnd(error as Error);
    }
  }

  #handleEnd(error: Error | null): void {
    if (this.#state !== "open") return;
    this.#end({ endedBy: error });
    this.#onClosed?.(error);
  }
}

const EMPTY = new Uint8Array(0);
const scratch = new Uint8Array(1024);
