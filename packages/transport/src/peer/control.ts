import type { QuicStream } from "@adit/quic";
import { type ControlMessage, controlCodec, PROTOCOL_VERSION } from "@adit/signaling";
import { FramedStream } from "./framed-stream.ts";

/** Stream 0 of `adit-peer/1`: Hello from both sides, then what keeps the session alive without the intermediate. */
export class Control {
  #framed: FramedStream<ControlMessage> | null = null;
  readonly #onMessage: (message: ControlMessage) => void;
  readonly #onEnd: (reason: string) => void;
  readonly #onAttached: () => void;

  /** `onAttached`: our Hello is said, and more may be said behind it. */
  constructor(onMessage: (message: ControlMessage) => void, onEnd: (reason: string) => void, onAttached: () => void) {
    this.#onMessage = onMessage;
    this.#onEnd = onEnd;
    this.#onAttached = onAttached;
  }

  /** The stream is there: says Hello. */
  attach(stream: QuicStream, agent: string): void {
    this.#framed = new FramedStream(stream, controlCodec, { onMessage: this.#onMessage, onEnd: this.#onEnd });
    // An interactive stream of its own: a bulk transfer must not delay a PathReport.
    stream.priority(0, false);
    this.send({ type: "hello", version: PROTOCOL_VERSION, agent });
    this.#onAttached();
  }

  get isAttached(): boolean {
    return this.#framed !== null;
  }

  /** False when there is no stream (yet, or any more). */
  send(message: ControlMessage): boolean {
    return this.#framed?.send(message) ?? false;
  }

  get sentBytes(): number {
    return this.#framed?.stream.sentBytes ?? 0;
  }

  get receivedBytes(): number {
    return this.#framed?.stream.receivedBytes ?? 0;
  }
}
