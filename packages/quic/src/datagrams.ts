import { fromNative } from "./errors.ts";
import type { NativeConnection } from "./native.ts";

/** The unreliable datagrams of one connection (RFC 9221). Both queues are the native library's, and bounded. */
export class Datagrams {
  readonly #native: NativeConnection;
  #receivedBytes = 0;

  constructor(native: NativeConnection) {
    this.#native = native;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** The longest that fits a packet of the active path, bytes; 0 when the peer takes none. */
  get maxBytes(): number {
    return this.#native.dgramMaxWritableLen() ?? 0;
  }

  /** "full": the queue is, it was dropped. */
  send(data: Uint8Array): "queued" | "full" | "too-large" {
    if (data.length > this.maxBytes) return "too-large";
    if (this.#native.isDgramSendQueueFull()) return "full";
    try {
      this.#native.dgramSend(data);
    } catch (error) {
      throw fromNative(error, "send a datagram");
    }
    return "queued";
  }

  /** At most `room` of those that came; the rest stays in the queue, which drops the oldest. */
  receive(room: number, onDatagram: (data: Uint8Array) => void): void {
    for (let left = Math.min(room, this.#native.dgramRecvQueueLen()); left > 0; left--) {
      const data = this.#native.dgramRecvVec();
      if (!data) return;
      this.#receivedBytes += data.length;
      onDatagram(data);
    }
  }
}
